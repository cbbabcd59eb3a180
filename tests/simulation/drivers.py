"""This broker's election on a simulated machine."""

from __future__ import annotations

from functools import partial
from typing import Any

from broker.coordination.membership.election import Action, Election, ReadLease, Role
from broker.ports.cluster_rows import Claim
from tests.simulation.store import SimulatedStore
from tests.simulation.world import Machine

HEARTBEAT_INTERVAL = 5.0


class ElectionDriver:
    """Does the actions of `Election` and brings the answers back; `trusts_answer` is a planted bug."""

    def __init__(self, machine: Machine, store: SimulatedStore, *, trusts_answer: bool = False) -> None:
        self._machine = machine
        self._store = store
        self._trusts_answer = trusts_answer
        random = machine.world.random
        terms = (f"{machine.name}/{machine.incarnation}/{number}" for number in range(1_000_000))
        self.election = Election(HEARTBEAT_INTERVAL, machine.world.creation_wait, terms.__next__, random.random)

    def wake(self) -> float:
        action = self.election.next_action(self._machine.clock())
        if action is not None:
            self._machine.ask(self._operation(action), partial(self._on_answer, action))
        return self.election.next_deadline()

    def is_coordinator(self) -> bool:
        election = self.election
        # Most nodes hold no lease; that is seen without a look at the clock.
        return election.epoch is not None and election.role(self._machine.clock()) is Role.COORDINATOR

    def work(self) -> None:
        if not self.is_coordinator():
            return
        epoch, term = self.election.epoch, self.election.term
        assert epoch is not None
        self._machine.ask(partial(self._store.write, self._machine.name, epoch, term), partial(self._on_written, term))

    def stop(self) -> None:
        resign = self.election.stop()
        if resign is not None:
            self._machine.tell(partial(self._store.resign, resign.epoch, resign.term))

    def _operation(self, action: Action) -> Any:
        if isinstance(action, ReadLease):
            return self._store.read_lease
        if isinstance(action, Claim):
            return partial(self._store.claim, self._machine.name, action.seen, action.term)
        return partial(self._store.renew, action.epoch, action.term)

    def _on_answer(self, action: Action, result: Any) -> None:
        now = self._machine.clock()
        if isinstance(result, Exception):
            self.election.on_failed(asked_at=action.asked_at, now=now)
        elif isinstance(action, ReadLease):
            self.election.on_lease(result, asked_at=action.asked_at, now=now)
        elif result:
            self.election.on_granted(asked_at=action.asked_at, now=now)
            if self._trusts_answer and self.election.epoch is not None:
                self.election.trusted_until += now - action.asked_at
        else:
            self.election.on_refused(asked_at=action.asked_at, now=now)

    def _on_written(self, term: str, result: Any) -> None:
        if result is False:
            self.election.on_fenced(term, self._machine.clock())
