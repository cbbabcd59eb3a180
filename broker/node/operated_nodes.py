"""Has the other nodes of a cluster do what an operator of this one wants with what they have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from broker.management.operated import Operated
from broker.node.asking import ask_each
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

        async def ask(_: str, service: SlotService) -> Mapping[str, Any]:
            answer: Mapping[str, Any] = json.loads(await service.operate(operation, octets, self._caller()))
            return answer

        others = self._others()
        if node_id is not None and node_id not in others:
            return Operated(silent=(node_id,))
        asked = {each: service for each, service in others.items() if node_id in (None, each)}
        done, silent = await ask_each(asked, ask, self._timeout)
        for each, reason in silent.items():
            _log.info("a node does not do what is asked", operation=operation, node=each, reason=reason)
        return Operated(done, tuple(sorted(silent)))
