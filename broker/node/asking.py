"""Asks several nodes of a cluster the same at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from broker.errors import CoordinationError
from broker.ports.cluster import SlotService

T = TypeVar("T")


async def ask_each(
    services: Mapping[str, SlotService], ask: Callable[[str, SlotService], Awaitable[T]], seconds: float
) -> tuple[Mapping[str, T], Mapping[str, str]]:
    """Return what each node has answered, and for each of the others why it has not, by node id.

    A node that has not answered within `seconds`, or with what `ask` takes for no answer (`ValueError`), is one of the
    others.
    """
    answers: dict[str, T] = {}
    reasons: dict[str, str] = {}

    async def ask_one(node_id: str, service: SlotService) -> None:
        try:
            async with asyncio.timeout(seconds):
                answers[node_id] = await ask(node_id, service)
        except TimeoutError:
            reasons[node_id] = "it has not answered in time"
        except (CoordinationError, ValueError) as error:
            reasons[node_id] = str(error)

    async with asyncio.TaskGroup() as tasks:
        for node_id, service in services.items():
            tasks.create_task(ask_one(node_id, service))
    return answers, reasons
