from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker.queue.ack_deadlines import AckDeadlines

TIMEOUT = 3200  # 32 spans of 100 ms


@dataclass(eq=False)
class Channel:
    holds_any: bool = True

    def take_back(self, queue: Any, first: int, last: int) -> int:
        raise NotImplementedError


def taken(deadlines: AckDeadlines, now: int) -> list[tuple[int, int]]:
    return [(span.first, span.last) for span in deadlines.take_due(now)]


def test_without_deliveries_there_is_no_deadline() -> None:
    deadlines = AckDeadlines(TIMEOUT)
    assert (deadlines.next_due(), taken(deadlines, 1 << 60)) == (None, [])


def test_a_deadline_is_never_early_and_late_by_a_part_of_the_timeout_at_most() -> None:
    deadlines, channel = AckDeadlines(TIMEOUT), Channel()
    assert deadlines.note(channel, 1, 2, 1000)
    assert deadlines.next_due() == 4300
    assert taken(deadlines, 4299) == []
    assert taken(deadlines, 4300) == [(1, 2)]
    assert deadlines.next_due() is None


def test_deliveries_that_follow_soon_share_a_deadline() -> None:
    deadlines, channel = AckDeadlines(TIMEOUT), Channel()
    assert [deadlines.note(channel, tag, tag, 1000 + tag) for tag in (0, 50, 99, 100)] == [True, False, False, False]
    assert taken(deadlines, 1 << 60) == [(0, 99), (100, 100)]


def test_channels_have_deadlines_of_their_own() -> None:
    deadlines, one, other = AckDeadlines(TIMEOUT), Channel(), Channel()
    deadlines.note(one, 1, 1, 1000)
    deadlines.note(other, 1, 5, 1001)
    deadlines.note(one, 2, 2, 1002)
    assert [(span.holder, span.first, span.last) for span in deadlines.take_due(4301)] == [(one, 1, 2), (other, 1, 5)]


def test_a_short_timeout_has_deadlines_too() -> None:
    deadlines = AckDeadlines(1)
    deadlines.note(Channel(), 1, 1, 1000)
    assert deadlines.next_due() == 1002


def test_any_number_of_deliveries_makes_few_deadlines() -> None:
    deadlines, channel = AckDeadlines(TIMEOUT), Channel()
    most = 0
    for now in range(0, 10 * TIMEOUT, 10):
        deadlines.note(channel, now, now, now)
        deadlines.take_due(now)
        most = max(most, len(deadlines))
    assert most <= 34


def test_channels_that_hold_nothing_any_more_are_forgotten() -> None:
    deadlines = AckDeadlines(TIMEOUT)
    for number in range(10_000):
        channel = Channel()
        deadlines.note(channel, 1, 1, number // 100)
        channel.holds_any = number % 1000 == 0
        assert len(deadlines) <= 65
    kept = [span.holder.holds_any for span in deadlines.take_due(1 << 60)]
    assert kept.count(True) == 10
