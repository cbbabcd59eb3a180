"""What the methods answer: to Andes' clients, octet by octet, and to our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from structlog.testing import capture_logs

from broker.errors import StoreUnavailable
from broker.ports.peer_calls import Caller, Demand, NotCoordinator, QueueName, Supply, Unavailable
from broker.thrift import idl
from broker.thrift.handlers import ADMITTING, HANDLERS
from tests.unit.thrift.memory_service import MemorySlotService
from tests.unit.thrift.network import calling, raw_peer, serving
from tests.unit.thrift.octets import (
    A_SLOT,
    BOB_HEX,
    GET_SLOT,
    NO_SLOT,
    ORDERS,
    SUBMIT,
    exchange,
    message,
    refused,
)

QUEUE = QueueName("orders", 42)
ALICE = Caller("alice", "incarnation-a", "r-1")


async def test_a_session_of_andes_is_answered_octet_by_octet_as_andes_does() -> None:
    async with serving(MemorySlotService()) as served, raw_peer(served.port) as peer:
        await exchange(
            peer,
            (GET_SLOT, NO_SLOT),
            (SUBMIT, message(2, "updateMessageId", 3, "00")),
            (GET_SLOT, A_SLOT),
            (GET_SLOT, NO_SLOT),
        )


@pytest.mark.parametrize(
    ("call", "name", "sequence_id"),
    [
        (GET_SLOT, "getSlotInfo", 2),
        (SUBMIT, "updateMessageId", 3),
    ],
)
async def test_a_caller_of_andes_is_told_of_no_declared_exception(call: bytes, name: str, sequence_id: int) -> None:
    service = MemorySlotService()
    service.failure = NotCoordinator("not me")
    async with serving(service) as served, raw_peer(served.port) as peer:
        await exchange(peer, (call, refused(name, sequence_id)), (call, refused(name, sequence_id)))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("getSlots", "0b 0001 00000001 78 00"),
        ("healthCheck", "00"),
        ("deleteSlot", f"0b 0001 {ORDERS} 0c 0002 0a 0002 0000000000000064 00 0b 0003 {BOB_HEX} 00"),
        ("updateCurrentMessageIdForSafeZone", f"0a 0001 00000000000000c8 0b 0002 {BOB_HEX} 00"),
    ],
)
async def test_a_method_that_is_not_there_is_named_and_the_connection_goes_on(name: str, arguments: str) -> None:
    text = f"Invalid method name: '{name}'".encode()
    answer = message(3, name, 8, f"0b 0001 {len(text):08x} {text.hex()} 08 0002 00000001 00")
    async with serving(MemorySlotService()) as served, raw_peer(served.port) as peer:
        await exchange(peer, (message(1, name, 8, arguments), answer), (GET_SLOT, NO_SLOT))


async def test_a_missing_argument_is_named() -> None:
    text = b"getSlotInfo: nodeId is missing"
    answer = message(3, "getSlotInfo", 8, f"0b 0001 {len(text):08x} {text.hex()} 08 0002 00000007 00")
    async with serving(MemorySlotService()) as served, raw_peer(served.port) as peer:
        await exchange(peer, (message(1, "getSlotInfo", 8, f"0b 0001 {ORDERS} 0a 0002 0000000000000001 00"), answer))


async def test_a_field_that_nobody_knows_is_passed_over() -> None:
    call = message(1, "getSlotInfo", 2, f"0b 0001 {ORDERS} 0b 0002 {BOB_HEX} 0f 0063 0c 00000001 0a 0001" + "00" * 10)
    async with serving(MemorySlotService()) as served, raw_peer(served.port) as peer:
        await exchange(peer, (call, NO_SLOT))


async def test_an_unknown_fault_is_unavailable_for_the_peer_and_a_traceback_in_the_log() -> None:
    service = MemorySlotService()
    service.failure = ZeroDivisionError("the secret of the house")
    async with serving(service) as served, calling(served.port) as client:
        with capture_logs() as logs, pytest.raises(Unavailable, match=r"^internal error$"):
            await client.get_slot(QUEUE, ALICE)

        assert [(line["event"], line["method"], line["exc_info"]) for line in logs] == [
            ("thrift call failed", "getSlotInfo", service.failure)
        ]
        assert len(served.server.sessions) == 1


async def test_what_the_store_cannot_do_is_unavailable() -> None:
    service = MemorySlotService()
    service.failure = StoreUnavailable("the database is away")
    async with serving(service) as served, calling(served.port) as client:
        with pytest.raises(Unavailable, match=r"^the database is away$"):
            await client.get_slot(QUEUE, ALICE)


async def test_a_service_that_answers_none_is_a_fault_and_not_an_empty_answer() -> None:
    class Forgetful(MemorySlotService):
        async def release(self, queue: QueueName, messages: int, caller: Caller) -> int:
            return None  # type: ignore[return-value]

    async with serving(Forgetful()) as served, calling(served.port) as client:
        with capture_logs() as logs, pytest.raises(Unavailable, match=r"^internal error$"):
            await client.release(QUEUE, 1, ALICE)
        assert str(logs[0]["exc_info"]) == "surrender answered None"


def test_every_method_of_the_idl_is_answered() -> None:
    assert set(HANDLERS) | ADMITTING == idl.METHODS


async def test_a_long_poll_waits_a_minute_at_most_and_no_negative_time() -> None:
    class Waited(MemorySlotService):
        waits: ClassVar[list[int]] = []

        async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
            self.waits.append(wait_ms)
            return Supply()

    async with serving(Waited()) as served, calling(served.port) as client:
        for wait_ms in (-5, 60_001):
            assert await client.await_slots([], wait_ms, ALICE) == Supply()

    assert Waited.waits == [0, 60_000]
