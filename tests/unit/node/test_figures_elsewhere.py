"""How the other nodes are asked for their figures."""

from __future__ import annotations

import asyncio

from broker.management.figures.merging import Elsewhere
from broker.node.figures_elsewhere import FiguresElsewhere
from broker.ports.peer_calls import Caller, FiguresPage, PeerUnreachable
from tests.unit.thrift.memory_service import MemorySlotService

HERE = Caller("a", "incarnation-a")


class Silent(MemorySlotService):
    """A node that does not answer."""

    async def read_figures(self, kind: str, start: int, caller: Caller) -> FiguresPage:
        await asyncio.Event().wait()
        raise AssertionError


def node(*pages: tuple[bytes, int]) -> MemorySlotService:
    """Return a node with these pages of queues."""
    service = MemorySlotService()
    start = 0
    for rows, following in pages:
        service.figures["queues", start] = (rows, following)
        start = following
    return service


async def read(**others: MemorySlotService) -> Elsewhere:
    return await FiguresElsewhere(lambda: others, lambda: HERE, page_timeout=0.01).read("queues")


async def test_pages_are_read_to_their_end() -> None:
    told = await read(b=node((b'[{"name":"q"}]', 1), (b'[{"name":"r"}]', 0)), c=node((b'[{"name":"s"}]', 0)))
    assert told == Elsewhere({"b": [{"name": "q"}, {"name": "r"}], "c": [{"name": "s"}]}, ())
    assert [row["name"] for row in told.all_rows] == ["q", "r", "s"]


async def test_a_node_that_does_not_answer_is_named() -> None:
    told = await read(b=node((b'[{"name":"q"}]', 0)), c=Silent())
    assert (told.all_rows, told.silent) == ([{"name": "q"}], ("c",))


async def test_a_node_that_cannot_be_reached_is_named() -> None:
    gone = MemorySlotService()
    gone.failure = PeerUnreachable("no route")
    assert (await read(c=gone)).silent == ("c",)


async def test_a_list_without_an_end_is_given_up() -> None:
    told = await read(c=_endless())
    assert told.silent == ("c",)


async def test_what_is_no_list_is_given_up() -> None:
    assert (await read(c=node((b"{", 0)))).silent == ("c",)


def _endless() -> MemorySlotService:
    service = MemorySlotService()
    service.figures["queues", 0] = (b"[]", 5)
    service.figures["queues", 5] = (b"[]", 5)
    return service
