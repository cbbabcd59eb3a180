"""Nodes that register, beat, watch each other and are evicted, beside their elections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from broker.coordination.membership.members import MemberEvent, Members
from broker.coordination.membership.own_row import OwnRow, ReadOwnRow, Step
from broker.ports.cluster_rows import Beat, NodeRow, NodeState, Register
from tests.simulation.drivers import HEARTBEAT_INTERVAL, ElectionDriver
from tests.simulation.store import SimulatedStore, Violation
from tests.simulation.world import Machine

EVENT_POLLING_INTERVAL = 4.0


class NodeTable:
    """The rows of MB_NODE_HEARTBEAT (ADR 16), beside the coordinator's lease and fence.

    Without `fenced`, a planted bug, a node may commit whatever its row says.
    """

    def __init__(self, store: SimulatedStore, on_evicted: Callable[[NodeRow], None], *, fenced: bool = True) -> None:
        self.rows: dict[str, NodeRow] = {}
        self.refused = 0
        self.evictions = 0
        self._fenced = fenced
        self._store = store
        self._on_evicted = on_evicted
        self._ended: set[tuple[str, str]] = set()

    def read_all(self) -> list[NodeRow]:
        return list(self.rows.values())

    def register(self, node: str, seen: NodeRow | None, incarnation: str, terms: str = "") -> bool:
        if self.rows.get(node) != seen:
            return False
        fence = 1 if seen is None else seen.fence + 1
        self.rows[node] = NodeRow(node, incarnation, fence, 0, NodeState.UP, "127.0.0.1", 5672, terms)
        return True

    def beat(self, node: str, incarnation: str) -> bool:
        row = self.rows[node]
        if (row.incarnation, row.state) != (incarnation, NodeState.UP):
            return False
        self.rows[node] = replace(row, beat=row.beat + 1)
        return True

    def leave(self, node: str, incarnation: str) -> bool:
        row = self.rows[node]
        if (row.incarnation, row.state) == (incarnation, NodeState.UP):
            self._end(row, NodeState.STOPPED)
        return True

    def evict(self, by: str, epoch: int, term: str, silent: NodeRow) -> bool:
        """The coordinator `by` ends a node whose beat stands still."""
        if not self._store.write(by, epoch, term):
            return False
        row = self.rows[silent.node_id]
        if (row.incarnation, row.beat, row.state) == (silent.incarnation, silent.beat, NodeState.UP):
            self._end(row, NodeState.DEAD)
            self.evictions += 1
            self._on_evicted(row)
        return True

    def publish(self, node: str, incarnation: str, fence: int) -> bool:
        """A node commits a batch of its own."""
        row = self.rows[node]
        if self._fenced and (row.incarnation, row.fence, row.state) != (incarnation, fence, NodeState.UP):
            self.refused += 1
            return False
        if (node, incarnation) in self._ended:
            raise Violation(f"I54: {node} committed in incarnation {incarnation}, which had ended")
        return True

    def _end(self, row: NodeRow, state: NodeState) -> None:
        self.rows[row.node_id] = replace(row, state=state, fence=row.fence + 1)
        self._ended.add((row.node_id, row.incarnation))


class MemberDriver:
    """Runs election, registration and membership of one node as its agent will."""

    def __init__(self, machine: Machine, store: SimulatedStore, table: NodeTable) -> None:
        self.events: list[MemberEvent] = []
        self._machine = machine
        self._table = table
        self._leading = ElectionDriver(machine, store)
        incarnations = (f"{machine.incarnation}.{number}" for number in range(1_000_000))
        random = machine.world.random
        self.own_row = OwnRow(machine.name, HEARTBEAT_INTERVAL, incarnations.__next__, random.random)
        self.members = Members(machine.name, HEARTBEAT_INTERVAL)
        self._next_look = machine.clock()
        self._look: float | None = None

    def wake(self) -> float:
        now = self._machine.clock()
        step = self.own_row.next_action(now)
        if step is not None:
            self._machine.ask(self._operation(step), partial(self._on_step, step))
        if now >= self._next_look or (self._look is None and now >= self.members.next_deadline()):
            self._look_around(now)
        look = min(self._next_look, self.members.next_deadline()) if self._look is None else self._next_look
        return min(self._leading.wake(), self.own_row.next_deadline(), look)

    def is_coordinator(self) -> bool:
        return self._leading.is_coordinator()

    def is_trusted(self) -> bool:
        return self.own_row.is_trusted(self._machine.clock())

    def work(self) -> None:
        name, own, election = self._machine.name, self.own_row, self._leading.election
        self._leading.work()
        if self.is_trusted():
            self._machine.tell(partial(self._table.publish, name, own.incarnation, own.fence))
        if self.is_coordinator() and election.epoch is not None:
            for row in self.members.evictable():
                evict = partial(self._table.evict, name, election.epoch, election.term, row)
                self._machine.tell(evict)

    def stop(self) -> None:
        self._leading.stop()
        leave = self.own_row.stop()
        if leave is not None:
            self._machine.tell(partial(self._table.leave, self._machine.name, leave.incarnation))

    def _operation(self, step: Step) -> Callable[[], Any]:
        name = self._machine.name
        if isinstance(step, ReadOwnRow):
            return partial(self._table.rows.get, name)
        if isinstance(step, Register):
            return partial(self._table.register, name, step.seen, step.incarnation)
        return partial(self._table.beat, name, step.incarnation)

    def _on_step(self, step: Step, result: Any) -> None:
        now = self._machine.clock()
        if isinstance(result, Exception):
            self.own_row.on_failed(asked_at=step.asked_at, now=now)
            if isinstance(step, Beat):
                self.members.on_store_failed()
        elif isinstance(step, ReadOwnRow):
            self.own_row.on_row(result, asked_at=step.asked_at, now=now)
        elif result:
            self.own_row.on_granted(asked_at=step.asked_at, now=now)
        else:
            self.own_row.on_refused(asked_at=step.asked_at, now=now)

    def _look_around(self, now: float) -> None:
        if self._look is not None:
            self.members.on_store_failed()
        self._look = now
        self._next_look = now + EVENT_POLLING_INTERVAL
        self._machine.ask(self._table.read_all, partial(self._on_rows, now))

    def _on_rows(self, asked_at: float, result: Any) -> None:
        if asked_at != self._look:
            return
        self._look = None
        if isinstance(result, Exception):
            self.members.on_store_failed()
        else:
            self.events += self.members.on_nodes(result, asked_at=asked_at, now=self._machine.clock())
