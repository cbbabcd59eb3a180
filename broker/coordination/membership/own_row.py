"""This node's own row in the store: registered once per incarnation, and kept alive by beats.

The store's answer to a beat gives the node trust for a while: until then no other node can have evicted it. A node
learns of its eviction when its beat changes no row (ADR 16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from broker.coordination.membership.pending_request import PendingRequest
from broker.errors import CoordinationError
from broker.machine.address import endpoint
from broker.ports.cluster_rows import Beat, Leave, NodeRow, NodeState, Register


class DuplicateNodeId(CoordinationError):
    """Another living process has this node's id."""

    def __init__(self, node_id: str, row: NodeRow) -> None:
        """`row` is that of the other process."""
        super().__init__(
            f"node id '{node_id}' is in use by a living node at {endpoint(row.host, row.port)},"
            f" incarnation {row.incarnation}"
        )


@dataclass(frozen=True, slots=True)
class ReadOwnRow:
    """Read this node's row; answer with `on_row`."""

    asked_at: float
    until: float


Step: TypeAlias = ReadOwnRow | Register | Beat


class OwnRow:
    """Decides what to do with this node's row.

    Used like `Election`: the caller makes the request of `next_action`, reports the answer with the request's
    `asked_at`, and calls again at `next_deadline`.
    """

    __slots__ = (
        "_first_seen_at",
        "_is_registered",
        "_new_incarnation",
        "_node_id",
        "_pending",
        "_seen",
        "_seen_at",
        "_stopped",
        "_to_register",
        "fence",
        "incarnation",
        "trusted_until",
    )

    def __init__(
        self,
        node_id: str,
        heartbeat_interval: float,
        new_incarnation: Callable[[], str],
        jitter: Callable[[], float],
    ) -> None:
        self.incarnation = new_incarnation()
        self.fence = 0
        self.trusted_until = -inf
        self._node_id = node_id
        self._new_incarnation = new_incarnation
        self._pending: PendingRequest[Step] = PendingRequest(heartbeat_interval, jitter)
        self._first_seen_at = 0.0
        self._is_registered = False
        self._seen: NodeRow | None = None
        self._seen_at = 0.0
        self._stopped = False
        self._to_register: tuple[NodeRow | None] | None = None

    def is_trusted(self, now: float) -> bool:
        """Return whether no other node can have evicted this one yet. Nothing is delivered without trust.

        Trust that has ended comes back with the next beat that changes the row: then this incarnation was not evicted,
        and none of its slots was given to another node. A new incarnation owns no slots.
        """
        return now < self.trusted_until

    def next_deadline(self) -> float:
        """Return when `next_action` may change even if no answer comes."""
        return inf if self._stopped else self._pending.deadline

    def next_action(self, now: float) -> Step | None:
        """Return the request to make now, if one is due."""
        if self._stopped or self._pending.is_under_way(now):
            return None
        self._given_up(now)
        return None if now < self._pending.due else self._pending.ask(self._next_request(now))

    def hasten(self, until: float, now: float) -> None:
        """Make the next beat due now if it would fall due before `until`.

        Another request is about to take the connection that they share, and may keep it until then.
        """
        if self._is_registered and not self._pending.is_failing and self._pending.due < until:
            self._pending.due = min(self._pending.due, now)

    def on_row(self, row: NodeRow | None, *, asked_at: float, now: float) -> None:
        """This node's row was read. Raises `DuplicateNodeId` when another process keeps it alive."""
        if self._pending.answer(asked_at, now) is None:
            return
        if row is None or row.state is not NodeState.UP:
            if row is not None and row.incarnation == self.incarnation:
                # The store did a registration late, and this incarnation, silent ever since, was evicted.
                self.incarnation = self._new_incarnation()
            self._to_register = (row,)
        elif row.incarnation == self.incarnation:
            # The store did a registration that was given up, nobody knows when: trust begins with a beat, due now.
            self._is_registered = True
            self.fence = row.fence
        elif self._seen is None or (row.incarnation, row.beat) != (self._seen.incarnation, self._seen.beat):
            self._on_beat_of_another(row, now)
            self._pending.due = self._next_look(asked_at)
        elif asked_at >= self._seen_at + self._pending.heartbeat_max_age:
            self._to_register = (row,)
        else:
            self._pending.due = self._next_look(asked_at)

    def on_granted(self, *, asked_at: float, now: float) -> None:
        """The registration or beat was done."""
        request = self._pending.answer(asked_at, now)
        if isinstance(request, Register):
            self._is_registered = True
            self.fence = 1 if request.seen is None else request.seen.fence + 1
        if isinstance(request, Register | Beat):
            self.trusted_until = asked_at + self._pending.trust
            self._pending.due = asked_at + self._pending.heartbeat_interval

    def on_refused(self, *, asked_at: float, now: float) -> None:
        """The request changed no row. After a beat that means eviction: the node begins a new incarnation."""
        request = self._pending.answer(asked_at, now)
        if isinstance(request, Beat):
            self._is_registered = False
            self.trusted_until = -inf
            self._seen = None
            self.incarnation = self._new_incarnation()

    def on_failed(self, *, asked_at: float, now: float) -> None:
        """The store did not answer: the request may have been done, or may be done later."""
        if self._pending.is_asked(asked_at):
            self._given_up(now)

    def stop(self) -> Leave | None:
        """Leave the cluster for good. Return the request that tells the others, so that they need not wait."""
        self._stopped = True
        self._pending.drop()
        self.trusted_until = -inf
        return Leave(self.incarnation) if self._is_registered else None

    def _next_request(self, now: float) -> Step:
        until = now + self._pending.timeout
        if self._is_registered:
            return Beat(self.incarnation, now, until)
        if self._to_register is not None:
            (seen,), self._to_register = self._to_register, None
            return Register(seen, self.incarnation, now, until)
        return ReadOwnRow(now, until)

    def _given_up(self, now: float) -> None:
        if self._pending.give_up(now) is not None:
            # While the store was away another process with this id could not beat either: start to watch it anew.
            self._seen = None

    def _on_beat_of_another(self, row: NodeRow, now: float) -> None:
        if self._seen is None:
            self._first_seen_at = now
        # The store may still do late beats of this node's previous process, but none this late.
        elif now >= self._first_seen_at + self._pending.heartbeat_max_age:
            raise DuplicateNodeId(self._node_id, row)
        self._seen, self._seen_at = row, now

    def _next_look(self, asked_at: float) -> float:
        return min(self._pending.next_poll(asked_at), self._seen_at + self._pending.heartbeat_max_age)
