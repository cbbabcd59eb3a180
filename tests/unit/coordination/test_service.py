"""Who is answered what, and by which part of the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from broker.coordination.service import NodeServices, PeerCalls
from broker.errors import Evicted
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import EventRow, Incarnation
from broker.ports.peer_calls import (
    Caller,
    Demand,
    Fence,
    FiguresPage,
    Grant,
    Hint,
    NotCoordinator,
    QueueCount,
    QueueName,
    ReplyPart,
    Supply,
    Unavailable,
)
from broker.ports.slot import Slot
from tests.unit.coordination.membership.fake_agent import FakeAgent
from tests.unit.thrift.memory_service import MemorySlotService

QUEUE = QueueName("/ orders", 42)
PART = ReplyPart("/", "a.1", b"", b"header", b"body")
SLOT = Slot(42, 3, 100, 199, 100)
BOB = Caller("b", "incarnation-b", "r-1", Fence(7, "t"))
STRANGER = Caller("c", "incarnation-c", "r-1")
ANDES = Caller("d")

Call = Callable[[SlotService, Caller], Awaitable[object]]

COORDINATORS: dict[str, Call] = {
    "get_slot": lambda service, caller: service.get_slot(QUEUE, caller),
    "submit_slot": lambda service, caller: service.submit_slot(QUEUE, SLOT, caller),
    "await_slots": lambda service, caller: service.await_slots([], 1, caller),
    "exchange_counts": lambda service, caller: service.exchange_counts([], caller),
}
EVERYBODYS: dict[str, Call] = {
    "release": lambda service, caller: service.release(QUEUE, 10, caller),
    "purge_queue": lambda service, caller: service.purge_queue(QUEUE, caller),
    "contact": lambda service, caller: service.contact(True, caller),
    "deliver_replies": lambda service, caller: service.deliver_replies(3, [PART], caller),
    "read_figures": lambda service, caller: service.read_figures("queues", 0, caller),
    "awaits_reply": lambda service, caller: service.awaits_reply("/", "a.1", caller),
    "change_delayed": lambda service, caller: service.change_delayed("/", [1], 0, caller),
    "operate": lambda service, caller: service.operate("close_connections", b"{}", caller),
}
OPEN: dict[str, Call] = {
    "push_events": lambda service, caller: service.push_events(12, caller),
    "hint_resigned": lambda service, caller: service.hint_resigned(Fence(6, "s"), caller),
}


class Parts:
    """A node in its incarnation: services over a fake agent, a slot manager in memory and calls that keep what was
    asked.
    """

    def __init__(self, *, is_coordinator: bool = False, is_started: bool = True) -> None:
        self.agent = FakeAgent()
        self.agent.fence = Fence(7, "t") if is_coordinator else None
        self.manager = MemorySlotService()
        self.asked: list[object] = []
        self.pushed: list[Sequence[EventRow]] = []
        self.failure: Exception | None = None
        self.services = NodeServices("a")
        self.services.begin(
            self.agent,  # type: ignore[arg-type]
            self.manager,  # type: ignore[arg-type]
            PeerCalls(
                self._push_events,
                self._release,
                self._purge_queue,
                self._on_contact,
                self._deliver_replies,
                self._awaits_reply,
                self._read_figures,
                self._change_delayed,
                self._operate,
            ),
        )
        if is_started:
            self.services.start()

    async def _push_events(self, last_event_id: int, events: Sequence[EventRow]) -> int:
        self.asked.append(last_event_id)
        self.pushed.append(events)
        if self.failure is not None:
            raise self.failure
        return last_event_id + 1

    async def _release(self, queue: QueueName, messages: int) -> int:
        self.asked.append((queue, messages))
        return 3

    def _on_contact(self, member: Incarnation, is_served: bool, last_event_id: int) -> None:
        self.asked.append((member, is_served))

    async def _deliver_replies(self, sender: Incarnation, call: int, parts: Sequence[ReplyPart]) -> Sequence[bool]:
        self.asked.append((sender, call, parts))
        return [True]

    async def _awaits_reply(self, vhost: str, address: str) -> bool:
        self.asked.append((vhost, address))
        return True

    async def _read_figures(self, kind: str, start: int) -> FiguresPage:
        self.asked.append((kind, start))
        return FiguresPage(b"[]")

    async def _change_delayed(self, vhost: str, ids: Sequence[int], due: int) -> Sequence[int]:
        self.asked.append((vhost, ids, due))
        return [0]

    async def _operate(self, operation: str, given: bytes) -> bytes:
        self.asked.append((operation, given))
        return b"{}"

    async def _purge_queue(self, queue: QueueName, last_event_id: int | None) -> int:
        self.asked.append((queue, last_event_id))
        return 4


async def test_the_coordinator_lets_its_slot_manager_answer() -> None:
    parts = Parts(is_coordinator=True)
    services = parts.services
    await services.submit_slot(QUEUE, SLOT, BOB)
    assert await services.get_slot(QUEUE, BOB) == Grant(QUEUE, SLOT, "b", Fence(7, "term-7"), "r-1")
    assert await services.await_slots([Demand(QUEUE, 10)], 1, BOB) == Supply((), (), Fence(7, "term-7"))
    assert await services.exchange_counts([QueueCount(42, 1, 1)], BOB) == []
    assert parts.manager.callers == [BOB] * 4


@pytest.mark.parametrize("name", COORDINATORS)
async def test_another_node_names_the_coordinator(name: str) -> None:
    parts = Parts()
    parts.agent.coordinator = ("10.0.0.9", 7612, Fence(7, "t"))

    with pytest.raises(NotCoordinator, match=r"^node 'a' is not the coordinator$") as caught:
        await COORDINATORS[name](parts.services, BOB)
    assert caught.value.hint == Hint("10.0.0.9", 7612, 7)


@pytest.mark.parametrize("coordinator", [None, ("127.0.0.1", 7611, Fence(8, "u"))])
async def test_a_node_that_knows_no_coordinator_but_itself_names_nobody(
    coordinator: tuple[str, int, Fence] | None,
) -> None:
    parts = Parts()
    parts.agent.coordinator = coordinator

    with pytest.raises(NotCoordinator) as caught:
        await parts.services.get_slot(QUEUE, BOB)
    assert caught.value.hint is None


@pytest.mark.parametrize("name", COORDINATORS | EVERYBODYS)
async def test_a_incarnation_that_is_not_known_is_refused_and_looked_for(name: str) -> None:
    parts = Parts(is_coordinator=True)

    with pytest.raises(Unavailable, match=r"^node 'c' is not known to 'a' in incarnation incarnation-c$"):
        await (COORDINATORS | EVERYBODYS)[name](parts.services, STRANGER)
    assert (parts.agent.hints, parts.asked, parts.manager.callers) == (1, [], [])


@pytest.mark.parametrize("name", COORDINATORS | EVERYBODYS)
async def test_a_node_of_andes_is_refused(name: str) -> None:
    with pytest.raises(Unavailable, match="tells no incarnation: nodes of Andes cannot share this store"):
        await (COORDINATORS | EVERYBODYS)[name](Parts(is_coordinator=True).services, ANDES)


async def test_every_node_does_its_calls_for_a_living_one() -> None:
    parts = Parts()
    assert await parts.services.release(QUEUE, 10, BOB) == 3
    assert await parts.services.purge_queue(QUEUE, BOB, 11) == 4
    assert await parts.services.push_events(12, BOB) == 13
    await parts.services.contact(True, BOB)
    assert parts.asked == [(QUEUE, 10), (QUEUE, 11), 12, (Incarnation("b", "incarnation-b"), True)]
    assert parts.agent.hints == 0


@pytest.mark.parametrize("name", COORDINATORS | EVERYBODYS | OPEN)
async def test_a_call_for_another_incarnation_is_refused_since_its_address_has_led_here(name: str) -> None:
    parts = Parts(is_coordinator=True)
    call = (COORDINATORS | EVERYBODYS | OPEN)[name]
    with pytest.raises(Unavailable, match=r"for incarnation incarnation-b has come to 'a', which is another$"):
        await call(parts.services, replace(BOB, callee="incarnation-b"))
    assert parts.asked == []
    await call(parts.services, replace(BOB, callee="incarnation-a"))


async def test_events_of_a_node_that_has_just_joined_are_taken() -> None:
    parts = Parts()
    assert await parts.services.push_events(12, STRANGER, [EventRow(12, Incarnation("x", "1"), b"")]) == 13
    assert parts.pushed[-1] == ()
    assert parts.agent.hints == 1


@pytest.mark.parametrize("name", COORDINATORS | EVERYBODYS | OPEN)
async def test_a_node_that_is_starting_takes_contacts_and_hints_and_nothing_else(name: str) -> None:
    parts = Parts(is_coordinator=True, is_started=False)
    call = (COORDINATORS | EVERYBODYS | OPEN)[name]
    if name in ("contact", "hint_resigned"):
        await call(parts.services, BOB)
    else:
        with pytest.raises(Unavailable, match=r"^node 'a' is starting$"):
            await call(parts.services, BOB)


async def test_a_hint_makes_the_agent_look() -> None:
    parts = Parts()
    await parts.services.hint_resigned(Fence(6, "s"), STRANGER)
    assert parts.agent.hints == 1


@pytest.mark.parametrize("name", COORDINATORS | EVERYBODYS | OPEN)
async def test_before_a_incarnation_and_after_it_the_node_is_unavailable(name: str) -> None:
    parts = Parts(is_coordinator=True)
    parts.services.end()
    for services in (NodeServices("a"), parts.services):
        with pytest.raises(Unavailable, match=r"^node 'a' is not in the cluster at this moment$"):
            await (COORDINATORS | EVERYBODYS | OPEN)[name](services, BOB)


async def test_a_incarnation_that_ends_during_a_push_is_unavailable() -> None:
    parts = Parts()
    parts.failure = Evicted("it is over")
    with pytest.raises(Unavailable, match="is not in the cluster at this moment"):
        await parts.services.push_events(12, BOB)
