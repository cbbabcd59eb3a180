"""One planted fault in any valid history is found, named, and the only one found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import FaultKind, Op, Outcome
from tests.unit.support.story import LENGTH, LIMIT, TTL, Story, settled_message

Plant = Callable[[Story, int], None]


def lose(story: Story, number: int) -> None:
    story.confirm(story.publish(number))


def invent(story: Story, number: int) -> None:
    story.drain(("stranger", number))


def resurrect(story: Story, number: int) -> None:
    story.drain(settled_message(story, number), redelivered=True)


def duplicate(story: Story, number: int) -> None:
    key = story.publish(number)
    story.settle(story.deliver(key), Op.REQUEUE)
    story.settle(story.deliver(key, channel="c/other"))


def hand_out_twice(story: Story, number: int) -> None:
    key = story.publish(number)
    story.deliver(key, channel="c/idle")
    story.settle(story.deliver(key, redelivered=True, channel="c/other"))


def swap(story: Story, number: int) -> None:
    first, second = story.publish(number), story.publish(number + 1)
    story.settle(story.deliver(second))
    story.settle(story.deliver(first))


def confirm_twice(story: Story, number: int) -> None:
    story.confirm(settled_message(story, number))


def deliver_refused(story: Story, number: int) -> None:
    key = story.publish(number)
    story.confirm(key, Outcome.FAIL)
    story.settle(story.deliver(key))


def tear_transaction(story: Story, number: int) -> None:
    whole = story.publish(number, transaction=f"t{number}")
    story.publish(number + 1, transaction=f"t{number}")
    story.add(Op.COMMIT, "p/1", transaction=f"t{number}", type=Outcome.INFO)
    story.settle(story.deliver(whole))


def forget_confirm(story: Story, number: int) -> None:
    key = story.publish(number, channel="mute/1")
    story.settle(story.deliver(key))
    story.close("mute/1", Outcome.OK)


def overdeliver(story: Story, number: int) -> None:
    story.add(Op.CONSUME, "greedy/1", prefetch=1)
    deliveries = [story.deliver(story.publish(number + i), channel="greedy/1") for i in range(2)]
    for delivery in deliveries:
        story.settle(delivery)


def lose_letter(story: Story, number: int) -> None:
    key = story.publish(number, "plain")
    story.confirm(key)
    story.settle(story.deliver(key, queue="plain"), Op.REJECT)


def keep_the_dead(story: Story, number: int) -> None:
    key = story.publish(number, "ttl")
    story.wait(TTL)
    story.letter(key, "ttl", "expired")
    story.drain(key, queue="ttl")


def expire_early(story: Story, number: int) -> None:
    key = story.publish(number, "ttl")
    story.wait(TTL / 2)
    story.letter(key, "ttl", "expired")


def deliver_expired(story: Story, number: int) -> None:
    key = story.publish(number, "ttl")
    story.confirm(key)
    story.wait(TTL * 2)
    story.settle(story.deliver(key, queue="ttl"))


def mistake_the_reason(story: Story, number: int) -> None:
    story.letter(story.publish(number, "plain"), "plain", "expired")


def ignore_the_limit(story: Story, number: int) -> None:
    key = story.publish(number, "limit")
    story.give_back(key, "limit", LIMIT + 1)
    story.settle(story.deliver(key, queue="limit", redelivered=True))


def overfill(story: Story, number: int) -> None:
    for i in range(LENGTH + 1):
        story.drain(story.publish(number + i, "length"), queue="length")


PLANTS: dict[FaultKind, Plant] = {
    FaultKind.LOST: lose,
    FaultKind.PHANTOM: invent,
    FaultKind.RESURRECTED: resurrect,
    FaultKind.DUPLICATED_UNFLAGGED: duplicate,
    FaultKind.UNPROVOKED: hand_out_twice,
    FaultKind.REORDERED: swap,
    FaultKind.DOUBLE_CONFIRM: confirm_twice,
    FaultKind.NACK_APPEARED: deliver_refused,
    FaultKind.TX_PARTIAL: tear_transaction,
    FaultKind.MISSING_CONFIRM: forget_confirm,
    FaultKind.OVERDELIVERY: overdeliver,
    FaultKind.LETTER_LOST: lose_letter,
    FaultKind.TWO_PLACES: keep_the_dead,
    FaultKind.EXPIRED_EARLY: expire_early,
    FaultKind.DELIVERED_EXPIRED: deliver_expired,
    FaultKind.IMPOSSIBLE_DEATH: mistake_the_reason,
    FaultKind.OVER_LIMIT: ignore_the_limit,
    FaultKind.OVER_LENGTH: overfill,
}


def die(story: Story, fate: str, number: int) -> None:
    """Append a message that dies as it may."""
    queue, reason = DEATHS[fate]
    key = story.publish(number, queue)
    story.confirm(key)
    if fate == "over the limit":
        story.give_back(key, queue, LIMIT + 1)
    elif fate == "expired while a node was killed":
        story.deliver(key, queue=queue, channel=f"c/dead{number}")
        story.add(Op.KILL, "harness")
    elif reason == "rejected":
        story.settle(story.deliver(key, queue=queue), Op.REJECT)
    if reason == "expired":
        story.wait(TTL)
    story.letter(key, queue, reason)


def play(story: Story, fate: str, number: int) -> None:
    """Append one valid incarnation of a message."""
    if fate in DEATHS:
        die(story, fate, number)
        return
    key = story.publish(number)
    if fate == "refused":
        story.confirm(key, Outcome.FAIL)
        return
    if fate == "uncertain":
        story.add(Op.KILL, "harness")
        return
    story.confirm(key)
    if fate == "acked":
        story.settle(story.deliver(key))
    elif fate == "requeued":
        story.settle(story.deliver(key), Op.REQUEUE)
        story.settle(story.deliver(key, redelivered=True))
    elif fate == "consumer died":
        story.deliver(key, channel=f"c/dead{number}")
        story.close(f"c/dead{number}")
        story.settle(story.deliver(key, redelivered=True))
    elif fate == "rejected":
        story.settle(story.deliver(key), Op.REJECT)
    else:
        story.drain(key)


DEATHS = {
    "expired": ("ttl", "expired"),
    "expired while a node was killed": ("ttl", "expired"),
    "rejected to dead letters": ("plain", "rejected"),
    "rejected before it expired": ("ttl", "rejected"),
    "over the length": ("length", "maxlen"),
    "over the limit": ("limit", "delivery_limit"),
}
"""Where a message dies, and of what."""

FATES = st.sampled_from(["acked", "requeued", "consumer died", "rejected", "drained", "refused", "uncertain", *DEATHS])


def valid_story(fates: list[str]) -> Story:
    story = Story()
    story.add(Op.CONSUME, "c/1", prefetch=10)
    for number, fate in enumerate(fates, start=1):
        play(story, fate, 10 * number)
    return story


def test_every_kind_of_fault_has_a_plant() -> None:
    assert set(PLANTS) == set(FaultKind)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_planted_fault_is_found_and_named(kind: FaultKind) -> None:
    story = Story()
    PLANTS[kind](story, 1)
    story.close("p/1")
    assert story.kinds() == {kind}


@given(st.lists(FATES, max_size=12))
def test_no_valid_history_has_a_fault(fates: list[str]) -> None:
    story = valid_story(fates)
    story.close("p/1")
    assert story.faults() == []


@given(st.lists(FATES, max_size=8), st.sampled_from(list(FaultKind)), st.lists(FATES, max_size=8))
def test_one_fault_in_a_valid_history_is_the_only_one_found(
    before: list[str], kind: FaultKind, after: list[str]
) -> None:
    story = valid_story(before)
    PLANTS[kind](story, 500)
    for number, fate in enumerate(after, start=60):
        play(story, fate, 10 * number)
    story.close("p/1")
    assert story.kinds() == {kind}
