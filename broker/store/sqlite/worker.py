"""A thread that runs functions in order and reports their results to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

import structlog

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_Job: TypeAlias = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]

_IDLE_AFTER: Final = 0.5


class Worker:
    """A thread with a queue of jobs. `on_idle` runs in the thread, once each time it had no job for half a second."""

    def __init__(self, name: str, on_idle: Callable[[], None] | None = None) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._on_idle = on_idle
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Call `function` in the thread, after everything submitted before; cancelling the future does not stop it."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, function, arguments))
        return future

    def stop(self) -> None:
        """End the thread after everything submitted before, and wait for that."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            future, function, arguments = job
            result, error = None, None
            try:
                result = function(*arguments)
            except BaseException as raised:
                error = raised
            # When the loop is closed, nothing waits for the result.
            with suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(_complete, future, result, error)
            del job, future, function, arguments, result, error

    def _next(self) -> _Job | None:
        if self._on_idle is None:
            return self._jobs.get()
        try:
            return self._jobs.get(timeout=_IDLE_AFTER)
        except Empty:
            try:
                self._on_idle()
            except Exception as error:  # the jobs to come must not wait for a thread that has ended
                _log.error("tidying up has failed", thread=self._thread.name, exc_info=error)
            return self._jobs.get()


def _complete(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
