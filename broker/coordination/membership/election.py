"""Which node is the coordinator: a lease in the store, taken and renewed by compare-and-set (reliability.md §3.3).

Decides this node's role from its own monotonic clock and the answers of the store. Does no I/O, reads no clock, and
knows no other node: a coordinator is dead when its lease has not changed for `heartbeat_max_age` of looking on. Nothing
here makes a stale coordinator harmless; the epoch and term in each of its writes do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TypeAlias

from broker.coordination.membership.pending_request import Inquiry
from broker.ports.cluster_rows import Claim, Lease, Renew, Resign


class Role(Enum):
    """What this node is in the cluster. `ELECTED` holds the lease and waits before it uses it (andes.md §5.1)."""

    CANDIDATE = "candidate"
    ELECTED = "elected"
    COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class ReadLease:
    """Read the lease; answer with `on_lease`."""

    asked_at: float
    until: float


Action: TypeAlias = ReadLease | Claim | Renew


class Election:
    """Decides this node's role.

    The edge does what `next_action` returns, reports the answer with the action's `asked_at`: `on_lease` for what was
    read, `on_granted` or `on_refused` for what was to change. It calls again at `next_deadline`. A question past its
    `until` is given up: the edge drops its connection.
    """

    __slots__ = (
        "_claim",
        "_creation_wait",
        "_inquiry",
        "_new_term",
        "_power_due",
        "_seen",
        "_seen_at",
        "_stopped",
        "_to_claim",
        "epoch",
        "lease",
        "power_from",
        "term",
        "trusted_until",
    )

    def __init__(
        self,
        heartbeat_interval: float,
        creation_wait: float,
        new_term: Callable[[], str],
        jitter: Callable[[], float],
    ) -> None:
        """`creation_wait` is coordinatorEntryCreationWaitTime; `new_term` never gives the same text twice."""
        self.epoch: int | None = None
        self.lease: Lease | None = None
        """The lease as it was read the last time, since this node's own claim if it has made one."""
        self.term = ""
        self.trusted_until = 0.0
        self.power_from = 0.0
        self._creation_wait = creation_wait
        self._new_term = new_term
        self._inquiry: Inquiry[Action] = Inquiry(heartbeat_interval, jitter)
        self._claim: Claim | None = None
        self._power_due = False
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._stopped = False
        self._to_claim: Lease | None = None

    def role(self, now: float) -> Role:
        """Return what this node may believe to be; ask again before each use of power."""
        if self.epoch is None or now >= self.trusted_until:
            return Role.CANDIDATE
        return Role.COORDINATOR if now >= self.power_from else Role.ELECTED

    def next_deadline(self) -> float:
        """Return when `next_action` or the role may be different without an answer."""
        if self._stopped:
            return inf
        deadline = self._inquiry.deadline
        if self.epoch is None:
            return deadline
        deadline = min(deadline, self.trusted_until)
        return min(deadline, self.power_from) if self._power_due else deadline

    def next_action(self, now: float) -> Action | None:
        """Return what to ask the store now, if anything."""
        if now >= self.power_from:
            self._power_due = False
        if self._stopped or self._inquiry.is_under_way(now):
            return None
        self._given_up(now)
        if self.epoch is not None and now >= self.trusted_until:
            self._step_down()
        if now < self._inquiry.due:
            return None
        return self._inquiry.ask(self._question(now))

    def on_lease(self, lease: Lease, *, asked_at: float, now: float) -> None:
        """The lease was read."""
        if self._inquiry.answer(asked_at, now) is None:
            return
        self.lease = lease
        if lease.holder is None:
            self._to_claim = lease
        elif lease.term == self.term:
            self._on_own_lease(lease, now)
        else:
            self._observe(lease, asked_at, now)

    def on_granted(self, *, asked_at: float, now: float) -> None:
        """One row was changed: trust the epoch from the question, not from the answer."""
        question = self._inquiry.answer(asked_at, now)
        if isinstance(question, Claim):
            self._win(question)
        elif isinstance(question, Renew):
            self.trusted_until = asked_at + self._inquiry.trust
            self._inquiry.due = asked_at + self._inquiry.heartbeat_interval

    def on_refused(self, *, asked_at: float, now: float) -> None:
        """No row was changed: somebody else has the lease."""
        if self._inquiry.answer(asked_at, now) is not None:
            self._step_down()

    def on_failed(self, *, asked_at: float, now: float) -> None:
        """The store did not answer: what was asked may have been done, or may be done later."""
        if self._inquiry.is_asked(asked_at):
            self._given_up(now)

    def on_fenced(self, term: str, now: float) -> None:
        """A write that carried `term` was refused by the fence: somebody else has taken over."""
        if self.epoch is not None and term == self.term:
            self._inquiry.drop()
            self._inquiry.due = now
            self._step_down()

    def on_hint(self, now: float) -> None:
        """A peer says that the coordinator has resigned or that there is another one: look at once."""
        if self.epoch is None:
            self._inquiry.due = min(self._inquiry.due, now)

    def stop(self) -> Resign | None:
        """Give up the role for good; return what lets the next candidate claim at once."""
        epoch = self.epoch
        self._stopped = True
        self._inquiry.drop()
        self._step_down()
        return None if epoch is None else Resign(epoch, self.term)

    def _question(self, now: float) -> Action:
        until = now + self._inquiry.timeout
        if self.epoch is not None:
            return Renew(self.epoch, self.term, now, min(until, self.trusted_until))
        if self._to_claim is not None:
            seen, self._to_claim = self._to_claim, None
            self.term = self._new_term()
            self._claim = Claim(seen, self.term, now, until)
            return self._claim
        return ReadLease(now, until)

    def _given_up(self, now: float) -> None:
        if self._inquiry.give_up(now) is not None:
            # A store that was away for this node was away for the coordinator too: its silence says nothing.
            self._seen = None

    def _observe(self, lease: Lease, asked_at: float, now: float) -> None:
        if lease != self._seen:
            # From the answer: the renewal that was seen may have been asked for after this question.
            self._seen, self._seen_at = lease, now
        silent_at = self._seen_at + self._inquiry.heartbeat_max_age
        if asked_at >= silent_at:
            self._to_claim = lease
        else:
            self._inquiry.due = min(self._inquiry.next_poll(asked_at), silent_at)

    def _on_own_lease(self, lease: Lease, now: float) -> None:
        """A claim without an answer was granted, or trust has ended and nobody else has noticed."""
        if self._claim is not None and now < self._claim.asked_at + self._inquiry.trust:
            self._win(self._claim)
        else:
            self._to_claim = lease

    def _win(self, claim: Claim) -> None:
        self.epoch = claim.seen.epoch + 1
        self.trusted_until = claim.asked_at + self._inquiry.trust
        # Whoever had resigned needs no time to notice.
        self.power_from = claim.asked_at + (0.0 if claim.seen.holder is None else self._creation_wait)
        self._power_due = True
        self._claim = self.lease = None
        self._inquiry.due = claim.asked_at + self._inquiry.heartbeat_interval

    def _step_down(self) -> None:
        self.epoch = self._claim = self._seen = None
        self._power_due = False
