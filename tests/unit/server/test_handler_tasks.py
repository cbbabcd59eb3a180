"""Handlers that wait for a port, in tasks."""

from __future__ import annotations

import asyncio

import pytest

from broker.errors import StoreUnavailable
from broker.server.handler_tasks import HandlerTasks


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("a bug")])
async def test_a_fault_in_one_clients_task_ends_nothing_else(error: Exception) -> None:
    async def fail() -> None:
        raise error

    async with asyncio.TaskGroup() as tasks:
        HandlerTasks(tasks).spawn(fail())
        other = tasks.create_task(asyncio.sleep(0))
    assert not other.cancelled()


async def test_a_client_that_is_lost_while_the_node_ends_breaks_nothing() -> None:
    async with asyncio.TaskGroup() as tasks:
        handlers = HandlerTasks(tasks)

    async def release() -> None: ...

    handlers.spawn(release())
