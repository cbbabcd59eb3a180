"""This node's own row: registered once per incarnation, kept alive by beats, trusted for as long as they are answered.

Decides from this node's own clock and the answers of the store (reliability.md §3.4). Does no I/O, reads no clock, and
knows nothing of the coordinator: whoever evicts this node makes the next beat change no row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from broker.coordination.membership.pending_request import Inquiry
from broker.errors import CoordinationError
from broker.ports.cluster_rows import Beat, Leave, NodeRow, NodeState, Register


class DuplicateNodeId(CoordinationError):
    """Another living process has this node's id (contract C5)."""


@dataclass(frozen=True, slots=True)
class ReadOwnRow:
    """Read this node's row; answer with `on_row`."""

    asked_at: float
    until: float


Step: TypeAlias = ReadOwnRow | Register | Beat


class Registration:
    """Drives this node's row. Used like `Election`: `next_action`, an answer with its `asked_at`, `next_deadline`."""

    __slots__ = (
        "_first_seen_at",
        "_inquiry",
        "_is_registered",
        "_new_incarnation",
        "_node_id",
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
        self._inquiry: Inquiry[Step] = Inquiry(heartbeat_interval, jitter)
        self._first_seen_at = 0.0
        self._is_registered = False
        self._seen: NodeRow | None = None
        self._seen_at = 0.0
        self._stopped = False
        self._to_register: tuple[NodeRow | None] | None = None

    def is_trusted(self, now: float) -> bool:
        """Return whether nobody can have evicted this node yet; without it nothing is delivered (contract C3).

        Trust that ended comes back with the next beat that is granted: in the same incarnation the node was not
        evicted, and nothing it holds was given to another. In a new one it holds nothing.
        """
        return now < self.trusted_until

    def next_deadline(self) -> float:
        """Return when `next_action` may be different without an answer; `trusted_until` is for whoever delivers."""
        return inf if self._stopped else self._inquiry.deadline

    def next_action(self, now: float) -> Step | None:
        """Return what to ask the store now, if anything."""
        if self._stopped or self._inquiry.is_under_way(now):
            return None
        self._given_up(now)
        return None if now < self._inquiry.due else self._inquiry.ask(self._question(now))

    def hasten(self, until: float, now: float) -> None:
        """Beat now rather than behind another question, which may take until then on the connection they share."""
        if self._is_registered and not self._inquiry.is_failing and self._inquiry.due < until:
            self._inquiry.due = min(self._inquiry.due, now)

    def on_row(self, row: NodeRow | None, *, asked_at: float, now: float) -> None:
        """This node's row was read; raises `DuplicateNodeId` when another process goes on to keep it alive."""
        if self._inquiry.answer(asked_at, now) is None:
            return
        if row is None or row.state is not NodeState.UP:
            if row is not None and row.incarnation == self.incarnation:
                # Registered late and evicted meanwhile: to those who look on, this incarnation has long been silent.
                self.incarnation = self._new_incarnation()
            self._to_register = (row,)
        elif row.incarnation == self.incarnation:
            # By a question that was given up: nobody knows when, so trust waits for the first beat, due now.
            self._is_registered = True
            self.fence = row.fence
        elif self._seen is None or (row.incarnation, row.beat) != (self._seen.incarnation, self._seen.beat):
            self._on_sign_of_life(row, now)
            self._inquiry.due = self._next_look(asked_at)
        elif asked_at >= self._seen_at + self._inquiry.heartbeat_max_age:
            self._to_register = (row,)
        else:
            self._inquiry.due = self._next_look(asked_at)

    def on_granted(self, *, asked_at: float, now: float) -> None:
        """One row was changed."""
        question = self._inquiry.answer(asked_at, now)
        if isinstance(question, Register):
            self._is_registered = True
            self.fence = 1 if question.seen is None else question.seen.fence + 1
        if isinstance(question, Register | Beat):
            self.trusted_until = asked_at + self._inquiry.trust
            self._inquiry.due = asked_at + self._inquiry.heartbeat_interval

    def on_refused(self, *, asked_at: float, now: float) -> None:
        """No row was changed: after a beat, this node was evicted and begins again in a new incarnation."""
        question = self._inquiry.answer(asked_at, now)
        if isinstance(question, Beat):
            self._is_registered = False
            self.trusted_until = -inf
            self._seen = None
            self.incarnation = self._new_incarnation()

    def on_failed(self, *, asked_at: float, now: float) -> None:
        """The store did not answer: what was asked may have been done, or may be done later."""
        if self._inquiry.is_asked(asked_at):
            self._given_up(now)

    def stop(self) -> Leave | None:
        """Leave the cluster for good; return what spares the others the wait for this node's silence."""
        self._stopped = True
        self._inquiry.drop()
        self.trusted_until = -inf
        return Leave(self.incarnation) if self._is_registered else None

    def _question(self, now: float) -> Step:
        until = now + self._inquiry.timeout
        if self._is_registered:
            return Beat(self.incarnation, now, until)
        if self._to_register is not None:
            (seen,), self._to_register = self._to_register, None
            return Register(seen, self.incarnation, now, until)
        return ReadOwnRow(now, until)

    def _given_up(self, now: float) -> None:
        if self._inquiry.give_up(now) is not None:
            # A store that was away for this node was away for the other one too: its silence says nothing.
            self._seen = None

    def _on_sign_of_life(self, row: NodeRow, now: float) -> None:
        if self._seen is None:
            self._first_seen_at = now
        # Beats of the process that was here before may be done late, but not as late as this.
        elif now >= self._first_seen_at + self._inquiry.heartbeat_max_age:
            raise DuplicateNodeId(
                f"node id '{self._node_id}' is in use by a living node at {row.host}:{row.port}, "
                f"incarnation {row.incarnation}; every node needs an id of its own"
            )
        self._seen, self._seen_at = row, now

    def _next_look(self, asked_at: float) -> float:
        return min(self._inquiry.next_poll(asked_at), self._seen_at + self._inquiry.heartbeat_max_age)
