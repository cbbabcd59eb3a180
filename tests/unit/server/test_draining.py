"""A node that is drained: clients go at a pace, others are not let in, and both can be taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from broker.codec.methods import ConnectionClose, ConnectionCloseOk
from broker.errors import AdministrationError, StoreUnavailable
from broker.server.draining import REASON, Drain, drain_before_end
from tests.support.edge import Edge, Node


class Clients:
    """Connections that are gone as soon as they are told, but for `slow` ones."""

    def __init__(self, count: int, slow: int = 0) -> None:
        self.untold, self.slow = count, slow
        self.groups: list[int] = []
        self.is_open = True
        self.error: OSError | None = None
        self.empty = asyncio.Event()
        self._look()

    @property
    def open_count(self) -> int:
        return self.untold + self.slow

    def suspend(self) -> None:
        self.is_open = False

    async def resume(self) -> None:
        if self.error is not None:
            raise self.error
        self.is_open = True

    def close_some(self, count: int, reason: str) -> int:
        assert reason == "Node was put into maintenance mode"
        if count:
            self.groups.append(min(count, self.untold))
        self.untold -= min(count, self.untold)
        self._look()
        return self.untold

    async def wait_until_empty(self) -> None:
        await self.empty.wait()

    def _look(self) -> None:
        if not self.open_count:
            self.empty.set()


class Stage:
    """A drain, what it has done, and how long it has waited."""

    def __init__(self, clients: Clients, tasks: asyncio.TaskGroup, hand_over: Callable[[], Awaitable[None]]) -> None:
        self.waited = 0.0
        self.states: list[str] = []

        def spawn(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            return tasks.create_task(coroutine)

        self.drain = Drain(clients, hand_over=hand_over, spawn=spawn, sleep=self._sleep, on_change=self.states.append)

    async def _sleep(self, seconds: float) -> None:
        self.waited += seconds
        await asyncio.sleep(0)


async def nothing() -> None:
    """There is nothing to hand over."""


async def test_connections_are_closed_over_the_time_that_is_said() -> None:
    clients = Clients(1000)
    async with asyncio.TaskGroup() as tasks:
        stage = Stage(clients, tasks, nothing)
        stage.drain.begin(2.0)
        await stage.drain.wait()
    assert clients.groups == [50] * 20
    assert stage.waited == pytest.approx(1.9)
    assert not clients.is_open
    assert stage.states == ["draining", "drained"]
    assert stage.drain.progress() == {"state": "drained", "connections": 0, "closed": 1000}


@pytest.mark.parametrize(("count", "seconds", "groups"), [(25, 60.0, [10, 10, 5]), (300, 0.0, [300]), (0, 5.0, [])])
async def test_few_connections_do_not_take_long(count: int, seconds: float, groups: list[int]) -> None:
    clients = Clients(count)
    async with asyncio.TaskGroup() as tasks:
        stage = Stage(clients, tasks, nothing)
        stage.drain.begin(seconds)
        await stage.drain.wait()
    assert clients.groups == groups


async def test_messages_are_handed_over_when_the_last_client_is_gone() -> None:
    clients, handed = Clients(3, slow=1), []

    async def hand_over() -> None:
        handed.append(clients.open_count)

    async with asyncio.TaskGroup() as tasks:
        stage = Stage(clients, tasks, hand_over)
        stage.drain.begin(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (handed, stage.drain.state) == ([], "draining")
        clients.slow = 0
        clients.empty.set()
        await stage.drain.wait()
    assert (handed, stage.drain.state) == ([0], "drained")


async def test_a_store_that_is_away_does_not_keep_a_node_from_being_drained() -> None:
    async def hand_over() -> None:
        raise StoreUnavailable("away")

    async with asyncio.TaskGroup() as tasks:
        stage = Stage(Clients(1), tasks, hand_over)
        stage.drain.begin(0)
        await stage.drain.wait()
    assert stage.drain.state == "drained"


async def test_said_again_what_is_left_is_spread_anew() -> None:
    clients = Clients(1000)
    async with asyncio.TaskGroup() as tasks:
        stage = Stage(clients, tasks, nothing)
        stage.drain.begin(10.0)
        await asyncio.sleep(0)
        stage.drain.begin(0)
        await stage.drain.wait()
    assert clients.groups[0] == 10
    assert (len(clients.groups), sum(clients.groups)) == (2, 1000)


async def test_taken_back_the_rest_of_the_clients_stays() -> None:
    clients = Clients(1000)
    async with asyncio.TaskGroup() as tasks:
        stage = Stage(clients, tasks, nothing)
        stage.drain.begin(10.0)
        await asyncio.sleep(0)
        await stage.drain.end()
        await stage.drain.end()
    assert (clients.is_open, clients.open_count) == (True, 990)
    assert stage.states == ["draining", "serving"]


async def test_what_is_handed_over_is_not_cut_off_in_the_middle() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def hand_over() -> None:
        begun.set()
        await end.wait()

    async with asyncio.TaskGroup() as tasks:
        stage = Stage(Clients(0), tasks, hand_over)
        stage.drain.begin(0)
        await begun.wait()
        ending = tasks.create_task(stage.drain.end())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not ending.done()
        end.set()
        await ending
    assert stage.drain.state == "serving"


async def test_a_port_that_somebody_else_has_taken_is_told_and_may_be_tried_again() -> None:
    clients = Clients(0)
    async with asyncio.TaskGroup() as tasks:
        stage = Stage(clients, tasks, nothing)
        stage.drain.begin(0)
        await stage.drain.wait()
        clients.error = OSError(98, "Address already in use")
        with pytest.raises(AdministrationError, match="cannot be opened again: Address already in use"):
            await stage.drain.end()
        assert stage.drain.state == "drained"
        clients.error = None
        await stage.drain.end()
    assert stage.drain.state == "serving"


@pytest.mark.parametrize("hurries", [False, True])
async def test_a_node_that_ends_waits_for_its_drain_unless_somebody_hurries(hurries: bool) -> None:
    clients, at_once = Clients(5, slow=1), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        stage = Stage(clients, tasks, nothing)
        ending = tasks.create_task(drain_before_end(stage.drain, 1.0, at_once))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not ending.done()
        if hurries:
            at_once.set()
        else:
            clients.slow = 0
            clients.empty.set()
        await ending
        stage.drain.stop()
    assert stage.drain.state == ("draining" if hurries else "drained")


async def test_a_client_is_told_as_by_rabbitmq(node: Node) -> None:
    edge = await Edge(node).open()
    assert node.server.close_some(0, REASON) == 1
    assert node.server.close_some(5, REASON) == 0
    await node.turn()
    text = "CONNECTION_FORCED - Node was put into maintenance mode"
    assert edge.peer.received() == [(0, ConnectionClose(320, text, 0, 0))]
    edge.peer.send(0, ConnectionCloseOk())
    await node.turn()
    assert node.server.open_count == 1
    edge.protocol.connection_lost(None)
    await node.server.wait_until_empty()
