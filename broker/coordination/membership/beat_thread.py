"""A thread that beats in place of the event loop while something holds it (ADR 40).

It has an event loop and connections of its own. `deputy` decides when it beats.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

import structlog

from broker.clock import Clock
from broker.coordination.membership.deputy import Deputy
from broker.errors import StoreUnavailable
from broker.machine.faults import MachineFaults
from broker.ports.cluster import ClusterStore
from broker.ports.cluster_rows import Beat, Incarnation

_log = structlog.get_logger(__name__)

_END_TIMEOUT: Final = 2.0
_LOOKS: Final = 20
"""How often the thread looks after the event loop in one heartbeat interval."""


class BeatThread:
    """Beats for one incarnation while `run` runs."""

    def __init__(
        self,
        deputy: Deputy,
        clock: Clock,
        connect: Callable[[], AbstractAsyncContextManager[ClusterStore]],
        incarnation: Incarnation,
        heartbeat_interval: float,
    ) -> None:
        """`connect` is called in the thread, and gives it the store over connections of its own."""
        self._deputy = deputy
        self._clock = clock
        self._connect = connect
        self._incarnation = incarnation
        self._pause = heartbeat_interval / _LOOKS
        self._ended: Future[None] = Future()
        self._stopping = threading.Event()
        self._is_asked = False
        self._loop: asyncio.AbstractEventLoop

    async def run(self) -> None:
        """Keep the thread until cancelled; raise what ends it before."""
        self._loop = asyncio.get_running_loop()
        self._deputy.on_alive(self._clock.monotonic())
        threading.Thread(target=self._work, name="beats", daemon=True).start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._ended))
        finally:
            self._deputy.end()
            self._stopping.set()
            await asyncio.wait([asyncio.wrap_future(self._ended)], timeout=_END_TIMEOUT)

    def _work(self) -> None:
        try:
            asyncio.run(self._beat_until_stopped())
        except BaseException as error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _beat_until_stopped(self) -> None:
        faults = MachineFaults("beats beside the event loop")
        async with self._connect() as store:
            with suppress(StoreUnavailable):  # so that the connection is there when the first beat is due
                await store.own_row(self._incarnation.node_id)
            while not self._stopping.is_set():
                with faults:
                    self._ask_the_loop()
                    if self._deputy.is_due(self._clock.monotonic()):
                        await self._beat(store)
                await asyncio.sleep(self._pause)

    def _ask_the_loop(self) -> None:
        """Let the event loop show that it runs, as soon as it does."""
        if not self._is_asked:
            self._is_asked = True
            with suppress(RuntimeError):  # it is closed: the process ends
                self._loop.call_soon_threadsafe(self._on_alive)

    def _on_alive(self) -> None:
        self._is_asked = False
        self._deputy.on_alive(self._clock.monotonic())

    async def _beat(self, store: ClusterStore) -> None:
        asked_at = self._clock.monotonic()
        try:
            is_granted = await store.beat(Beat(self._incarnation.id, asked_at, asked_at), self._incarnation.node_id)
        except StoreUnavailable as error:
            _log.debug("no beat beside the event loop", reason=str(error))
            return
        if is_granted:
            self._deputy.on_granted(asked_at)
        else:
            self._stopping.set()  # the incarnation is over; the event loop finds that out by a beat of its own
