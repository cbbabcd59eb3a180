"""The dictionary between the IDL and this broker's values."""

from __future__ import annotations

import pytest

from broker.errors import CoordinationError
from broker.ports.peer_calls import (
    Caller,
    Demand,
    Fence,
    Grant,
    Hint,
    NotCoordinator,
    QueueCount,
    QueueName,
    Supply,
    Unauthorized,
    Unavailable,
)
from broker.ports.slot import Slot
from broker.thrift import convert, idl
from broker.thrift.wire import REPLY, MessageReader

MOST = (1 << 63) - 1
LEAST = -(1 << 63)
QUEUE = QueueName("заказы/注文", 42)
FENCE = Fence(MOST, "a term")
GRANTS = [
    Grant(QUEUE, Slot(42, 3, 1, MOST, 1000, True, True), "NODE:ñandú:4000", FENCE, "r-1"),
    Grant(QUEUE, Slot(42, 0, LEAST, -1, MOST), "", Fence(), ""),
    Grant(QueueName("q"), Slot(0, 255, 7, 7, 1), "n", Fence(1, ""), ""),
]


def through_the_wire(struct: object) -> object:
    """The same struct after it was octets."""
    kind = type(struct)
    octets = idl.encode("m", REPLY, 1, struct)
    reader = MessageReader()
    reader.feed(octets)
    message = reader.take()
    assert message is not None
    return idl.decode(kind(), message.body)


@pytest.mark.parametrize("grant", GRANTS)
def test_a_granted_slot_comes_back_as_it_was(grant: Grant) -> None:
    assert convert.from_granted(through_the_wire(convert.to_granted(grant))) == grant


def test_no_slot_is_a_slot_that_ends_at_0() -> None:
    info = convert.to_granted(None)

    assert (info.startMessageId, info.endMessageId, info.hasOverlappingSlots) == (0, 0, False)
    assert convert.from_granted(through_the_wire(info)) is None


def test_a_caller_comes_back_as_it_was() -> None:
    caller = Caller("NODE:ñandú:4000", "incarnation", "request", FENCE, "callee", session=MOST, poll=7)

    assert convert.from_context(through_the_wire(convert.to_context(caller)), caller.node_id) == caller


def test_a_caller_without_context_is_its_node_id_alone() -> None:
    assert convert.from_context(None, "n") == Caller("n")
    assert convert.from_context(None, None) == Caller("")


@pytest.mark.parametrize("slot", [grant.slot for grant in GRANTS])
def test_a_submitted_slot_comes_back_as_it_was(slot: Slot) -> None:
    traits = through_the_wire(convert.to_traits(slot))

    assert convert.from_submitted(slot.queue_id, slot.start, slot.end, traits) == slot


def test_a_slot_submitted_without_traits_has_its_range_alone() -> None:
    assert convert.from_submitted(0, 5, 9, None) == Slot(0, 0, 5, 9, 0)


def test_a_slot_of_andes_has_its_range_alone() -> None:
    info = idl.SlotInfo(startMessageId=5, endMessageId=9, queueName="q", hasOverlappingSlots=True)

    assert convert.from_slot_info(through_the_wire(info), 0) == Slot(0, 0, 5, 9, 0)


@pytest.mark.parametrize(
    "supply",
    [
        Supply(),
        Supply(tuple(GRANTS[:2]), (Demand(QUEUE, MOST), Demand(QueueName(""), 0)), FENCE, MOST),
    ],
)
def test_an_answer_of_a_long_poll_comes_back_as_it_was(supply: Supply) -> None:
    assert convert.from_supply(through_the_wire(convert.to_supply(supply))) == supply


@pytest.mark.parametrize(
    "count", [QueueCount(42, 1 << 40, 7), QueueCount(1, 0, 0, 1 << 41), QueueCount(1, 2, 0, octets=9)]
)
def test_a_count_comes_back_as_it_was(count: QueueCount) -> None:
    assert convert.from_count(through_the_wire(convert.to_count(count))) == count


@pytest.mark.parametrize(
    "error",
    [
        NotCoordinator("not me"),
        NotCoordinator("not me", Hint("10.0.0.2", 7611, 8)),
        Unauthorized("who?"),
        Unavailable("später"),
    ],
)
def test_a_declared_error_comes_back_as_it_was(error: CoordinationError) -> None:
    result = idl.result("getSlotInfo")
    convert.put_error(result, error)
    returned = convert.error_of(through_the_wire(result))

    assert type(returned) is type(error)
    assert str(returned) == str(error)
    assert getattr(returned, "hint", None) == getattr(error, "hint", None)


def test_any_other_error_is_unavailable() -> None:
    result = idl.result("updateMessageId")
    convert.put_error(result, CoordinationError("something"))

    assert isinstance(convert.error_of(result), Unavailable)


def test_a_result_has_no_error() -> None:
    assert convert.error_of(idl.result("getSlotInfo")) is None
