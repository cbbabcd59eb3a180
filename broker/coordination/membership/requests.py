"""The requests of an agent to the cluster's store: each has a deadline, and that none is answered is logged once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, TypeVar

import structlog

from broker.clock import Clock
from broker.errors import StoreUnavailable
from broker.machine.faults import MACHINE_FAULTS

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_BRIEFLY: Final = 0.5
"""Seconds for what is asked on the way out."""


class Requests:
    """Asks the store, one request at a time."""

    def __init__(self, node_id: str, clock: Clock) -> None:
        self._node_id = node_id
        self._clock = clock
        self._is_failing = False
        self._is_over = False
        self._under_way: asyncio.Timeout | None = None

    async def answer(self, call: Awaitable[T], until: float) -> T:
        """Return the store's answer. Raises `StoreUnavailable` when there is none by the monotonic time `until`."""
        try:
            async with asyncio.timeout(until - self._clock.monotonic()) as self._under_way:
                answer = await call
        except (StoreUnavailable, *MACHINE_FAULTS) as error:  # TimeoutError is an OSError
            if not self._is_failing and not self._is_over:
                _log.warning("the cluster's store does not answer", node=self._node_id, reason=str(error) or "late")
            self._is_failing = True
            raise StoreUnavailable("no answer") from error
        finally:
            self._under_way = None
        if self._is_failing:
            self._is_failing = False
            _log.info("the cluster's store answers again", node=self._node_id)
        return answer

    async def briefly(self, call: Awaitable[None]) -> None:
        """Ask for what others notice by this node's silence, too, when no answer comes."""
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(_BRIEFLY):
                await call

    def give_up(self) -> None:
        """Wait for no answer any more: the node leaves."""
        self._is_over = True
        if self._under_way is not None and not self._under_way.expired():
            self._under_way.reschedule(asyncio.get_running_loop().time())
