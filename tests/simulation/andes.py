"""The ancestor's election on a simulated machine, to show that the world finds its faults (andes §5.2, §5.4).

Ages are differences of two nodes' wall clocks, a stale row is deleted whoever wrote it since, and no write is fenced.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from math import inf
from typing import Any, TypeAlias

from tests.simulation.drivers import HEARTBEAT_INTERVAL
from tests.simulation.store import Audit
from tests.simulation.world import Machine

MAX_AGE = 2 * HEARTBEAT_INTERVAL
# What a JDBC driver's socket timeout would be; Andes sets none.
CALL_SECONDS = 4.0


class AndesStore:
    """The one row of MB_COORDINATOR_HEARTBEAT; each inserted row counts as an epoch, which only the audit knows."""

    def __init__(self) -> None:
        self.audit = Audit()
        self.inserted = 0
        self.row: tuple[str, float] | None = None

    def insert(self, node: str, wall: float) -> int:
        """Return the epoch of the new row, or 0 when there was one."""
        if self.row is not None:
            return 0
        self.row = (node, wall)
        self.inserted += 1
        return self.inserted

    def refresh(self, node: str, wall: float) -> bool:
        if self.row is None or self.row[0] != node:
            return False
        self.row = (node, wall)
        return True

    def delete(self) -> None:
        self.row = None

    def read(self) -> tuple[str, float] | None:
        return self.row

    def remember(self, now: float) -> None:
        raise NotImplementedError("Andes is run without fail-overs")

    def fail_over(self, now: float) -> None:
        raise NotImplementedError("Andes is run without fail-overs")


# A sleep, or a call to the store; the loop goes from one state to the next.
Step: TypeAlias = float | Callable[[], Any]
State: TypeAlias = Callable[[], Generator[Step, Any, Any]]


class Failed(Exception):
    """A call to the store threw."""


class AndesDriver:
    """Runs the endless loop as a generator that yields sleeps and calls."""

    def __init__(self, machine: Machine, store: AndesStore) -> None:
        self._machine = machine
        self._store = store
        self._epoch = 0
        self._expires_at = -inf
        self._loop = self._run()
        self._call = 0
        self._call_is_open = False
        self._due = machine.clock()

    def wake(self) -> float:
        now = self._machine.clock()
        if now >= self._due:
            self._advance(Failed() if self._call_is_open else None)
        return self._due

    def is_coordinator(self) -> bool:
        return self._machine.clock() < self._expires_at

    def work(self) -> None:
        if not self.is_coordinator():
            return
        name = self._machine.name
        self._machine.ask(partial(self._store.audit.record, name, self._epoch, name), lambda _: None)

    def stop(self) -> None:
        self._machine.ask(self._store.delete, lambda _: None)

    def _advance(self, result: Any) -> None:
        step = self._loop.throw(result) if isinstance(result, Exception) else self._loop.send(result)
        self._call += 1
        self._call_is_open = not isinstance(step, float)
        if isinstance(step, float):
            self._due = self._machine.clock() + step
        else:
            self._due = self._machine.clock() + CALL_SECONDS
            self._machine.ask(step, partial(self._on_answer, self._call))

    def _on_answer(self, call: int, result: Any) -> None:
        if call == self._call:
            self._advance(Failed() if isinstance(result, Exception) else result)

    def _run(self) -> Generator[Step, Any, None]:
        state = self._elect
        while True:
            try:
                state = yield from state()
            except Failed:
                self._expires_at = -inf
                state = self._follow
                yield 0.1

    def _elect(self) -> Generator[Step, Any, State]:
        name = self._machine.name
        epoch = yield partial(self._store.insert, name, self._machine.wall())
        if not epoch:
            return self._follow
        yield self._machine.world.creation_wait
        row = yield self._store.read
        if row is None or row[0] != name:
            return self._follow
        self._epoch = epoch
        self._expires_at = self._machine.clock() + MAX_AGE
        return self._lead

    def _follow(self) -> Generator[Step, Any, State]:
        while True:
            valid = yield from self._is_valid()
            yield HEARTBEAT_INTERVAL
            if not valid and not (yield from self._is_valid()):
                yield self._store.delete
                return self._elect

    def _is_valid(self) -> Generator[Step, Any, bool]:
        row = yield self._store.read
        return row is not None and self._machine.wall() - row[1] <= MAX_AGE

    def _lead(self) -> Generator[Step, Any, State]:
        while True:
            if not (yield partial(self._store.refresh, self._machine.name, self._machine.wall())):
                self._expires_at = -inf
                return self._elect
            self._expires_at = self._machine.clock() + MAX_AGE
            yield HEARTBEAT_INTERVAL
