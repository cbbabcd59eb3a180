"""What a connection goes on with in later turns of the loop, because this one is used up."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any


class Continuation:
    """The rest of what one channel does; everything behind it waits for it."""

    __slots__ = ("_on_put_off", "_rest", "channel_id", "is_waiting", "wait")

    def __init__(self, on_put_off: Callable[[], None]) -> None:
        """`on_put_off` is called when there is something to go on with in a later turn."""
        self._on_put_off = on_put_off
        self._rest: Iterator[None] = iter(())
        self.channel_id = 0
        """The channel that the rest is done for."""
        self.is_waiting = False
        self.wait: Callable[[int, Coroutine[Any, Any, None]], None] = _cannot_wait
        """Lets a channel wait for a port: it handles what comes behind when the coroutine is done. Set by who has the
        channels.
        """

    def put_off(self, channel_id: int, rest: Iterator[None] | None = None) -> None:
        """Go on with `rest` in later turns, or only with what comes behind. `rest` pauses when a turn is used up."""
        if rest is not None:
            self._rest = rest
        self.channel_id = channel_id
        self.is_waiting = True
        self._on_put_off()

    def go_on(self) -> bool:
        """Do in this turn what can be done of the rest; return whether it is done. Raises what the rest raises."""
        for _ in self._rest:
            self._on_put_off()
            return False
        self.end()
        return True

    def end(self) -> None:
        """Nothing waits any more."""
        self.is_waiting = False
        self._rest = iter(())

    def detach(self) -> None:
        """The connection is over: call nobody any more. The edge sees to it that the rest is done."""
        self._on_put_off = _nobody
        self.wait = _cannot_wait


def _nobody() -> None:
    """Stands where the connection was."""


def _cannot_wait(channel_id: int, waiting: Coroutine[Any, Any, None]) -> None:
    """Stands where no channels are."""
    waiting.close()
