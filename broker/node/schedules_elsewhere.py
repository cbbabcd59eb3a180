"""Asks the other nodes of a cluster to cancel or move the delayed messages that they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from broker.node.asking import ask_each
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

        async def ask(_: str, service: SlotService) -> Sequence[int]:
            return await service.change_delayed(vhost, ids, due, self._caller())

        answers, silent = await ask_each(self._others(), ask, self._timeout)
        for node_id, reason in silent.items():
            _log.info("a node does not change delayed messages", node=node_id, reason=reason)
        changes: dict[int, ScheduleChange] = {}
        for numbers in answers.values():
            for message_id, number in zip(ids, numbers, strict=False):
                change = change_of(number)
                if change is not None:
                    changes[message_id] = change
        return changes
