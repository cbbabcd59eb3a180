"""Coroutines without an event loop: each goes as far as it can, in the order in which they came.

Knows no asyncio. A coroutine that waits does so at a `Gate` a test has shut, for a `Turns` lock, or for one turn.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

from broker.turn_budget import TurnBudget

_T = TypeVar("_T")


def drive(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that must not suspend, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    coroutine.close()
    raise AssertionError("the coroutine has suspended")


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Let everything else go on first."""
    yield


class Gate:
    """Holds whoever passes while it is shut."""

    def __init__(self) -> None:
        self.is_open = True

    async def passed(self) -> None:
        while not self.is_open:
            await turn()


class Turns:
    """A lock: one holder at a time, the others wait."""

    def __init__(self) -> None:
        self._is_held = False

    async def __aenter__(self) -> None:
        while self._is_held:
            await turn()
        self._is_held = True

    async def __aexit__(self, *_: object) -> None:
        self._is_held = False


class Event:
    """Holds whoever waits until it is set."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        while not self._is_set:
            await turn()


class Stage:
    """Runs the coroutines it is given when it is told to."""

    def __init__(self) -> None:
        self._waiting: list[Coroutine[Any, Any, None]] = []

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._waiting.append(coroutine)

    def create_task(self, coroutine: Coroutine[Any, Any, None], name: str = "") -> Stage:
        """Stand in for a task group, and for the task: all of them end here."""
        self.spawn(coroutine)
        return self

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Nothing is left to be done when a coroutine has come to its end here."""

    def __len__(self) -> int:
        """How many coroutines have not come to their end."""
        return len(self._waiting)

    def run(self) -> bool:
        """Step all until none gets any further; return whether one has come to its end."""
        has_finished = False
        while True:
            waiting, self._waiting = self._waiting, []
            stuck = [coroutine for coroutine in waiting if not _is_done(coroutine)]
            is_progress = len(stuck) < len(waiting)
            has_finished |= is_progress
            is_progress |= bool(self._waiting)
            self._waiting = stuck + self._waiting
            if not is_progress:
                return has_finished


class LoopTurns:
    """Turns of a loop that stands still in between."""

    def __init__(self, work: TurnBudget) -> None:
        self.work = work
        self.taken: list[int] = []
        """The steps of work that each turn took which others had to wait for."""
        self.in_between: Callable[[], None] = lambda: None
        """Is called before each turn: others are served then."""
        self._waiting: list[Callable[[], None]] = []

    def call(self, go_on: Callable[[], None]) -> None:
        self._waiting.append(go_on)

    async def next(self) -> None:
        woken: list[bool] = []
        self.call(lambda: woken.append(True))
        while not woken:
            await turn()

    def begin(self) -> bool:
        """Let those go on who wait, if there are any; return whether there were."""
        if not self._waiting:
            return False
        self.taken.append(self.work.done)
        self.in_between()
        self.work.begin_turn()
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()
        return True


def _is_done(coroutine: Coroutine[Any, Any, None]) -> bool:
    try:
        coroutine.send(None)
    except StopIteration:
        return True
    return False
