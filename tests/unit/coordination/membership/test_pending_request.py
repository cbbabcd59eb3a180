"""One question at a time, its deadline, and the pauses after failures."""

from __future__ import annotations

from dataclasses import dataclass

from broker.coordination.membership.pending_request import Inquiry


@dataclass(frozen=True)
class Question:
    asked_at: float
    until: float


def new_inquiry(jitter: float = 1.0) -> Inquiry[Question]:
    return Inquiry(5.0, lambda: jitter)


def test_an_answer_in_time_makes_the_next_question_due() -> None:
    inquiry = new_inquiry()
    question = inquiry.ask(Question(10.0, 12.0))
    assert (inquiry.deadline, inquiry.is_under_way(11.9), inquiry.is_asked(10.0)) == (12.0, True, True)
    assert inquiry.answer(10.0, 11.9) is question
    assert (inquiry.deadline, inquiry.is_under_way(11.9), inquiry.is_asked(10.0)) == (11.9, False, False)


def test_an_answer_after_the_deadline_counts_as_none() -> None:
    inquiry = new_inquiry()
    question = inquiry.ask(Question(10.0, 12.0))
    assert inquiry.answer(10.0, 12.0) is None
    assert not inquiry.is_under_way(12.0)
    assert inquiry.give_up(12.0) is question


def test_an_answer_to_an_earlier_question_counts_as_none() -> None:
    inquiry = new_inquiry()
    inquiry.ask(Question(10.0, 12.0))
    inquiry.give_up(12.0)
    inquiry.ask(Question(12.1, 14.1))
    assert inquiry.answer(10.0, 12.2) is None
    assert inquiry.is_asked(12.1)


def test_pauses_after_failures_double_up_to_half_an_interval() -> None:
    inquiry = new_inquiry()
    pauses = []
    for _ in range(7):
        inquiry.ask(Question(10.0, 12.0))
        inquiry.give_up(12.0)
        pauses.append(round(inquiry.due - 12.0, 6))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5]


def test_a_store_may_be_away_for_hours() -> None:
    inquiry = new_inquiry()
    for _ in range(2000):
        inquiry.ask(Question(10.0, 12.0))
        inquiry.give_up(12.0)
    assert inquiry.due == 14.5


def test_an_answer_ends_the_series_of_pauses() -> None:
    inquiry = new_inquiry(jitter=0.0)
    for _ in range(3):
        inquiry.ask(Question(10.0, 12.0))
        inquiry.give_up(12.0)
    inquiry.ask(Question(13.0, 15.0))
    inquiry.answer(13.0, 13.1)
    inquiry.ask(Question(14.0, 16.0))
    inquiry.give_up(16.0)
    assert inquiry.due == 16.05


def test_without_a_question_nothing_is_given_up() -> None:
    inquiry = new_inquiry()
    assert inquiry.give_up(10.0) is None
    assert inquiry.due == 0.0


def test_a_dropped_question_has_no_answer() -> None:
    inquiry = new_inquiry()
    inquiry.ask(Question(10.0, 12.0))
    inquiry.drop()
    assert inquiry.answer(10.0, 10.1) is None


def test_polls_come_at_35_to_45_percent_of_the_interval() -> None:
    assert new_inquiry(jitter=0.0).next_poll(10.0) == 11.75
    assert new_inquiry(jitter=1.0).next_poll(10.0) == 12.25
