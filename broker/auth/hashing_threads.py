"""Threads that hash passwords beside the loop: few of them, a bounded queue, and turns between sources (ADR 49)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from broker.auth.check_queue import CheckQueue
from broker.auth.passwords import Verdict
from broker.errors import ConnectionForced

WAITING: Final = 512
"""How many checks wait at most. Each is a client that has not logged in."""
_FULL: Final = "too many logins wait to be checked, try again later"
_ENDING: Final = "the node stops or begins anew, try again later"


@dataclass(slots=True)
class _Check:
    """A check that waits for a thread, or is in one."""

    key: bytes
    job: Callable[[], Verdict]
    is_wanted: Callable[[], bool]
    done: asyncio.Future[Verdict | None]


class HashingThreads:
    """A `Hashing` for one loop."""

    def __init__(self, threads: int, waiting: int = WAITING) -> None:
        """Threads start when they are needed. At most `waiting` checks wait for them."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._free = threads
        self._waiting: CheckQueue[_Check] = CheckQueue(waiting)
        self._checks: dict[bytes, _Check] = {}
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self.hashed = 0
        """How many jobs have run."""

    async def run(
        self, key: bytes, source: str, job: Callable[[], Verdict], is_wanted: Callable[[], bool]
    ) -> Verdict | None:
        """Return what `job` returns. Raises `ConnectionForced` when too many wait."""
        if self._ended.is_set():
            raise ConnectionForced(_ENDING)
        check = self._checks.get(key)
        if check is None:
            check = self._checks[key] = _Check(key, job, is_wanted, self._loop.create_future())
            displaced = self._waiting.put(source, check)
            if displaced is not None:
                self._finish(displaced, ConnectionForced(_FULL))
            self._start()
        return await asyncio.shield(check.done)  # others may wait for the same

    async def pause(self, seconds: float) -> None:
        """Return after so many seconds, or when the node ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    def close(self) -> None:
        """End every wait. A hash that is being computed is not waited for."""
        self._ended.set()
        for check in self._waiting.drain():
            self._finish(check, ConnectionForced(_ENDING))
        self._threads.shutdown(wait=False)

    def _start(self) -> None:
        while self._free and self._waiting:
            check = self._waiting.take()
            if not check.is_wanted():
                self._finish(check, None)
                continue
            self._free -= 1
            self.hashed += 1
            self._threads.submit(check.job).add_done_callback(partial(self._tell, check))

    def _tell(self, check: _Check, job: Future[Verdict]) -> None:
        """Tell the loop, from the thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._on_hashed, check, job)

    def _on_hashed(self, check: _Check, job: Future[Verdict]) -> None:
        self._free += 1
        self._finish(check, job.exception() or job.result())
        if not self._ended.is_set():
            self._start()

    def _finish(self, check: _Check, outcome: Verdict | BaseException | None) -> None:
        del self._checks[check.key]
        if check.done.done():
            return
        if isinstance(outcome, BaseException):
            check.done.set_exception(outcome)
            check.done.exception()  # whoever waited for it may have gone
        else:
            check.done.set_result(outcome)
