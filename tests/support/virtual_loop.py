"""An event loop whose time passes only when everybody waits, and then at once: what takes hours takes no time.

Knows no sockets and no threads. A wait that nothing can end is an error, not a hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks and timers in the order of their times."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._selector = self

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        """The loop is a `Clock` too."""
        return self._now

    def wall_ms(self) -> int:
        return 1_800_000_000_000 + round(self._now * 1000)

    def jump(self, seconds: float) -> None:
        """Let time pass while nothing can run: a process that was stopped, and goes on."""
        self._now += seconds

    def select(self, timeout: float | None) -> Sequence[object]:
        """Called between two rounds of callbacks; `timeout` is how long nothing is to be done."""
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self.jump(timeout)
        return ()

    def _process_events(self, events: Sequence[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody is to be woken: there are no other threads."""


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Return what `main` returns on a loop of its own."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class VirtualClock:
    """The time of the loop that runs."""

    def monotonic(self) -> float:
        return _running().monotonic()

    def wall_ms(self) -> int:
        return _running().wall_ms()


def pause(seconds: float) -> None:
    """Stop the whole process that long, as SIGSTOP does, from inside a coroutine."""
    _running().jump(seconds)


def _running() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Let a test that is a coroutine run on a loop of its own."""

    @wraps(test)
    def on_its_own_loop(*args: P.args, **kwargs: P.kwargs) -> None:
        run(lambda _: test(*args, **kwargs))

    return on_its_own_loop
