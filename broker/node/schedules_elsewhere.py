"""Asks the other nodes of a cluster to cancel or move the delayed messages that they have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from broker.errors import CoordinationError
from broker.ports.cluster import SlotService
from broker.ports.peer_calls import Caller
from broker.topology.schedules import ScheduleChange, change_of

_log = structlog.get_logger(__name__)

TIMEOUT: Final = 5.0
"""Seconds in which a node must have answered."""


class SchedulesElsewhere:
    """The schedules of the other living nodes."""

    def __init__(
        self,
        others: Callable[[], Mapping[str, SlotService]],
        caller: Callable[[], Caller],
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        """`others` returns the services of the other living nodes by id, `caller` this node."""
        self._others = others
        self._caller = caller
        self._timeout = timeout

    async def change(self, vhost: str, ids: Sequence[int], due: int) -> Mapping[int, ScheduleChange]:
        """Let the other nodes change what they have of these messages; return what has become of these."""
        changes: dict[int, ScheduleChange] = {}

        async def ask(node_id: str, service: SlotService) -> None:
            try:
                async with asyncio.timeout(self._timeout):
                    numbers = await service.change_delayed(vhost, ids, due, self._caller())
            except (TimeoutError, CoordinationError) as error:
                _log.info("a node does not change delayed messages", node=node_id, reason=str(error))
                return
            for message_id, number in zip(ids, numbers, strict=False):
                change = change_of(number)
                if change is not None:
                    changes[message_id] = change

        async with asyncio.TaskGroup() as tasks:
            for node_id, service in self._others().items():
                tasks.create_task(ask(node_id, service))
        return changes
