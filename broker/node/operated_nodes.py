"""Has the other nodes of a cluster do what an operator of this one wants with what they have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from broker.errors import CoordinationError
from broker.management.operated import Operated
from broker.ports.cluster import SlotService
from broker.ports.peer_calls import Caller

_log = structlog.get_logger(__name__)

TIMEOUT: Final = 2.0
"""Seconds in which a node must have answered."""


class AskedNodes:
    """The other living nodes."""

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

    async def operate(self, operation: str, given: Mapping[str, Any], node_id: str | None = None) -> Operated:
        """Have the other nodes do something (`OperatedNodes.operate`)."""
        octets = json.dumps(given).encode()
        done: dict[str, Mapping[str, Any]] = {}
        silent: list[str] = []

        async def ask(each: str, service: SlotService) -> None:
            try:
                async with asyncio.timeout(self._timeout):
                    done[each] = json.loads(await service.operate(operation, octets, self._caller()))
            except (TimeoutError, CoordinationError, ValueError) as error:
                _log.info("a node does not do what is asked", operation=operation, node=each, reason=str(error))
                silent.append(each)

        others = self._others()
        if node_id is not None and node_id not in others:
            return Operated(silent=(node_id,))
        async with asyncio.TaskGroup() as tasks:
            for each, service in others.items():
                if node_id in (None, each):
                    tasks.create_task(ask(each, service))
        return Operated(done, tuple(sorted(silent)))
