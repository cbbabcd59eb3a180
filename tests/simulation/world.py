"""N nodes, one store and what lies between them, on one simulated clock: no threads, no sleeps, no surprises.

A run is a function of its schedule. Every node has its own monotonic clock, with its own rate, and a wall clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count
from math import inf
from random import Random
from typing import Any, Protocol

from tests.simulation.schedule import Fault, Schedule
from tests.simulation.store import Audit, Violation

HEAL_SECONDS = 45.0


class Driver(Protocol):
    """What a node runs: an election, in whatever way; made anew when its process starts."""

    def wake(self) -> float:
        """Do what is due; return when to be woken next, on the node's own clock."""
        ...

    def is_coordinator(self) -> bool: ...

    def work(self) -> None:
        """Use what power there is, once."""
        ...

    def stop(self) -> None: ...


class Store(Protocol):
    """What the world itself wants of a store; the drivers know the rest."""

    audit: Audit

    def remember(self, now: float) -> None: ...

    def fail_over(self, now: float) -> None: ...


class Machine:
    """One node's process and clocks."""

    def __init__(self, world: World, index: int, rate: float) -> None:
        self.world = world
        self.index = index
        self.name = f"node {index}"
        self.driver: Driver | None = None
        self.incarnation = 1
        self.paused_until = 0.0
        self.wall_offset = 0.0
        self.slow_until = self.late_until = self.lossy_until = self.isolated_until = 0.0
        self.rate = rate
        self._offset = 1000.0 * (index + 1)
        self._wake_at = 0.0
        self._alarm_at = inf

    def clock(self) -> float:
        return self._offset + self.rate * self.world.now

    def wall(self) -> float:
        return self.world.now + self.wall_offset

    def stand_still(self, seconds: float) -> None:
        self._offset -= self.rate * seconds

    def start(self) -> None:
        self.driver = self.world.drive(self)
        self._alarm_at = inf
        self.wake()
        self.world.later(self.world.random.uniform(0.0, 1.0), self, self._work)

    def kill(self) -> None:
        self.incarnation += 1
        self.driver = None

    def is_coordinator(self) -> bool:
        return self.driver is not None and self.driver.is_coordinator()

    def wake(self) -> None:
        """Let the driver act, and come back when it wants to be woken."""
        assert self.driver is not None
        at = (self.driver.wake() - self._offset) / self.rate
        self.world.check_power(self)
        self._wake_at = max(at, self.world.now + 1e-6)
        if self._wake_at < self._alarm_at:
            self._set_alarm()

    def wake_by(self, at: float) -> None:
        """Let the driver act at `at` on this node's clock, unless it does so earlier anyway."""
        self._wake_at = min(self._wake_at, max((at - self._offset) / self.rate, self.world.now + 1e-6))
        if self._wake_at < self._alarm_at:
            self._set_alarm()

    def _set_alarm(self) -> None:
        self._alarm_at = at = self._wake_at
        self.world.later(at - self.world.now, self, self._on_alarm, at)

    def _on_alarm(self, at: float) -> None:
        """An earlier alarm may have been set since, or a later time to wake: then this one does nothing, or waits."""
        if at != self._alarm_at:
            return
        self._alarm_at = inf
        if self._wake_at > self.world.now + 1e-7:
            self._set_alarm()
        else:
            self.wake()

    def ask(self, operation: Callable[[], Any], answer: Callable[[Any], None]) -> None:
        """Send `operation` to the store; `answer` gets its result, or an exception, or is never called."""
        self.world.send(self, operation, partial(self._answered, answer))

    def tell(self, operation: Callable[[], Any]) -> None:
        """Send `operation` to the store; nobody waits for its result."""
        self.world.send(self, operation, _ignore)

    def _answered(self, answer: Callable[[Any], None], result: Any) -> None:
        answer(result)
        self.wake()

    def _work(self) -> None:
        assert self.driver is not None
        self.world.check_power(self)
        self.driver.work()
        self.world.later(1.0, self, self._work)


def _ignore(result: Any) -> None:
    """What the store answers is of no interest."""


class World:
    """Runs a schedule to its end, or to the first violation."""

    def __init__(
        self,
        schedule: Schedule,
        drive: Callable[[Machine], Driver],
        store: Store,
        is_settled: Callable[[], bool] = lambda: True,
    ) -> None:
        self.now = 0.0
        self.random = Random(schedule.seed)
        self.drive = drive
        self.store = store
        self.machines = [Machine(self, index, rate) for index, rate in enumerate(schedule.rates)]
        self.led_since: list[tuple[float, str]] = []
        self.creation_wait = schedule.creation_wait
        self._is_settled = is_settled
        self._schedule = schedule
        self.checks_belief = schedule.is_safe_for_belief()
        self._remembers = any(fault.kind == "fail-over" for fault in schedule.faults)
        self._events: list[tuple[float, int, Machine | None, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._down_until = self._hung_until = 0.0

    def run(self) -> None:
        """Run until all faults are over, somebody leads again and the nodes have settled."""
        for machine in self.machines:
            machine.start()
        for fault in self._schedule.faults:
            self.at(fault.at, self._strike, fault)
        healed_at = self._schedule.healed_at
        last = healed_at + HEAL_SECONDS
        written = None
        events = self._events
        now = 0.0
        while now < last:
            now, _, machine, incarnation, event, arguments = heapq.heappop(events)
            self.now = now
            if machine is None:
                event(*arguments)
            elif machine.incarnation == incarnation:
                if machine.paused_until > now:
                    heapq.heappush(
                        events, (machine.paused_until, next(self._order), machine, incarnation, event, arguments)
                    )
                else:
                    event(*arguments)
            if now > healed_at:
                written = len(self.store.audit.entries) if written is None else written
                if len(self.store.audit.entries) > written and self._is_settled():
                    return
        raise Violation(f"not settled {HEAL_SECONDS:.0f} s after the last fault")

    def at(self, when: float, event: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), None, 0, event, arguments))

    def later(self, seconds: float, machine: Machine, event: Callable[..., None], *arguments: Any) -> None:
        """Let `event` happen on the machine, unless its process ends before; a paused one does it on waking up."""
        self.on_machine(self.now + seconds, machine, machine.incarnation, event, *arguments)

    def on_machine(
        self, when: float, machine: Machine, incarnation: int, event: Callable[..., None], *arguments: Any
    ) -> None:
        """The same at a time, for this incarnation of the machine."""
        heapq.heappush(self._events, (when, next(self._order), machine, incarnation, event, arguments))

    def send(self, machine: Machine, operation: Callable[[], Any], answer: Callable[[Any], None]) -> None:
        """Bring a request to the store, perhaps late or never; it arrives even when its sender is no more."""
        lost, delay = self._fate(machine)
        if not lost:
            self.at(self.now + delay, self._arrive, machine, machine.incarnation, operation, answer)

    def check_power(self, machine: Machine) -> None:
        """Hold that no other node that runs believes in power at this instant."""
        if not machine.is_coordinator():
            return
        if not self.led_since or self.led_since[-1][1] != machine.name:
            self.led_since.append((self.now, machine.name))
        if self.checks_belief:
            for other in self.machines:
                if other is not machine and other.paused_until <= self.now and other.is_coordinator():
                    raise Violation(f"I51: {machine.name} and {other.name} both believe in power")

    def _fate(self, machine: Machine) -> tuple[bool, float]:
        delay = 0.001 + 0.009 * self.random.random()
        if machine.slow_until > self.now and self.random.random() < 0.5:
            delay += self.random.uniform(0.5, self.random.choice((2.0, 6.0)))
        lost = machine.lossy_until > self.now and self.random.random() < 0.3
        return lost or machine.isolated_until > self.now, delay

    def _arrive(
        self, machine: Machine, incarnation: int, operation: Callable[[], Any], answer: Callable[[Any], None]
    ) -> None:
        if self._hung_until > self.now:
            self.at(self._hung_until, self._arrive, machine, incarnation, operation, answer)
            return
        if self._down_until > self.now:
            result: Any = ConnectionError("the store is away")
        else:
            if self._remembers:
                self.store.remember(self.now)
            result = operation()
        if answer is _ignore:
            return
        lost, delay = self._fate(machine)
        if machine.late_until > self.now:
            delay += self.random.uniform(0.5, 2.0)
        if not lost:
            self.on_machine(self.now + delay, machine, incarnation, answer, result)

    def _strike(self, fault: Fault) -> None:
        until = self.now + fault.seconds
        if fault.kind == "outage":
            self._down_until = max(self._down_until, until)
        elif fault.kind == "hang":
            self._hung_until = max(self._hung_until, until)
        elif fault.kind in ("kill-coordinator", "stop-coordinator"):
            self._strike_coordinator(Fault(fault.at, fault.kind.partition("-")[0], fault.node, fault.seconds))
        elif fault.kind == "fail-over":
            self.store.fail_over(self.now - fault.seconds)
            self._down_until = max(self._down_until, self.now + 1.0)
        else:
            self._strike_node(self.machines[fault.node], fault, until)

    def _strike_coordinator(self, fault: Fault) -> None:
        for machine in self.machines:
            if machine.is_coordinator():
                self._strike_node(machine, fault, self.now + fault.seconds)

    def _strike_node(self, machine: Machine, fault: Fault, until: float) -> None:
        if fault.kind == "wall-jump":
            machine.wall_offset += fault.seconds
        elif fault.kind == "slow":
            machine.slow_until = until
        elif fault.kind == "late-replies":
            machine.late_until = until
        elif fault.kind == "lossy":
            machine.lossy_until = until
        elif fault.kind == "isolated":
            machine.isolated_until = until
        elif fault.kind in ("pause", "freeze"):
            machine.paused_until = max(machine.paused_until, until)
            if fault.kind == "freeze":
                machine.stand_still(fault.seconds)
        elif machine.driver is not None:
            if fault.kind == "stop" and machine.paused_until <= self.now:
                machine.driver.stop()
            machine.kill()
            self.at(until, machine.start)
