"""Runs the handlers of clients that wait for a port, each in a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from broker.errors import Evicted, StoreUnavailable

_log = structlog.get_logger(__name__)


class HandlerTasks:
    """The tasks of all clients, in one group."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the rest of a handler; a fault in it ends no other client's connection."""
        guarded = _guarded(coroutine)
        try:
            task = self._tasks.create_task(guarded)
        except RuntimeError:  # the node is ending: nobody is left to wait for anything
            guarded.close()
            coroutine.close()
        else:
            task.add_done_callback(lambda _: coroutine.close())  # it may be cancelled before it has begun


async def _guarded(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        await coroutine
    except (StoreUnavailable, Evicted) as error:
        _log.warning("the store could not do what a connection asked for", reason=str(error))
    except Exception:
        _log.exception("internal error in a connection's task")
