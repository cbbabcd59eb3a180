"""The election of the coordinator: nodes claim and renew a lease in the store by compare-and-set.

A node takes the coordinator for dead when it has watched the lease for `heartbeat_max_age` and nobody renewed it. The
election only decides what this node believes. A coordinator that was replaced and does not know it yet is stopped by
the fence, because each of its writes carries epoch and term (ADR 16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TypeAlias

from broker.coordination.membership.pending_request import PendingRequest
from broker.ports.cluster_rows import Claim, Lease, Renew, Resign


class Role(Enum):
    """What this node is in the cluster. An `ELECTED` node holds the lease but must wait before it may act on it."""

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
    """Decides this node's role from the caller's clock and the answers of the store.

    The caller makes the request that `next_action` returns and reports the answer with the request's `asked_at`: by
    `on_lease` for what was read, by `on_granted` or `on_refused` for a change, by `on_failed` without an answer. It
    calls `next_action` again at `next_deadline`. It gives a request up at its `until` and drops the connection.
    """

    __slots__ = (
        "_claim",
        "_creation_wait",
        "_new_term",
        "_pending",
        "_power_due",
        "_seen",
        "_seen_at",
        "_stopped",
        "_to_claim",
        "epoch",
        "lease",
        "may_claim",
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
        """`creation_wait` is coordinatorEntryCreationWaitTime in seconds; `new_term` never returns a text twice.

        `jitter` returns random numbers from 0 to 1.
        """
        self.epoch: int | None = None
        self.lease: Lease | None = None
        """The lease as it was last read; None from this node's victory in an election to its next read."""
        self.may_claim = True
        """May this node claim a lease that nobody holds any more? Otherwise it goes on watching it."""
        self.term = ""
        self.trusted_until = 0.0
        self.power_from = 0.0
        self._creation_wait = creation_wait
        self._new_term = new_term
        self._pending: PendingRequest[Action] = PendingRequest(heartbeat_interval, jitter)
        self._claim: Claim | None = None
        self._power_due = False
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._stopped = False
        self._to_claim: Lease | None = None

    def role(self, now: float) -> Role:
        """Return this node's role at `now`. Ask before every act as coordinator: power ends by time alone."""
        if self.epoch is None or now >= self.trusted_until:
            return Role.CANDIDATE
        return Role.COORDINATOR if now >= self.power_from else Role.ELECTED

    def next_deadline(self) -> float:
        """Return when `next_action` or the role may change even if no answer comes."""
        if self._stopped:
            return inf
        deadline = self._pending.deadline
        if self.epoch is None:
            return deadline
        deadline = min(deadline, self.trusted_until)
        return min(deadline, self.power_from) if self._power_due else deadline

    def next_action(self, now: float) -> Action | None:
        """Return the request to make now, if one is due."""
        if now >= self.power_from:
            self._power_due = False
        if self._stopped or self._pending.is_under_way(now):
            return None
        self._given_up(now)
        if self.epoch is not None and now >= self.trusted_until:
            self._step_down()
        if now < self._pending.due:
            return None
        return self._pending.ask(self._next_request(now))

    def on_lease(self, lease: Lease, *, asked_at: float, now: float) -> None:
        """The lease was read."""
        if self._pending.answer(asked_at, now) is None:
            return
        self.lease = lease
        if lease.holder is None:
            self._plan_claim(lease, asked_at)
        elif lease.term == self.term:
            self._on_own_lease(lease, asked_at, now)
        else:
            self._observe(lease, asked_at, now)

    def on_granted(self, *, asked_at: float, now: float) -> None:
        """The claim or renewal was done. Power counts from the time of the request, not from that of the answer."""
        request = self._pending.answer(asked_at, now)
        if isinstance(request, Claim):
            self._win(request)
        elif isinstance(request, Renew):
            self.trusted_until = asked_at + self._pending.trust
            self._pending.due = asked_at + self._pending.heartbeat_interval

    def on_refused(self, *, asked_at: float, now: float) -> None:
        """The claim or renewal changed no row: another node has the lease."""
        if self._pending.answer(asked_at, now) is not None:
            self._step_down()

    def on_failed(self, *, asked_at: float, now: float) -> None:
        """The store did not answer: the request may have been done, or may be done later."""
        if self._pending.is_asked(asked_at):
            self._given_up(now)

    def on_fenced(self, term: str, now: float) -> None:
        """The fence refused a write that carried `term`: another node has taken over."""
        if self.epoch is not None and term == self.term:
            self._pending.drop()
            self._pending.due = now
            self._step_down()

    def on_hint(self, now: float) -> None:
        """Read the lease at once: a peer says that the coordinator has resigned or was replaced."""
        if self.epoch is None:
            self._pending.due = min(self._pending.due, now)

    def step_aside(self, now: float) -> Resign | None:
        """Give up the role for now. Return the request that frees the lease, so that another node can claim it."""
        epoch = self.epoch
        self._pending.drop()
        self._pending.due = now
        self._step_down()
        return None if epoch is None else Resign(epoch, self.term)

    def stop(self) -> Resign | None:
        """Give up the role for good. Return the request that frees the lease, so that another node can claim it."""
        epoch = self.epoch
        self._stopped = True
        self._pending.drop()
        self._step_down()
        return None if epoch is None else Resign(epoch, self.term)

    def _next_request(self, now: float) -> Action:
        until = now + self._pending.timeout
        if self.epoch is not None:
            return Renew(self.epoch, self.term, now, min(until, self.trusted_until))
        if self._to_claim is not None:
            seen, self._to_claim = self._to_claim, None
            self.term = self._new_term()
            self._claim = Claim(seen, self.term, now, until)
            return self._claim
        return ReadLease(now, until)

    def _given_up(self, now: float) -> None:
        if self._pending.give_up(now) is not None:
            # While the store was away the coordinator could not renew either: start to watch it anew.
            self._seen = None

    def _observe(self, lease: Lease, asked_at: float, now: float) -> None:
        if lease != self._seen:
            # Watch from the answer on: the coordinator may have renewed after this node's request was made.
            self._seen, self._seen_at = lease, now
        silent_at = self._seen_at + self._pending.heartbeat_max_age
        if asked_at >= silent_at:
            self._plan_claim(lease, asked_at)
        else:
            self._pending.due = min(self._pending.next_poll(asked_at), silent_at)

    def _plan_claim(self, lease: Lease, asked_at: float) -> None:
        if self.may_claim:
            self._to_claim = lease
        else:
            self._pending.due = self._pending.next_poll(asked_at)

    def _on_own_lease(self, lease: Lease, asked_at: float, now: float) -> None:
        """The lease is this node's: a claim without an answer was granted, or its power ended and none took over."""
        if self._claim is not None and now < self._claim.asked_at + self._pending.trust:
            self._win(self._claim)
        else:
            self._plan_claim(lease, asked_at)

    def _win(self, claim: Claim) -> None:
        self.epoch = claim.seen.epoch + 1
        self.trusted_until = claim.asked_at + self._pending.trust
        # A coordinator that resigned knows it; any other needs `creation_wait` to notice that it was replaced.
        self.power_from = claim.asked_at + (0.0 if claim.seen.holder is None else self._creation_wait)
        self._power_due = True
        self._claim = self.lease = None
        self._pending.due = claim.asked_at + self._pending.heartbeat_interval

    def _step_down(self) -> None:
        self.epoch = self._claim = self._seen = None
