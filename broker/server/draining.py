"""Takes the clients of a node away at a pace, so that it can be stopped without a rush to the others (ADR 74).

What a client is told is RabbitMQ's text for a node in maintenance mode, since programs look for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from math import ceil
from typing import Any, Final, Literal, Protocol

import structlog

from broker.errors import AdministrationError, StoreUnavailable

_log = structlog.get_logger(__name__)

REASON: Final = "Node was put into maintenance mode"
_STEP: Final = 0.1
"""Seconds between two groups of connections that are closed."""
_SMALLEST_GROUP: Final = 10
"""Connections that are closed together at least: so few hurry nobody."""

State = Literal["serving", "draining", "drained"]


class DrainedClients(Protocol):
    """The clients of a node, and its listeners."""

    @property
    def open_count(self) -> int:
        """How many connections there are."""
        ...

    def suspend(self) -> None:
        """Close the listeners; connections stay."""
        ...

    async def resume(self) -> None:
        """Open the listeners again. Raises OSError."""
        ...

    def close_some(self, count: int, reason: str) -> int:
        """Close so many connections with 320; return how many are left that were not told."""
        ...

    async def wait_until_empty(self) -> None:
        """Return when the last connection is gone."""
        ...


class Drain:
    """Whether a node takes clients, and how far it has sent them away."""

    def __init__(
        self,
        clients: DrainedClients,
        *,
        hand_over: Callable[[], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        sleep: Callable[[float], Awaitable[None]],
        on_change: Callable[[State], None],
    ) -> None:
        """`hand_over` gives the other nodes what this one has for them; it is called when the clients are gone."""
        self.state: State = "serving"
        self._clients = clients
        self._hand_over = hand_over
        self._spawn = spawn
        self._sleep = sleep
        self._on_change = on_change
        self._closed = 0
        self._groups = 0
        self._task: asyncio.Task[None] | None = None
        self._handing: asyncio.Task[None] | None = None
        """Never cancelled: half of what is handed over would be in nobody's hands."""

    def progress(self) -> Mapping[str, Any]:
        """Return the state, how many connections there are, and how many were closed."""
        return {"state": self.state, "connections": self._clients.open_count, "closed": self._closed}

    def begin(self, seconds: float) -> None:
        """Take no more clients, and close the connections there are, spread over `seconds`.

        Said again while it is under way, what is left is spread over that.
        """
        self._groups = max(ceil(seconds / _STEP), 1)
        if self.state != "serving":
            return
        self._closed = 0
        self._set("draining")
        _log.warning("this node is drained: it takes no more clients", connections=self._clients.open_count)
        self._clients.suspend()
        self._task = self._spawn(self._run())

    async def end(self) -> None:
        """Take clients again. Raises `AdministrationError` when a listener cannot be opened."""
        if self.state == "serving":
            return
        self.stop()
        if self._handing is not None:
            await asyncio.wait({self._handing})
        try:
            await self._clients.resume()
        except OSError as error:
            raise AdministrationError(
                f"a listener cannot be opened again: {error.strerror or error}; stop what uses its port and try again"
            ) from error
        self._set("serving")
        _log.warning("this node takes clients again")

    async def wait(self) -> None:
        """Return when the node is drained, or the drain was stopped."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def stop(self) -> None:
        """Close no more connections."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        await self._close_connections()
        await self._clients.wait_until_empty()
        self._handing = self._spawn(self._give())
        await asyncio.wait({self._handing})
        self._set("drained")
        _log.info("this node is drained", closed=self._closed)

    async def _give(self) -> None:
        try:
            await self._hand_over()
        except StoreUnavailable as error:
            _log.warning("messages are handed over when the node stops: the store is away", reason=str(error))

    async def _close_connections(self) -> None:
        left = self._clients.close_some(0, REASON)
        while left:
            count = max(ceil(left / max(self._groups, 1)), _SMALLEST_GROUP)
            self._groups -= 1
            before, left = left, self._clients.close_some(count, REASON)
            self._closed += before - left
            if left:
                await self._sleep(_STEP)

    def _set(self, state: State) -> None:
        self.state = state
        self._on_change(state)


async def drain_before_end(drain: Drain, seconds: float, at_once: asyncio.Event) -> None:
    """Drain a node that is to end; return when it is drained, or `at_once` is set."""
    drain.begin(seconds)
    async with asyncio.TaskGroup() as waiting:
        drained = waiting.create_task(drain.wait())
        hurry = waiting.create_task(at_once.wait())
        await asyncio.wait({drained, hurry}, return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        hurry.cancel()
