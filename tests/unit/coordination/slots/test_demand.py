"""Sessions of a long poll: everything first, then changes, and what happens when the coordinator is another or away."""

from __future__ import annotations

from math import inf
from typing import Any

from broker.coordination.slots.demand import WAIT_MS, Coordinator, DemandSession, Poll, name_of
from broker.ports.peer_calls import Fence, QueueName, Supply
from broker.queue.queue import Queue

SIZE = 2000
NOTHING: Any = None
EMPTY = Supply()
SERVICE: Any = "a service"
OTHER: Any = "another service"


def queue(queue_id: int) -> Queue:
    name = f"queue {queue_id}"
    return Queue("/", name, queue_id, durable=True, journal=NOTHING, read_slots=NOTHING, services=NOTHING)


ORDERS = queue(1)
INVOICES = queue(2)


class Bench:
    """A session of a node that asks for messages of some queues; `polls` are the calls that were made."""

    def __init__(self, *asked: Queue) -> None:
        self.now = 1000.0
        self.coordinator: Coordinator = (SERVICE, Fence(1, "term 1"))
        self.due = 0
        self.polls: list[Poll] = []
        self.demand = DemandSession(SIZE, on_due=self._on_due)
        for each in asked:
            self.demand.add(each)

    def _on_due(self) -> None:
        self.due += 1

    def ask(self) -> list[tuple[dict[int, int], int]]:
        """Make the calls that are due; return what each asks for and how long it waits."""
        calls = []
        while (poll := self.demand.next_action(self.now, self.coordinator)) is not None:
            self.polls.append(poll)
            calls.append(({demand.queue.queue_id: demand.messages for demand in poll.demands}, poll.wait_ms))
        return calls

    def answer(self, supply: Supply = EMPTY) -> bool:
        return self.demand.on_answered(self.polls.pop(), supply)

    def fail(self) -> None:
        self.demand.on_failed(self.polls.pop(), self.now)

    def open(self) -> Bench:
        """Begin a session, and its long poll."""
        self.ask()
        self.answer()
        self.ask()
        return self


def test_a_session_begins_with_everything_and_without_a_wait() -> None:
    it = Bench(ORDERS, INVOICES)
    assert it.ask() == [({1: SIZE, 2: SIZE}, 0)]
    assert it.polls[0].is_first
    it.answer()
    assert it.ask() == [({}, WAIT_MS)]
    assert not it.polls[0].is_first


def test_nothing_else_is_asked_before_the_session_has_begun() -> None:
    it = Bench(ORDERS)
    it.ask()
    it.demand.add(INVOICES)
    it.coordinator = OTHER, Fence(2, "term 2")
    assert it.ask() == []
    assert it.answer()
    assert it.ask() == [({1: SIZE, 2: SIZE}, 0)]


def test_a_node_without_demand_polls_too_because_others_may_have_some() -> None:
    it = Bench().open()
    assert it.answer()
    assert it.ask() == [({}, WAIT_MS)]


def test_only_changes_follow_as_soon_as_the_coordinator_has_the_call_before() -> None:
    it = Bench(ORDERS).open()
    it.demand.add(INVOICES)
    assert (it.due, it.ask()) == (2, [({2: SIZE}, WAIT_MS)])
    it.demand.withdraw(ORDERS)
    assert (it.due, it.ask()) == (3, [])
    it.polls.reverse()
    assert it.answer()
    assert it.ask() == [({1: 0}, WAIT_MS)]
    it.demand.withdraw(ORDERS)
    assert (it.due, it.ask()) == (3, [])


def test_calls_of_a_session_are_numbered() -> None:
    it = Bench(ORDERS).open()
    it.demand.add(INVOICES)
    it.ask()
    assert [(poll.session, poll.number) for poll in it.polls] == [(1, 1), (1, 2)]
    it.fail()
    it.now += 1.0
    it.ask()
    it.answer()
    it.ask()
    assert [(poll.session, poll.number) for poll in it.polls] == [(1, 1), (2, 1)]


def test_an_answer_that_a_later_one_has_overtaken_ends_the_session() -> None:
    it = Bench(ORDERS).open()
    it.demand.add(INVOICES)
    it.ask()
    assert it.answer(Supply(number=8))
    assert not it.answer(Supply(number=7))
    assert it.ask() == [({1: SIZE, 2: SIZE}, 0)]
    assert it.answer(Supply(number=3))


def test_answers_without_a_number_are_in_no_order() -> None:
    it = Bench(ORDERS).open()
    it.demand.add(INVOICES)
    it.ask()
    assert it.answer(Supply(number=8))
    assert it.answer()


def test_changes_of_the_same_turn_travel_together_and_the_last_one_counts() -> None:
    it = Bench(ORDERS).open()
    it.demand.withdraw(ORDERS)
    it.demand.add(INVOICES)
    it.demand.add(ORDERS)
    assert it.ask() == [({1: SIZE, 2: SIZE}, WAIT_MS)]


def test_a_call_names_no_more_than_a_thousand_queues_and_the_next_one_follows_at_once() -> None:
    it = Bench(*(queue(number) for number in range(1, 2202)))
    assert [len(asked) for asked, _ in it.ask()] == [1000]
    it.answer()
    assert [(len(asked), wait_ms) for asked, wait_ms in it.ask()] == [(1000, WAIT_MS), (201, WAIT_MS)]


def test_a_call_says_whom_it_asks() -> None:
    it = Bench(ORDERS)
    it.ask()
    assert it.polls[0].coordinator == (SERVICE, Fence(1, "term 1"))


def test_one_call_is_under_way_when_nothing_changes() -> None:
    it = Bench(ORDERS).open()
    assert it.ask() == []
    for _ in range(3):
        it.answer()
        assert it.ask() == [({}, WAIT_MS)]


def test_a_queue_has_demand_until_all_that_was_asked_for_is_granted() -> None:
    it = Bench(ORDERS).open()
    it.demand.on_granted(1, SIZE - 1)
    assert it.demand.has_demand(1)
    it.demand.on_granted(1, 1)
    assert (it.demand.has_demand(1), it.demand.queues) == (False, [])
    it.demand.on_granted(1, 1)


def test_a_queue_that_was_granted_enough_says_nothing_when_it_wants_no_more() -> None:
    it = Bench(ORDERS).open()
    it.demand.on_granted(1, SIZE)
    it.demand.withdraw(ORDERS)
    assert it.ask() == []


def test_another_coordinator_is_told_everything_anew() -> None:
    it = Bench(ORDERS).open()
    it.demand.on_granted(1, 500)
    it.coordinator = OTHER, Fence(2, "term 2")
    assert not it.demand.is_with(it.coordinator)
    assert it.ask() == [({1: SIZE}, 0)]
    assert it.demand.is_with(it.coordinator)
    it.demand.on_granted(1, SIZE - 1)
    assert it.demand.has_demand(1)


def test_answers_of_a_former_coordinator_do_not_count_for_the_session() -> None:
    it = Bench(ORDERS).open()
    (old,) = it.polls
    it.coordinator = OTHER, Fence(2, "term 2")
    it.ask()
    assert not it.demand.on_answered(old, EMPTY)
    it.demand.on_failed(old, it.now)
    assert it.demand.failing_since is None
    assert it.answer()


def test_answers_to_a_former_session_with_the_same_coordinator_do_not_count_either() -> None:
    it = Bench(ORDERS).open()
    (old,) = it.polls
    it.demand.withdraw(ORDERS)
    it.ask()
    it.fail()
    it.now += 1.0
    it.ask()
    it.answer()
    assert it.ask() == [({}, WAIT_MS)]
    assert not it.demand.on_answered(old, EMPTY)
    it.answer()
    assert it.ask() == [({}, WAIT_MS)], "it goes on polling"


def test_a_new_term_of_the_same_coordinator_is_a_new_session() -> None:
    it = Bench(ORDERS).open()
    it.coordinator = SERVICE, Fence(2, "term 2")
    assert it.ask() == [({1: SIZE}, 0)]


def test_a_session_that_fails_begins_anew_after_a_while() -> None:
    it = Bench(ORDERS).open()
    assert it.demand.next_deadline() == inf
    it.fail()
    assert (it.demand.failing_since, it.demand.next_deadline(), it.ask()) == (1000.0, 1000.1, [])
    it.now = 1000.1
    assert it.ask() == [({1: SIZE}, 0)]
    it.answer()
    assert (it.demand.failing_since, it.demand.next_deadline()) == (None, inf)


def test_a_coordinator_that_is_away_is_asked_ever_more_rarely_but_once_a_second() -> None:
    it = Bench(ORDERS).open()
    it.fail()
    rests = []
    for _ in range(6):
        rests.append(round(it.demand.next_deadline() - it.now, 3))
        it.now = it.demand.next_deadline()
        it.ask()
        it.fail()
    assert (rests, it.demand.failing_since) == ([0.1, 0.2, 0.4, 0.8, 1.0, 1.0], 1000.0)


def test_while_nobody_is_the_coordinator_it_is_failing() -> None:
    it = Bench(ORDERS)
    it.coordinator = None, Fence()
    assert (it.ask(), it.demand.failing_since, it.demand.next_deadline()) == ([], 1000.0, 1000.1)
    it.now = 1000.1
    assert (it.ask(), it.demand.next_deadline()) == ([], 1000.1 + 0.2)


def test_a_new_coordinator_is_not_kept_waiting_for_one_that_was_away() -> None:
    it = Bench(ORDERS).open()
    it.fail()
    it.coordinator = OTHER, Fence(2, "term 2")
    assert it.ask() == [({1: SIZE}, 0)]


def test_a_queue_is_called_by_its_name_and_id() -> None:
    assert name_of(ORDERS) == QueueName("queue 1", 1)
