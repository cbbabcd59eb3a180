"""What of one queue waits for a time."""

from __future__ import annotations

from typing import Any

from broker.message import STORED, Message
from broker.queue.deadlines import Deadlines
from broker.queue.settings import QueueSettings, RetryDelay


class Services:
    """A clock that stands until it is set."""

    now = 10_000

    def now_ms(self) -> int:
        return self.now


class Channel:
    holds_any = True

    def take_back(self, queue: Any, first: int, last: int) -> int:
        raise NotImplementedError


def new(octets: int = 1 << 20, **settings: Any) -> tuple[Deadlines, Services]:
    services: Any = Services()
    deadlines = Deadlines(services)
    deadlines.set(QueueSettings(**settings), octets)
    return deadlines, services


def message(message_id: int, deliveries: int = 1) -> Message:
    queue: Any = None
    message = Message(message_id, queue, b"\0\0", b"", b"", None, STORED)
    message.redelivered = deliveries
    return message


def test_a_queue_that_is_set_to_nothing_waits_for_nothing() -> None:
    deadlines, _ = new()
    assert (deadlines.next_due(), deadlines.use(), deadlines.used_at) == (None, False, 0)
    assert (deadlines.take_delayed(), deadlines.take_unanswered(), list(deadlines.delayed_ids)) == ([], [], [])


def test_a_use_begins_the_lease_anew_and_a_clock_that_steps_back_ends_none() -> None:
    deadlines, services = new(expires=500)
    assert deadlines.use()
    assert (deadlines.used_at, deadlines.lease_end(7)) == (10_000, 10_507)
    services.now = 9_000
    assert deadlines.use()
    assert deadlines.lease_end(0) == 10_500
    assert deadlines.use_elsewhere(11_000)
    assert not deadlines.use_elsewhere(10_999)
    assert deadlines.used_at == 11_000


def test_a_lease_that_is_taken_away_ends_never() -> None:
    deadlines, _ = new(expires=500)
    deadlines.use()
    deadlines.set(QueueSettings(), 0)
    assert (deadlines.used_at, deadlines.lease_end(0)) == (0, None)


def test_messages_wait_by_how_often_they_were_delivered() -> None:
    deadlines, services = new(retry_delay=RetryDelay(100, 250, after_return=True, after_loss=True))
    delay = RetryDelay(100, 250, after_return=True, after_loss=True)
    assert deadlines.keep_back([message(1, deliveries=2), message(2)], delay)
    assert not deadlines.keep_back([message(3, deliveries=9)], delay)  # 2 is still the first
    assert (deadlines.next_due(), sorted(deadlines.delayed_ids)) == (10_100, [1, 2, 3])
    services.now = 10_200
    assert [each.id for each in deadlines.take_delayed()] == [2, 1]
    assert [each.id for each in deadlines.take_all_delayed()] == [3]
    assert deadlines.next_due() is None


def test_deliveries_are_taken_back_after_the_time_of_the_queue_or_of_their_consumer() -> None:
    deadlines, services = new(consumer_timeout=3200)
    assert deadlines.expect_answers(Channel(), 1, 4)
    assert deadlines.expect_answers(Channel(), 7, 7, 1600)
    assert deadlines.next_due() == 10_000 + 1600 + 50
    services.now = 11_650
    assert [(span.first, span.last) for span in deadlines.take_unanswered()] == [(7, 7)]
    assert deadlines.next_due() == 10_000 + 3200 + 100


def test_a_consumer_may_ask_for_a_time_where_the_queue_has_none() -> None:
    deadlines, _ = new()
    assert not deadlines.expect_answers(Channel(), 1, 1)
    assert deadlines.expect_answers(Channel(), 2, 2, 1600)
