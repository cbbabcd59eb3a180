"""Turns of the event loop: who had to stop because one was used up goes on in a later one, in the order of stopping."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from broker.turn_budget import TurnBudget


class Turns:
    """Begins turns, and shares them out."""

    def __init__(self, work: TurnBudget) -> None:
        self._work = work
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_scheduled = False

    def call(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` in a later turn of the loop, after those that wait already."""
        self._waiting.append(go_on)
        self._schedule()

    async def next(self) -> None:
        """Return in a later turn of the loop."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.call(partial(_wake, woken))
        await woken

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Begin a turn: call those that wait, until it is used up or each of them had its share."""
        self._is_scheduled = False
        self._work.begin_turn()
        waiting = self._waiting
        try:
            for _ in range(len(waiting)):
                waiting.popleft()()
                if self._work.is_over:
                    break
        finally:
            if waiting:
                self._schedule()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
