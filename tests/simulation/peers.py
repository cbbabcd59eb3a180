"""Nodes that meet as peers: they call each other over a network that loses, delays and is cut in one direction.

Knows the world, `PeerView`, and how an agent uses it; has no sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from random import Random
from typing import Any

from broker.coordination.peering.greeting import Address, ClusterTerms, Greeting
from broker.coordination.peering.view import Detector, PeerView
from broker.ports.cluster_rows import Incarnation
from tests.simulation.drivers import HEARTBEAT_INTERVAL
from tests.simulation.members import MemberDriver, NodeTable
from tests.simulation.schedule import NODE_FAULTS, Fault, Schedule, draw_fault, draw_unsafe
from tests.simulation.store import SimulatedStore, Violation
from tests.simulation.world import Machine, World

SILENCE = 2 * HEARTBEAT_INTERVAL
DETECTOR = Detector(SILENCE / 4, SILENCE)
CALL_TIMEOUT = SILENCE / 4
PEER_FAULTS = ("deaf", "mute", "apart", "cut-one-way")
"""Nothing comes from peers; nothing goes to them; both; nothing goes to the next node."""
PEER_PORT = 4000
SHORT = 12.0


def draw_peers(seed: int, *, is_short: bool = False) -> Schedule:
    """Draw the schedule of `seed`: as for any cluster, and half of its faults between peers.

    In a short one faults begin within 14 s and last 12 s at most, longer than two beats.
    """
    random = Random(seed)
    nodes = random.choice((2, 3, 3, 3, 3, 5) if is_short else (2, 3, 3, 5))
    kinds = (*NODE_FAULTS, *PEER_FAULTS, *PEER_FAULTS)
    last, longest = (14.0, SHORT) if is_short else (30.0, inf)
    faults = [
        draw_fault(random, nodes, kinds, round(random.uniform(2.0, last), 2)) for _ in range(random.randint(1, 5))
    ]
    if random.random() < 0.2:
        faults[0] = draw_unsafe(random, nodes)
    faults = [replace(fault, at=min(fault.at, last), seconds=min(fault.seconds, longest)) for fault in faults]
    rates = tuple(random.choice((0.98, 1.0, 1.0, 1.02)) for _ in range(nodes))
    return Schedule(seed, random.choice((0.0, 3.0)), rates, tuple(sorted(faults, key=lambda fault: fault.at)))


class PeerWorld(World):
    """A world in which machines also call each other."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._cut_until: dict[tuple[int, int], float] = {}

    def call(
        self, machine: Machine, address: Address, serve: Callable[[Any], Any], answer: Callable[[Any], None]
    ) -> None:
        """Let the driver at `address` serve a call; `answer` gets what it returns, or None when nothing came back."""
        other = self.machines[address[1] - PEER_PORT]
        there, back = self._passes(machine, other), self._passes(other, machine)
        self.later(CALL_TIMEOUT / machine.rate, machine, answer, None)
        if other.driver is None:
            self.later(0.01, machine, answer, None)
        elif there is not None:
            self.at(self.now + there, self._served, machine, machine.incarnation, other, serve, answer, back)

    def _served(
        self,
        machine: Machine,
        incarnation: int,
        other: Machine,
        serve: Callable[[Any], Any],
        answer: Callable[[Any], None],
        back: float | None,
    ) -> None:
        if other.paused_until > self.now:
            self.at(other.paused_until, self._served, machine, incarnation, other, serve, answer, back)
        elif other.driver is not None:
            result = serve(other.driver)
            if back is not None and result is not None:
                self.on_machine(self.now + back, machine, incarnation, answer, result)

    def _passes(self, sender: Machine, receiver: Machine) -> float | None:
        """Return how long a message takes, None when it does not arrive."""
        is_cut = self._cut_until.get((sender.index, receiver.index), 0.0) > self.now
        is_lossy = max(sender.lossy_until, receiver.lossy_until) > self.now
        if is_cut or (is_lossy and self.random.random() < 0.3):
            return None
        is_slow = max(sender.slow_until, receiver.slow_until) > self.now
        return 0.001 + 0.009 * self.random.random() + (self.random.uniform(0.5, 2.0) if is_slow else 0.0)

    def _strike_node(self, machine: Machine, fault: Fault, until: float) -> None:
        if fault.kind not in PEER_FAULTS:
            super()._strike_node(machine, fault, until)
            return
        here = machine.index
        for other in range(len(self.machines)):
            if fault.kind in ("deaf", "apart"):
                self._cut_until[other, here] = until
            if fault.kind in ("mute", "apart"):
                self._cut_until[here, other] = until
        if fault.kind == "cut-one-way":
            self._cut_until[here, (here + 1) % len(self.machines)] = until


class PeerDriver(MemberDriver):
    """A member that meets its peers; `ignores_store` and `forgets_nobody` are planted bugs."""

    def __init__(
        self,
        machine: Machine,
        store: SimulatedStore,
        table: NodeTable,
        *,
        ignores_store: bool = False,
        detector: Detector = DETECTOR,
    ) -> None:
        super().__init__(machine, store, table)
        self._ignores_store = ignores_store
        self._detector = detector
        self._incarnation = Incarnation(machine.name, "")
        self._meet_at = -inf
        self.view: PeerView | None = None
        self.met_at = 0.0
        """When this incarnation began to meet its peers."""

    @property
    def incarnation(self) -> Incarnation:
        if self._incarnation.id != self.own_row.incarnation:
            self._incarnation = Incarnation(self._machine.name, self.own_row.incarnation)
        return self._incarnation

    def wake(self) -> float:
        now = self._machine.clock()
        if now >= self._meet_at or self.own_row.incarnation != self._incarnation.id:
            self._meet_at = self._meet(now)
        election = self._leading.election
        if now >= election.next_deadline():
            election.may_claim = self.view is not None and self.view.is_nominated(self._living())
        return min(super().wake(), self._meet_at)

    def serve(self, greeting: Greeting) -> Greeting | None:
        """Answer a call of a peer."""
        if self.view is None:
            return None
        reason = self.view.on_call(greeting, self._machine.clock())
        self._heard()
        return None if reason else self.view.greeting()

    def _heard(self) -> None:
        """Something was heard of a peer, so that calls may be due at another time."""
        assert self.view is not None
        self._meet_at = self.view.next_deadline()
        self._machine.wake_by(self._meet_at)

    def _living(self) -> set[Incarnation]:
        return {Incarnation(row.node_id, row.incarnation) for row in self.members.members.values()}

    def _meet(self, now: float) -> float:
        """Call whom the view names; return when to do so again, unless something is heard before."""
        machine = self._machine
        if self.view is None or self.view.incarnation != self.incarnation:
            if not self.is_trusted():
                return now + 1.0
            self.view = self._new_view(now)
            self.met_at = machine.world.now
        world = machine.world
        assert isinstance(world, PeerWorld)
        view = self.view
        if due := view.due(now):
            greeting = view.greeting()
            for address in due:
                world.call(machine, address, lambda driver: driver.serve(greeting), self._on(view, address, now))
        return max(view.next_deadline(), now + 0.001)

    def _on(self, view: PeerView, address: Address, asked_at: float) -> Callable[[Any], None]:
        is_over = False

        def answered(result: Greeting | None) -> None:
            nonlocal is_over
            if is_over or self._machine.driver is not self:
                return
            is_over, now = True, self._machine.clock()
            if result is None:
                view.on_failed(address, asked_at=asked_at, now=now)
            else:
                view.on_answer(address, result, asked_at=asked_at, now=now)
            if view is self.view:
                self._heard()

        return answered

    def _new_view(self, now: float) -> PeerView:
        machine = self._machine
        index, number = machine.index, len(machine.world.machines)
        # Each node knows the first one and the next; the others it learns of.
        well_known = {("10.0.0.1", PEER_PORT), (f"10.0.0.{(index + 1) % number + 1}", PEER_PORT + (index + 1) % number)}
        return PeerView(
            self.incarnation,
            (f"10.0.0.{index + 1}", PEER_PORT + index),
            (f"10.0.0.{index + 1}", 7611),
            ClusterTerms("simulated", 1),
            sorted(well_known),
            self._detector,
            may_lead=lambda: self._ignores_store or self.is_trusted(),
            jitter=machine.world.random.random,
            now=now,
        )


class PeerCluster:
    """A world of peers, and what must hold between them."""

    def __init__(self, schedule: Schedule, *, fenced: bool = True, **planted: Any) -> None:
        self.store = SimulatedStore(fenced=fenced)
        self.table = NodeTable(self.store, lambda _: None)
        self.drivers: dict[str, PeerDriver] = {}
        self._planted = planted
        self.world = PeerWorld(schedule, self._drive, self.store, self.is_settled)
        self._healed_at = schedule.healed_at
        self.world.at(self._healed_at + SILENCE * 1.05, self._check_views)

    def run(self) -> None:
        """Run to the end, or to the first violation."""
        self.world.run()

    def is_settled(self) -> bool:
        """Return whether the views were looked at, every node trusts itself, and all see all the others."""
        if self.world.now <= self._healed_at + SILENCE * 1.1:
            return False
        incarnations = {driver.incarnation for driver in self.drivers.values()}
        return all(
            driver.is_trusted() and driver.view is not None and driver.view.members().keys() == incarnations - {own}
            for own, driver in ((each.incarnation, each) for each in self.drivers.values())
        )

    def _drive(self, machine: Machine) -> PeerDriver:
        driver = self.drivers[machine.name] = PeerDriver(machine, self.store, self.table, **self._planted)
        return driver

    def _check_views(self) -> None:
        """Two beats after the last fault everybody sees who is there, and nobody else."""
        here = [driver for driver in self.drivers.values() if driver.view is not None]
        alive = {driver.incarnation for driver in here}
        for driver in here:
            assert driver.view is not None
            driver.view.on_time(driver._machine.clock())
            seen = set(driver.view.members())
            settled = {each.incarnation for each in here if each.met_at <= self._healed_at and each is not driver}
            if driver.met_at <= self._healed_at and settled - seen:
                raise Violation(f"{driver.incarnation} does not see {settled - seen} two beats after the last fault")
            if seen - alive:
                raise Violation(f"{driver.incarnation} lists {seen - alive}, who are gone")
