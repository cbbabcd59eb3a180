"""Keeps a second standalone broker away from a database whose servers do not know of each other's locks (ADR 87).

It is a courtesy, as the lock of a single server is: what makes it safe is the incarnation of each batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog
from sqlalchemy import Connection

from broker.errors import StoreError, StoreLocked, StoreUnavailable
from broker.store.sql import lone_broker

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_BEAT: Final = 1.0
_SILENCE: Final = 5
"""Beats without which a broker counts as gone."""


class RunTransaction(Protocol):
    """Calls a function in a transaction of its own."""

    def __call__(self, function: Callable[[Connection], T]) -> Awaitable[T]: ...


class LoneBroker:
    """The row of the standalone broker: others see it beat."""

    def __init__(
        self, run: RunTransaction, where: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._run = run
        self._where = where
        self._sleep = sleep
        self._stamp: int | None = None

    async def look(self) -> int | None:
        """Return what a broker that is gone has left, if anything. Raises `StoreLocked` when one beats."""
        stamp = await self._run(lone_broker.read_stamp)
        for _ in range(_SILENCE):
            if stamp is None:
                break
            await self._sleep(_BEAT)
            if await self._run(lone_broker.read_stamp) != stamp:
                raise self._locked()
        return stamp

    async def take(self) -> None:
        """Begin to be the standalone broker. Raises `StoreLocked` when there is one."""
        seen = await self.look()
        self._stamp = await self._run(partial(lone_broker.move_stamp, seen=seen))
        if self._stamp is None:
            raise self._locked()

    async def keep(self) -> None:
        """Beat until `leave`, or until another broker has taken over."""
        while (stamp := self._stamp) is not None:
            await self._sleep(_BEAT)
            if self._stamp is None:
                return
            with suppress(StoreUnavailable):
                moved = await self._run(partial(lone_broker.move_stamp, seen=stamp))
                if moved is None and self._stamp is not None:
                    _log.warning("another broker has taken the database over", where=self._where)
                self._stamp = moved if self._stamp is not None else None

    async def leave(self) -> None:
        """Be gone, at once for those who look."""
        stamp, self._stamp = self._stamp, None
        if stamp is not None:
            with suppress(StoreError):
                await self._run(partial(lone_broker.drop_stamp, seen=stamp))

    def _locked(self) -> StoreLocked:
        return StoreLocked(
            f"{self._where} is in use by another broker, on whichever of its servers; stop it or choose another"
            f" (if it has crashed: wait {_SILENCE * _BEAT:g} s)"
        )
