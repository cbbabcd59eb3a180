"""The checker names every broken promise, and excuses what the contract allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.events import Event, FaultKind, Key, Op, Outcome, read_jsonl, write_jsonl
from tests.support.history import check
from tests.unit.support.story import Story, settled_message


def test_a_clean_history_has_no_faults() -> None:
    story = Story()
    story.add(Op.OPEN, "c/1")
    story.add(Op.CONSUME, "c/1", prefetch=1)
    for number in (1, 2, 3):
        settled_message(story, number)
    returned = story.publish(4, "nowhere")
    story.add(Op.RETURN, "p/1", key=returned)
    story.confirm(returned)
    story.close("p/1", Outcome.OK)
    assert story.faults() == []


def test_an_empty_history_has_no_faults() -> None:
    assert check([]) == []


def test_a_confirmed_message_that_is_never_settled_is_lost() -> None:
    story = Story()
    key = story.publish(1, "q", "r")
    story.confirm(key)
    story.settle(story.deliver(key))
    assert [(fault.kind, fault.queue, fault.key) for fault in story.faults()] == [(FaultKind.LOST, "r", key)]


def test_a_delivery_that_nobody_settled_does_not_save_a_confirmed_message() -> None:
    story = Story()
    key = story.publish(1)
    story.confirm(key)
    story.deliver(key)
    story.close("c/1")
    assert story.kinds() == {FaultKind.LOST}


@pytest.mark.parametrize("kind", [Outcome.INFO, Outcome.FAIL])
def test_an_unconfirmed_message_may_disappear(kind: Outcome) -> None:
    story = Story()
    story.publish(1, type=kind)
    story.close("p/1")
    assert story.faults() == []


def test_a_transient_message_may_disappear() -> None:
    story = Story()
    story.confirm(story.publish(1, persistent=False))
    assert story.faults() == []


def test_a_message_of_unknown_fate_may_appear() -> None:
    story = Story()
    key = story.publish(1, type=Outcome.INFO)
    story.close("p/1")
    story.drain(key, redelivered=True)
    assert story.faults() == []


def test_a_message_nobody_published_is_a_phantom() -> None:
    story = Story()
    story.drain(("p", 9))
    assert [(fault.kind, fault.key) for fault in story.faults()] == [(FaultKind.PHANTOM, ("p", 9))]


def test_a_message_in_a_queue_it_was_not_routed_to_is_a_phantom() -> None:
    story = Story()
    key = settled_message(story)
    story.drain(key, queue="other")
    assert [(fault.kind, fault.queue) for fault in story.faults()] == [(FaultKind.PHANTOM, "other")]


def test_a_delivery_after_a_final_acknowledgement_is_a_resurrection() -> None:
    story = Story()
    key = settled_message(story)
    story.deliver(key, redelivered=True, channel="c/2")
    assert story.kinds() == {FaultKind.RESURRECTED}


@pytest.mark.parametrize("closed_after", [0.5, 1.0])
def test_an_acknowledgement_just_before_the_connection_died_is_not_final(closed_after: float) -> None:
    story = Story()
    key = settled_message(story)
    story.events.append(replace(story.events[-1], op=Op.CLOSE, type=Outcome.INFO, t_inv=story.now + closed_after))
    story.deliver(key, redelivered=True, channel="c/2")
    assert story.faults() == []


def test_an_acknowledgement_just_before_a_kill_is_not_final() -> None:
    story = Story(step=0.4)
    key = settled_message(story)
    story.add(Op.KILL, "harness")
    story.deliver(key, redelivered=True, channel="c/2")
    assert story.faults() == []


def test_an_acknowledgement_one_second_before_a_kill_is_final() -> None:
    story = Story(step=2.0)
    key = settled_message(story)
    story.add(Op.KILL, "harness")
    story.deliver(key, redelivered=True, channel="c/2")
    assert story.kinds() == {FaultKind.RESURRECTED}


def test_a_second_delivery_without_the_flag_is_an_unflagged_duplicate() -> None:
    story = Story()
    key = story.publish(1)
    story.deliver(key)
    story.close("c/1")
    story.settle(story.deliver(key, channel="c/2"))
    assert story.kinds() == {FaultKind.DUPLICATED_UNFLAGGED}


def test_an_unflagged_delivery_after_a_flagged_one_is_an_unflagged_duplicate() -> None:
    story = Story()
    key = story.publish(1)
    story.deliver(key, redelivered=True)
    story.close("c/1")
    story.settle(story.deliver(key, channel="c/2"))
    assert story.kinds() == {FaultKind.DUPLICATED_UNFLAGGED}


def test_what_a_client_reads_after_a_kill_was_sent_before_it() -> None:
    story = Story()
    story.add(Op.OPEN, "c/1")
    key = story.publish(1)
    story.add(Op.KILL, "harness")
    story.add(Op.OPEN, "c/2")
    second = story.deliver(key, redelivered=True, channel="c/2")
    story.deliver(key, channel="c/1")
    story.settle(second)
    assert story.faults() == []


def test_a_requeued_message_comes_again_with_the_flag() -> None:
    story = Story()
    key = story.publish(1)
    story.settle(story.deliver(key), Op.REQUEUE)
    story.settle(story.deliver(key, redelivered=True))
    assert story.faults() == []


def test_a_message_delivered_again_while_a_live_channel_holds_it_is_unprovoked() -> None:
    story = Story()
    key = story.publish(1)
    story.deliver(key)
    story.settle(story.deliver(key, redelivered=True, channel="c/2"))
    assert story.kinds() == {FaultKind.UNPROVOKED}


def test_first_deliveries_out_of_publish_order_are_reordered() -> None:
    story = Story()
    first, second = story.publish(1), story.publish(2)
    story.settle(story.deliver(second))
    story.settle(story.deliver(first))
    assert [(fault.kind, fault.key) for fault in story.faults()] == [(FaultKind.REORDERED, first)]


def test_a_requeued_message_may_come_after_later_ones_to_a_consumer() -> None:
    story = Story()
    first, second = story.publish(1), story.publish(2)
    requeued = story.deliver(first)
    story.settle(story.deliver(second))
    story.settle(requeued, Op.REQUEUE)
    story.settle(story.deliver(first, redelivered=True))
    assert story.faults() == []


def test_a_drain_shows_even_redelivered_messages_in_order() -> None:
    story = Story()
    first, second = story.publish(1), story.publish(2)
    story.drain(second, redelivered=True)
    story.drain(first, redelivered=True)
    assert story.kinds() == {FaultKind.REORDERED}


def test_publishers_have_no_order_among_each_other() -> None:
    story = Story()
    one, two = story.publish(1, channel="a/1"), story.publish(7, channel="b/1")
    story.settle(story.deliver(two))
    story.settle(story.deliver(one))
    assert story.faults() == []


def test_two_answers_to_one_publish_are_a_double_confirm() -> None:
    story = Story()
    story.confirm(settled_message(story))
    assert story.kinds() == {FaultKind.DOUBLE_CONFIRM}


def test_a_refused_message_must_not_appear() -> None:
    story = Story()
    key = story.publish(1)
    story.confirm(key, Outcome.FAIL)
    story.drain(key)
    assert story.kinds() == {FaultKind.NACK_APPEARED}


def test_a_channel_closed_in_peace_has_answered_every_publish() -> None:
    story = Story()
    key = story.publish(1)
    story.settle(story.deliver(key))
    story.close("p/1", Outcome.OK)
    assert [(fault.kind, fault.key) for fault in story.faults()] == [(FaultKind.MISSING_CONFIRM, key)]


def test_a_confirm_that_is_thirty_seconds_late_is_missing() -> None:
    story = Story(step=16.0)
    key = story.publish(1)
    story.settle(story.deliver(key))
    assert story.kinds() == {FaultKind.MISSING_CONFIRM}


def test_more_unacknowledged_deliveries_than_the_prefetch_are_an_overdelivery() -> None:
    story = Story()
    story.add(Op.CONSUME, "c/1", prefetch=2)
    deliveries = [story.deliver(story.publish(number)) for number in (1, 2, 3)]
    for delivery in deliveries:
        story.settle(delivery)
    assert [(fault.kind, fault.key) for fault in story.faults()] == [(FaultKind.OVERDELIVERY, ("p", 3))]


def transaction(story: Story, outcome: Outcome) -> tuple[Key, Key, Event]:
    held = story.deliver(story.publish(1))
    first = story.publish(2, transaction="t")
    second = story.publish(3, "r", transaction="t")
    story.settle(held, transaction="t")
    story.add(Op.COMMIT, "p/1", transaction="t", type=outcome)
    return first, second, held


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.INFO])
def test_a_commit_with_all_its_effects_is_no_fault(outcome: Outcome) -> None:
    story = Story()
    first, second, _ = transaction(story, outcome)
    story.drain(first)
    story.drain(second, queue="r")
    assert story.faults() == []


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.INFO])
def test_a_commit_with_some_of_its_effects_is_partial(outcome: Outcome) -> None:
    story = Story()
    first, _, _ = transaction(story, outcome)
    story.drain(first)
    assert story.kinds() == {FaultKind.TX_PARTIAL}


def test_a_commit_whose_acknowledgement_was_forgotten_is_partial() -> None:
    story = Story()
    first, second, held = transaction(story, Outcome.INFO)
    story.close("c/1")
    story.drain(first)
    story.drain(second, queue="r")
    assert held.key is not None
    story.drain(held.key, redelivered=True)
    assert FaultKind.TX_PARTIAL in story.kinds()


def test_an_unanswered_commit_without_any_effect_is_no_fault() -> None:
    story = Story()
    _, _, held = transaction(story, Outcome.INFO)
    story.close("c/1")
    assert held.key is not None
    story.drain(held.key, redelivered=True)
    assert story.faults() == []


def test_an_answered_commit_without_any_effect_has_lost_its_messages() -> None:
    story = Story()
    _, _, held = transaction(story, Outcome.OK)
    story.close("c/1")
    assert held.key is not None
    story.drain(held.key, redelivered=True)
    assert FaultKind.LOST in story.kinds()


def test_a_rolled_back_publish_must_not_appear() -> None:
    story = Story()
    held = story.deliver(story.publish(1))
    rolled_back = story.publish(2, transaction="t")
    story.add(Op.COMMIT, "p/1", transaction="t", type=Outcome.FAIL)
    story.settle(held)
    story.drain(rolled_back)
    assert story.kinds() == {FaultKind.PHANTOM}


def test_a_history_survives_its_file(tmp_path: Path) -> None:
    story = Story()
    settled_message(story)
    story.add(Op.CONSUME, "c/1", prefetch=2)
    write_jsonl(story.events, tmp_path / "history.jsonl")
    assert read_jsonl(tmp_path / "history.jsonl") == story.events
