"""The checker knows when and why a message may die, and finds it in two places or in none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.events import Event, FaultKind, Key, Op, Outcome, QueueRules
from tests.support.history import check
from tests.unit.support.story import LENGTH, LIMIT, RULES, TTL, Story


def published(story: Story, queue: str, number: int = 1) -> Key:
    key = story.publish(number, queue)
    story.confirm(key)
    return key


def rejected(story: Story, queue: str = "plain") -> Key:
    key = published(story, queue)
    story.settle(story.deliver(key, queue=queue), Op.REJECT)
    return key


def delivered_letter(story: Story, key: Key, queue: str = "plain", reason: str = "rejected", **fields: object) -> Event:
    """Deliver a dead letter to a consumer, which holds it."""
    return story.add(Op.DELIVER, "l/1", key=key, queue="dead", tag=1, death=(queue, reason), **fields)


# In one place


@pytest.mark.parametrize(
    ("queue", "kind"),
    [("ttl", FaultKind.LETTER_LOST), ("length", FaultKind.LETTER_LOST), ("plain", FaultKind.LOST)],
)
def test_what_may_have_died_is_a_lost_letter_and_anything_else_is_lost(queue: str, kind: FaultKind) -> None:
    story = Story()
    published(story, queue)
    story.wait(TTL)
    story.add(Op.OPEN, "c/1")
    assert story.kinds() == {kind}


def test_a_letter_after_too_many_deliveries_can_be_lost() -> None:
    story = Story()
    key = published(story, "limit")
    story.give_back(key, "limit", LIMIT)
    assert story.kinds() == {FaultKind.LOST}
    story.settle(story.deliver(key, queue="limit", redelivered=True), Op.REQUEUE)
    assert story.kinds() == {FaultKind.LETTER_LOST}


def test_a_letter_that_was_delivered_and_never_settled_is_lost() -> None:
    story = Story()
    delivered_letter(story, rejected(story))
    story.close("l/1")
    assert story.kinds() == {FaultKind.LETTER_LOST}


def test_what_expires_without_dead_letters_is_gone() -> None:
    story = Story()
    published(story, "brief")
    assert story.kinds() == {FaultKind.LOST}
    story.wait(TTL)
    story.add(Op.OPEN, "c/1")
    assert story.faults() == []


def test_a_message_that_died_unconfirmed_may_disappear() -> None:
    story = Story()
    key = story.publish(1, "plain")
    story.settle(story.deliver(key, queue="plain"), Op.REJECT)
    story.add(Op.KILL, "harness")
    assert story.faults() == []


def test_a_letter_comes_again_when_its_consumer_has_not_settled_it() -> None:
    story = Story()
    key = rejected(story)
    delivered_letter(story, key)
    story.close("l/1")
    story.letter(key, "plain", "rejected", redelivered=True)
    assert story.faults() == []


@pytest.mark.parametrize("redelivered", [False, True])
def test_a_second_letter_is_a_repetition(redelivered: bool) -> None:
    story = Story()
    key = rejected(story)
    story.letter(key, "plain", "rejected")
    story.letter(key, "plain", "rejected", redelivered=redelivered)
    assert story.kinds() == {FaultKind.UNPROVOKED if redelivered else FaultKind.DUPLICATED_UNFLAGGED}


@pytest.mark.parametrize("end", [Op.KILL, Op.CLOSE])
def test_a_rejected_message_whose_rejection_was_lost_is_in_its_queue_again(end: Op) -> None:
    story = Story(step=0.4)
    key = rejected(story)
    story.add(end, "c/1", type=Outcome.INFO)
    story.drain(key, queue="plain", redelivered=True)
    assert story.faults() == []


@pytest.mark.parametrize("end", [Op.KILL, Op.CLOSE])
def test_a_rejection_that_was_not_lost_has_a_letter_alone(end: Op) -> None:
    story = Story(step=0.4)
    key = rejected(story)
    story.add(end, "c/1", type=Outcome.INFO)
    story.letter(key, "plain", "rejected")
    assert story.faults() == []
    story.drain(key, queue="plain", redelivered=True)
    assert story.kinds() == {FaultKind.TWO_PLACES}


def test_a_rejected_message_may_come_again_once_and_be_rejected_again() -> None:
    story = Story(step=0.4)
    key = rejected(story)
    story.add(Op.KILL, "harness")
    again = story.deliver(key, queue="plain", redelivered=True, channel="c/2")
    story.settle(again, Op.REJECT)
    story.letter(key, "plain", "rejected")
    assert story.faults() == []


def test_a_rejected_message_that_comes_again_without_a_cause_is_resurrected() -> None:
    story = Story(step=6.0)
    key = rejected(story)
    story.close("c/1")
    story.settle(story.deliver(key, queue="plain", redelivered=True, channel="c/2"))
    assert FaultKind.RESURRECTED in story.kinds()


def test_a_letter_of_a_message_that_was_acknowledged_is_in_two_places() -> None:
    story = Story()
    key = published(story, "ttl")
    story.settle(story.deliver(key, queue="ttl"))
    story.wait(TTL)
    story.letter(key, "ttl", "expired")
    assert story.kinds() == {FaultKind.TWO_PLACES}


def test_an_acknowledgement_that_was_lost_in_a_kill_lets_the_message_expire() -> None:
    story = Story(step=0.4)
    key = published(story, "ttl")
    story.settle(story.deliver(key, queue="ttl"))
    story.add(Op.KILL, "harness")
    story.wait(TTL)
    story.letter(key, "ttl", "expired")
    assert story.faults() == []


def test_a_letter_of_a_message_that_a_consumer_holds_is_in_two_places() -> None:
    story = Story()
    key = published(story, "ttl")
    story.deliver(key, queue="ttl")
    story.wait(TTL)
    story.letter(key, "ttl", "expired")
    assert story.kinds() == {FaultKind.TWO_PLACES}


@pytest.mark.parametrize("end", [Op.CLOSE, Op.KILL, Op.REQUEUE])
def test_what_a_consumer_has_given_back_may_expire(end: Op) -> None:
    story = Story()
    key = published(story, "ttl")
    delivery = story.deliver(key, queue="ttl")
    story.settle(delivery, end)
    story.wait(TTL)
    story.letter(key, "ttl", "expired")
    assert story.faults() == []


def test_what_was_drained_has_no_letter() -> None:
    story = Story()
    key = published(story, "length")
    story.drain(key, queue="length")
    story.letter(key, "length", "maxlen")
    assert story.kinds() == {FaultKind.TWO_PLACES}


def test_what_a_client_reads_after_a_kill_was_in_its_queue_before_its_letter() -> None:
    story = Story()
    story.add(Op.OPEN, "c/1")
    key = published(story, "ttl")
    story.add(Op.KILL, "harness")
    story.wait(TTL)
    story.letter(key, "ttl", "expired")
    story.deliver(key, queue="ttl")
    assert story.faults() == []


# When


@pytest.mark.parametrize(("missing", "is_early"), [(0.6, False), (0.7, True)])
def test_a_message_must_not_expire_before_its_time_but_for_what_clocks_differ(missing: float, is_early: bool) -> None:
    story = Story(step=0.0)
    key = published(story, "ttl")
    story.wait(TTL - missing)
    story.letter(key, "ttl", "expired")
    assert story.kinds() == ({FaultKind.EXPIRED_EARLY} if is_early else set())


@pytest.mark.parametrize(("late", "is_late"), [(2.0, False), (4.0, True)])
def test_an_expired_message_must_not_be_delivered(late: float, is_late: bool) -> None:
    story = Story(step=0.0)
    key = published(story, "ttl")
    story.wait(TTL + late)
    story.drain(key, queue="ttl", redelivered=True)
    assert story.kinds() == ({FaultKind.DELIVERED_EXPIRED} if is_late else set())


def test_a_node_that_was_dead_has_a_grace_of_its_own() -> None:
    story = Story(step=0.0)
    key = published(story, "ttl")
    story.wait(TTL + 8.0)
    story.drain(key, queue="ttl", redelivered=True)
    assert check(story.events, RULES, expiry_grace=10.0) == []


def test_the_time_of_a_message_whose_confirm_came_late_may_begin_late() -> None:
    story = Story(step=0.0)
    key = story.publish(1, "ttl")
    story.wait(20.0)
    story.confirm(key)
    story.wait(TTL)
    story.drain(key, queue="ttl")
    assert story.faults() == []


def test_a_message_that_was_delivered_in_time_may_be_read_after_a_kill() -> None:
    story = Story(step=0.0)
    story.add(Op.OPEN, "c/1")
    key = published(story, "ttl")
    story.add(Op.KILL, "harness")
    story.wait(2 * TTL)
    story.deliver(key, queue="ttl")
    story.letter(key, "ttl", "expired")
    assert story.faults() == []


# Why


@pytest.mark.parametrize("queue", ["plain", "ttl", "length", "limit"])
@pytest.mark.parametrize("reason", ["expired", "maxlen", "delivery_limit", "rejected", "old age"])
def test_a_message_dies_only_of_what_its_queue_and_its_clients_do(queue: str, reason: str) -> None:
    story = Story()
    key = published(story, queue)
    story.wait(TTL)
    story.letter(key, queue, reason)
    is_possible = (queue, reason) in (("ttl", "expired"), ("length", "maxlen"))
    assert story.kinds() == (set() if is_possible else {FaultKind.IMPOSSIBLE_DEATH})


@pytest.mark.parametrize(("times", "is_possible"), [(LIMIT, False), (LIMIT + 1, True)])
def test_a_message_dies_of_deliveries_when_it_had_more_than_allowed(times: int, is_possible: bool) -> None:
    story = Story()
    key = published(story, "limit")
    story.give_back(key, "limit", times)
    story.letter(key, "limit", "delivery_limit")
    assert (FaultKind.IMPOSSIBLE_DEATH not in story.kinds()) is is_possible


@pytest.mark.parametrize("end", [Op.KILL, Op.NODE_ENDED])
def test_the_end_of_a_node_counts_as_a_delivery(end: Op) -> None:
    story = Story()
    key = published(story, "limit")
    story.add(end, "")
    story.give_back(key, "limit", LIMIT)
    story.letter(key, "limit", "delivery_limit")
    assert story.faults() == []


def test_what_comes_late_in_a_cluster_counts_as_a_delivery() -> None:
    story = Story()
    key = published(story, "limit")
    story.give_back(key, "limit", LIMIT)
    story.letter(key, "limit", "delivery_limit")
    assert check(story.events, RULES, may_come_late=True) == []


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.0), (0.0, 5.0)])
def test_what_was_on_the_way_to_a_consumer_that_ended_counts_as_delivered(before: float, after: float) -> None:
    story = Story(step=0.0)
    story.add(Op.CONSUME, "c/2", queue="limit", prefetch=10)
    key = published(story, "limit")
    story.now += after - before
    story.close("c/2")
    story.now += before
    story.give_back(key, "limit", LIMIT)
    story.letter(key, "limit", "delivery_limit")
    assert story.faults() == []


@pytest.mark.parametrize(
    ("queue", "death"),
    [
        ("dead", None),
        ("dead", ("q", "rejected")),
        ("dead", ("limit", "rejected")),
        ("other", ("plain", "rejected")),
    ],
)
def test_a_letter_says_where_it_died(queue: str, death: tuple[str, str] | None) -> None:
    story = Story()
    key = rejected(story)
    story.letter(key, "plain", "rejected")
    story.events[-1] = replace(story.events[-1], queue=queue, death=death)
    assert FaultKind.PHANTOM in story.kinds()


# How often, and how many


def test_a_message_is_delivered_once_more_than_it_may_be_given_back() -> None:
    story = Story()
    key = published(story, "limit")
    story.give_back(key, "limit", LIMIT)
    story.settle(story.deliver(key, queue="limit", redelivered=True))
    assert story.faults() == []


@pytest.mark.parametrize(("before_the_kill", "is_over"), [(0.1, False), (3.0, True)])
def test_what_was_given_back_just_before_a_kill_may_be_forgotten(before_the_kill: float, is_over: bool) -> None:
    story = Story(step=0.1)
    key = published(story, "limit")
    story.give_back(key, "limit", LIMIT + 1)
    story.wait(before_the_kill)
    story.add(Op.KILL, "harness")
    story.drain(key, queue="limit", redelivered=True)
    assert story.kinds() == ({FaultKind.OVER_LIMIT} if is_over else set())


def test_a_full_queue_is_not_too_full() -> None:
    story = Story()
    for number in range(1, LENGTH + 1):
        story.drain(published(story, "length", number), queue="length")
    assert story.faults() == []


def test_letters_come_in_the_order_of_their_deaths() -> None:
    story = Story()
    first, second = published(story, "length", 1), published(story, "length", 2)
    for key in (second, first):
        story.letter(key, "length", "maxlen")
    assert story.faults() == []


# Transactions


def test_a_message_of_a_transaction_may_have_died_when_it_is_seen() -> None:
    story = Story()
    in_ttl, other = story.publish(1, "ttl", transaction="t"), story.publish(2, transaction="t")
    story.add(Op.COMMIT, "p/1", transaction="t")
    story.drain(other)
    story.wait(TTL)
    story.letter(in_ttl, "ttl", "expired")
    assert story.faults() == []


def test_a_rejection_in_a_transaction_may_be_forgotten_in_a_crash_after_it() -> None:
    story = Story()
    held = story.deliver(published(story, "plain"), queue="plain")
    other = story.publish(2, transaction="t")
    story.settle(held, Op.REJECT, transaction="t")
    story.add(Op.COMMIT, "p/1", transaction="t", type=Outcome.INFO)
    story.add(Op.KILL, "harness")
    story.drain(other)
    assert held.key is not None
    story.drain(held.key, queue="plain", redelivered=True)
    assert story.faults() == []


def test_a_queue_of_dead_letters_has_no_rules() -> None:
    with pytest.raises(ValueError, match="rules of their own"):
        check([], {"q": QueueRules(dead_letter_queue="r"), "r": QueueRules(message_ttl=1.0)})
