"""Cluster agents over one store in memory, on virtual time, and the store's faults as each of them meets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from broker.coordination.membership.agent import ClusterAgent
from broker.errors import BrokerError, StoreUnavailable
from broker.ports.cluster_rows import NodeRow
from broker.ports.peer_calls import Fence
from broker.store.memory.cluster import ClusterRows, MemoryClusterStore
from tests.support.virtual_loop import VirtualClock

HEARTBEAT_INTERVAL = 5.0


class Recorder:
    """A listener that keeps what it was told, and when."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str, Any]] = []
        self._living: set[tuple[str, str]] = set()

    def on_members(self, members: Mapping[str, NodeRow]) -> None:
        before, self._living = self._living, {(row.node_id, row.incarnation) for row in members.values()}
        for gone in sorted(before - self._living):
            self._note("left", gone)
        for node_id, _ in sorted(self._living - before):
            self._note("joined", node_id)
        self._note("members", sorted(members))

    def on_elected(self, fence: Fence) -> None:
        self._note("elected", fence.epoch)

    def on_stepped_down(self) -> None:
        self._note("stepped down", None)

    def on_trust(self, is_trusted: bool) -> None:
        self._note("trust", is_trusted)

    def what(self, *kinds: str) -> list[tuple[str, Any]]:
        """Return what was told of these kinds, in order."""
        return [(kind, detail) for _, kind, detail in self.told if kind in kinds]

    def when(self, kind: str, detail: Any = None) -> float:
        """Return when that was told last."""
        return [at for at, *what in self.told if what == [kind, detail]][-1]

    def _note(self, kind: str, detail: Any) -> None:
        self.told.append((asyncio.get_running_loop().time(), kind, detail))


class FaultyClusterStore:
    """A `ClusterStore` whose operations take as long as `delays` says, `inf` for ever, and fail where `failing`.

    The key "*" is any operation. `errors` are other answers. `calls` is what was asked and when.
    """

    def __init__(self, store: MemoryClusterStore) -> None:
        self._store = store
        self.calls: list[tuple[float, str]] = []
        self.delays: dict[str, float] = {}
        self.failing: set[str] = set()
        self.errors: dict[str, Exception] = {}
        self._asked = asyncio.Event()

    def asked(self, *operations: str) -> list[float]:
        """Return when these were asked for."""
        return [at for at, operation in self.calls if operation in operations]

    async def until(self, operation: str, calls: int = 1) -> None:
        """Return when this was asked for that often."""
        while len(self.asked(operation)) < calls:
            self._asked.clear()
            await self._asked.wait()

    def __getattr__(self, operation: str) -> Any:
        async def call(*arguments: Any) -> Any:
            self.calls.append((asyncio.get_running_loop().time(), operation))
            self._asked.set()
            await asyncio.sleep(self.delays.get(operation, self.delays.get("*", 0.001)))
            if {operation, "*"} & self.failing:
                raise StoreUnavailable("the store is away")
            if operation in self.errors:
                raise self.errors[operation]
            return await getattr(self._store, operation)(*arguments)

        return call


class Agents:
    """Starts and ends agents of nodes that share `rows`."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.rows = ClusterRows()
        self.memory = MemoryClusterStore(lambda: self.rows)
        self.incarnations: list[Started] = []
        self._tasks = tasks
        self._numbers = count(1)

    def new(
        self, node_id: str, answers: Callable[[NodeRow], Awaitable[bool]] | None = None, terms: str = ""
    ) -> Started:
        """Return a new incarnation of that node, not registered yet. `answers` and `terms` are those of its agent."""
        self.incarnations.append(Started(self, node_id, self._numbers, answers, terms))
        return self.incarnations[-1]

    async def start(self, node_id: str, terms: str = "") -> Started:
        """Return a new incarnation of that node that registers and runs."""
        started = self.new(node_id, terms=terms)
        await started.start(self._tasks)
        return started


class Started:
    """One incarnation of a node: its agent, its store with faults, what it was told, and how it ended."""

    def __init__(
        self,
        agents: Agents,
        node_id: str,
        numbers: Any,
        answers: Callable[[NodeRow], Awaitable[bool]] | None = None,
        terms: str = "",
    ) -> None:
        self.store = FaultyClusterStore(agents.memory)
        self.heard = Recorder()
        self.ended: BrokerError | None = None
        self._agents = agents
        self._task: asyncio.Task[None] | None = None
        self.agent = ClusterAgent(
            self.store,  # type: ignore[arg-type]
            VirtualClock(),
            node_id=node_id,
            address=(f"host-{node_id}", 7611),
            heartbeat_interval=HEARTBEAT_INTERVAL,
            creation_wait=3.0,
            polling_interval=4.0,
            coordinator_address=lambda: self.store.coordinator_address(),
            listener=self.heard,
            new_id=lambda: f"{node_id}-{next(numbers)}",
            jitter=lambda: 0.5,
            answers=answers,
            terms=terms,
        )
        # What `MemberStore` has; here beside the rest, so that it has the same faults.
        agents.memory.coordinator_address = self._coordinator_address  # type: ignore[attr-defined]

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        await self.agent.register()
        self._task = tasks.create_task(self._run())

    def kill(self) -> None:
        """End the process: nothing is told to anybody."""
        assert self._task is not None
        self._task.cancel()

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _run(self) -> None:
        try:
            await self.agent.run()
        except BrokerError as error:
            self.ended = error

    async def _coordinator_address(self) -> tuple[str, int, Fence] | None:
        lease = self._agents.rows.lease
        if lease.holder is None:
            return None
        return f"host-{lease.holder}", 7611, Fence(lease.epoch, lease.term)


@asynccontextmanager
async def agents() -> AsyncIterator[Agents]:
    """A cluster without nodes; those that run at the end are killed."""
    async with asyncio.TaskGroup() as tasks:
        made = Agents(tasks)
        yield made
        for incarnation in made.incarnations:
            if incarnation.is_running:
                incarnation.kill()
