"""One request at a time, its deadline, and the pauses after failures."""

from __future__ import annotations

from dataclasses import dataclass

from broker.coordination.membership.pending_request import PendingRequest


@dataclass(frozen=True)
class Request:
    asked_at: float
    until: float


def new_pending(jitter: float = 1.0) -> PendingRequest[Request]:
    return PendingRequest(5.0, lambda: jitter)


def test_an_answer_in_time_makes_the_next_question_due() -> None:
    pending = new_pending()
    request = pending.ask(Request(10.0, 12.0))
    assert (pending.deadline, pending.is_under_way(11.9), pending.is_asked(10.0)) == (12.0, True, True)
    assert pending.answer(10.0, 11.9) is request
    assert (pending.deadline, pending.is_under_way(11.9), pending.is_asked(10.0)) == (11.9, False, False)


def test_an_answer_after_the_deadline_counts_as_none() -> None:
    pending = new_pending()
    request = pending.ask(Request(10.0, 12.0))
    assert pending.answer(10.0, 12.0) is None
    assert not pending.is_under_way(12.0)
    assert pending.give_up(12.0) is request


def test_an_answer_to_an_earlier_question_counts_as_none() -> None:
    pending = new_pending()
    pending.ask(Request(10.0, 12.0))
    pending.give_up(12.0)
    pending.ask(Request(12.1, 14.1))
    assert pending.answer(10.0, 12.2) is None
    assert pending.is_asked(12.1)


def test_pauses_after_failures_double_up_to_half_an_interval() -> None:
    pending = new_pending()
    pauses = []
    for _ in range(7):
        pending.ask(Request(10.0, 12.0))
        pending.give_up(12.0)
        pauses.append(round(pending.due - 12.0, 6))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5]


def test_a_store_may_be_away_for_hours() -> None:
    pending = new_pending()
    for _ in range(2000):
        pending.ask(Request(10.0, 12.0))
        pending.give_up(12.0)
    assert pending.due == 14.5


def test_an_answer_ends_the_series_of_pauses() -> None:
    pending = new_pending(jitter=0.0)
    for _ in range(3):
        pending.ask(Request(10.0, 12.0))
        pending.give_up(12.0)
    pending.ask(Request(13.0, 15.0))
    pending.answer(13.0, 13.1)
    pending.ask(Request(14.0, 16.0))
    pending.give_up(16.0)
    assert pending.due == 16.05


def test_without_a_question_nothing_is_given_up() -> None:
    pending = new_pending()
    assert pending.give_up(10.0) is None
    assert pending.due == 0.0


def test_a_dropped_question_has_no_answer() -> None:
    pending = new_pending()
    pending.ask(Request(10.0, 12.0))
    pending.drop()
    assert pending.answer(10.0, 10.1) is None


def test_polls_come_at_35_to_45_percent_of_the_interval() -> None:
    assert new_pending(jitter=0.0).next_poll(10.0) == 11.75
    assert new_pending(jitter=1.0).next_poll(10.0) == 12.25
