"""The contract of `SlotService`: in memory, and the same service behind Thrift."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

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
from tests.unit.thrift.memory_service import MemorySlotService
from tests.unit.thrift.network import SECRET, calling, serving

QUEUE = QueueName("заказы", 42)
SLOT = Slot(42, 3, 100, 199, 100, True, True)
LATER_SLOT = Slot(42, 5, 150, (1 << 63) - 1, 7)
FENCE = Fence(7, "term-7")
ALICE = Caller("alice", "incarnation-a", "r-1", Fence(6, "term-6"))
BOB = Caller("bob", "incarnation-b", "r-1", FENCE)


@dataclass
class Reached:
    service: SlotService
    memory: MemorySlotService


@asynccontextmanager
async def reached(way: str) -> AsyncIterator[Reached]:
    memory = MemorySlotService()
    if way == "memory":
        yield Reached(memory, memory)
        return
    secret = SECRET if way == "thrift with a secret" else None
    async with serving(memory, secret=secret) as served, calling(served.port, secret=secret) as client:
        yield Reached(client, memory)


@pytest.fixture(params=["memory", "thrift", "thrift with a secret"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def again(caller: Caller, request_id: str) -> Caller:
    return Caller(caller.node_id, caller.incarnation, request_id, caller.fence)


async def test_a_queue_without_slots_has_none(way: str) -> None:
    async with reached(way) as there:
        assert await there.service.get_slot(QUEUE, ALICE) is None
        assert there.memory.callers == [ALICE]


async def test_a_submitted_slot_is_assigned_once(way: str) -> None:
    async with reached(way) as there:
        await there.service.submit_slot(QUEUE, SLOT, ALICE)

        assert await there.service.get_slot(QUEUE, BOB) == Grant(QUEUE, SLOT, "bob", FENCE, "r-1")
        assert await there.service.get_slot(QUEUE, ALICE) is None


async def test_a_repeated_request_is_answered_with_the_same_slot(way: str) -> None:
    async with reached(way) as there:
        await there.service.submit_slot(QUEUE, SLOT, ALICE)
        await there.service.submit_slot(QUEUE, LATER_SLOT, ALICE)

        first = await there.service.get_slot(QUEUE, BOB)
        assert await there.service.get_slot(QUEUE, BOB) == first
        assert await there.service.get_slot(QUEUE, again(BOB, "r-2")) == Grant(QUEUE, LATER_SLOT, "bob", FENCE, "r-2")


async def test_a_slot_submitted_twice_is_there_once(way: str) -> None:
    async with reached(way) as there:
        await there.service.submit_slot(QUEUE, SLOT, ALICE)
        await there.service.submit_slot(QUEUE, SLOT, ALICE)
        await there.service.get_slot(QUEUE, BOB)

        assert await there.service.get_slot(QUEUE, again(BOB, "r-2")) is None


async def test_a_long_poll_is_answered_with_what_is_there(way: str) -> None:
    async with reached(way) as there:
        await there.service.submit_slot(QUEUE, SLOT, ALICE)
        there.memory.want(Demand(QueueName("other", 9), 50))

        supply = await there.service.await_slots([Demand(QUEUE, 10)], 10_000, BOB)

        assert supply == Supply((Grant(QUEUE, SLOT, "bob", FENCE, "r-1"),), (Demand(QueueName("other", 9), 50),), FENCE)


async def test_a_long_poll_is_answered_when_a_slot_comes(way: str) -> None:
    async with reached(way) as there, asyncio.TaskGroup() as tasks:
        changed = there.memory.changed
        poll = tasks.create_task(there.service.await_slots([Demand(QUEUE, 10)], 10_000, BOB))
        await changed.wait()
        await there.service.submit_slot(QUEUE, SLOT, ALICE)

        assert await poll == Supply((Grant(QUEUE, SLOT, "bob", FENCE, "r-1"),), (), FENCE)


async def test_a_long_poll_without_demand_is_answered_when_others_have_some(way: str) -> None:
    async with reached(way) as there, asyncio.TaskGroup() as tasks:
        changed = there.memory.changed
        poll = tasks.create_task(there.service.await_slots([], 10_000, BOB))
        await changed.wait()
        there.memory.want(Demand(QUEUE, 1))

        assert await poll == Supply((), (Demand(QUEUE, 1),), FENCE)


async def test_a_long_poll_without_news_is_answered_empty(way: str) -> None:
    async with reached(way) as there:
        assert await there.service.await_slots([Demand(QUEUE, 10)], 1, BOB) == Supply((), (), FENCE)


async def test_pushed_events_are_answered_once_they_are_applied(way: str) -> None:
    async with reached(way) as there, asyncio.TaskGroup() as tasks:
        changed = there.memory.changed
        push = tasks.create_task(there.service.push_events(12, ALICE))
        await changed.wait()
        there.memory.apply_events(11)
        there.memory.apply_events(13)

        assert await push == 13


async def test_a_hint_says_who_has_resigned(way: str) -> None:
    async with reached(way) as there:
        await there.service.hint_resigned(FENCE, ALICE)

        assert there.memory.resigned == [FENCE]


async def test_a_node_releases_what_it_has_of_what_is_asked_for(way: str) -> None:
    async with reached(way) as there:
        there.memory.ready["заказы"] = 70

        assert await there.service.release(QUEUE, 50, ALICE) == 50
        assert await there.service.release(QUEUE, 50, ALICE) == 20
        assert await there.service.release(QUEUE, 50, ALICE) == 0


async def test_a_purge_says_how_many_messages_there_were(way: str) -> None:
    async with reached(way) as there:
        there.memory.ready["заказы"] = (1 << 31) + 1

        assert await there.service.purge_queue(QUEUE, ALICE) == (1 << 31) + 1
        assert await there.service.purge_queue(QUEUE, ALICE, 0) == 0
        assert there.memory.heads == [-1, 0]


async def test_counts_are_answered_with_the_sums_of_the_others(way: str) -> None:
    async with reached(way) as there:
        carol = Caller("carol", "incarnation-c", "r-1")

        assert await there.service.exchange_counts([QueueCount(42, 7, 1), QueueCount(9, 0, 2)], ALICE) == []
        assert await there.service.exchange_counts([QueueCount(42, 1 << 40, 0)], BOB) == [
            QueueCount(42, 7, 1),
            QueueCount(9, 0, 2),
        ]
        assert await there.service.exchange_counts([], carol) == [
            QueueCount(42, (1 << 40) + 7, 1),
            QueueCount(9, 0, 2),
        ]


async def test_the_counts_of_ten_thousand_queues_fit_into_a_call(way: str) -> None:
    async with reached(way) as there:
        counts = [QueueCount(queue_id, 1 << 40, 1000) for queue_id in range(1, 10_001)]
        await there.service.exchange_counts(counts, ALICE)

        assert await there.service.exchange_counts(counts, BOB) == counts


async def test_a_thousand_queues_with_the_longest_names_fit_into_a_long_poll(way: str) -> None:
    async with reached(way) as there:
        demands = [Demand(QueueName(f"{number:0255}/{number:0255}", number), 1000) for number in range(1000)]
        for demand in demands:
            there.memory.want(demand)

        supply = await there.service.await_slots(demands, 10_000, ALICE)

        assert list(supply.remote_demand) == demands


async def test_a_node_that_is_not_the_coordinator_says_so(way: str) -> None:
    async with reached(way) as there:
        there.memory.failure = NotCoordinator("node-1 is not the coordinator")

        with pytest.raises(NotCoordinator, match="node-1 is not the coordinator") as caught:
            await there.service.submit_slot(QUEUE, SLOT, ALICE)
        assert caught.value.hint is None


async def test_a_hint_at_the_coordinator_that_leads_nowhere_else_is_shown(way: str) -> None:
    async with reached(way) as there:
        host, port = getattr(there.service, "address", ("127.0.0.1", 7611))
        there.memory.failure = NotCoordinator("not me", Hint(host, port, 8))

        with pytest.raises(NotCoordinator) as caught:
            await there.service.get_slot(QUEUE, ALICE)
        assert caught.value.hint == Hint(host, port, 8)


async def test_a_node_that_cannot_says_so(way: str) -> None:
    async with reached(way) as there:
        there.memory.failure = Unavailable("the store is away")

        with pytest.raises(Unavailable, match="the store is away"):
            await there.service.await_slots([], 1000, ALICE)


async def test_a_contact_says_whether_the_coordinator_answers_the_caller(way: str) -> None:
    async with reached(way) as there:
        await there.service.contact(True, ALICE)
        await there.service.contact(False, BOB, 17)
        assert there.memory.contacts == [("alice", True), ("bob", False)]
        assert there.memory.heads == [0, 17]


async def test_events_arrive_in_their_order_octet_by_octet(way: str) -> None:
    author = Incarnation("заказы", "a-1")
    events = [EventRow(8, author, bytes(range(256))), EventRow(9, author, b"x" * 200_000)]
    async with reached(way) as there:
        there.memory.applied = 9
        assert await there.service.push_events(9, ALICE, events) == 9
        assert await there.service.push_events(9, ALICE) == 9
        assert there.memory.events == events


async def test_replies_arrive_octet_by_octet_and_each_has_its_answer(way: str) -> None:
    octets = bytes(range(256))
    first = ReplyPart("/", "a.1", b"\0\x03a.1", octets, octets)
    rest = ReplyPart("/", "a.1", b"", b"", b"x" * 600_000)
    stray = ReplyPart("заказы", "a.1", b"\0\0", b"h", b"")
    async with reached(way) as there:
        there.memory.replies["/", "a.1"] = []
        assert await there.service.deliver_replies(1, [first, stray, rest], ALICE) == [True, False, True]
        assert there.memory.replies == {("/", "a.1"): [first, rest]}
        assert await there.service.awaits_reply("/", "a.1", ALICE) is True
        assert await there.service.awaits_reply("/", "a.2", ALICE) is False


async def test_figures_arrive_page_by_page(way: str) -> None:
    async with reached(way) as there:
        there.memory.figures["queues", 0] = ('[{"name":"заказы"}]'.encode(), 1)
        there.memory.figures["queues", 1] = (b"[" + b" " * 600_000 + b"]", 0)
        assert await there.service.read_figures("queues", 0, ALICE) == FiguresPage('[{"name":"заказы"}]'.encode(), 1)
        assert len((await there.service.read_figures("queues", 1, ALICE)).rows) == 600_002
        assert await there.service.read_figures("nothing", 0, ALICE) == FiguresPage(b"[]", 0)


async def test_delayed_messages_are_changed_where_they_are(way: str) -> None:
    async with reached(way) as there:
        there.memory.delayed["заказы", 7], there.memory.delayed["заказы", 1 << 62] = -1, -2
        assert await there.service.change_delayed("заказы", [7, 8, 1 << 62], 0, ALICE) == [-1, 0, -2]
        assert await there.service.change_delayed("/", [], 5, ALICE) == []
        assert await there.service.change_delayed("/", [7], 5, ALICE) == [1]


async def test_what_an_operator_wants_of_another_node_arrives_as_it_is(way: str) -> None:
    octets = '{"names": ["заказы"]}'.encode() + b" " * 100_000
    async with reached(way) as there:
        assert await there.service.operate("close_connections", octets, ALICE) == octets
        assert await there.service.operate("nothing", b"", ALICE) == b""
        assert there.memory.operations == [("close_connections", octets), ("nothing", b"")]
