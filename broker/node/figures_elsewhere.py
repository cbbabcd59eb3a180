"""Asks the other nodes of a cluster for their figures, page by page. Who does not answer in time is left out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from broker.management.figures.merging import Elsewhere
from broker.node.asking import ask_each
from broker.ports.cluster import SlotService
from broker.ports.peer_calls import Caller

PAGE_TIMEOUT: Final = 1.0
"""Seconds in which each page must have come: programs give the whole answer two."""
TIMEOUT: Final = 5.0
"""Seconds in which all pages of a node must have come."""
MAX_OCTETS: Final = 64 * 1024 * 1024
"""Octets of figures of one node."""


class FiguresElsewhere:
    """The figures of the other living nodes."""

    def __init__(
        self,
        others: Callable[[], Mapping[str, SlotService]],
        caller: Callable[[], Caller],
        *,
        page_timeout: float = PAGE_TIMEOUT,
        timeout: float = TIMEOUT,
    ) -> None:
        """`others` returns the services of the other living nodes by id, `caller` this node."""
        self._others = others
        self._caller = caller
        self._page_timeout = page_timeout
        self._timeout = timeout

    async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
        """Return the figures of one kind (`OtherNodes.read`)."""
        asked = {each: service for each, service in self._others().items() if node_id in (None, each)}
        rows: dict[str, list[dict[str, Any]]] = {each: [] for each in asked}

        async def ask(each: str, service: SlotService) -> None:
            await self._read(service, kind, rows[each])

        _, silent = await ask_each(asked, ask, self._timeout)
        return Elsewhere({each: found for each, found in rows.items() if found}, tuple(sorted(silent)))

    async def _read(self, service: SlotService, kind: str, found: list[dict[str, Any]]) -> None:
        start = octets = 0
        while True:
            async with asyncio.timeout(self._page_timeout):
                page = await service.read_figures(kind, start, self._caller())
            octets += len(page.rows)
            found += json.loads(page.rows)
            if not page.next:
                return
            if page.next <= start or octets > MAX_OCTETS:
                raise ValueError("a list without an end")
            start = page.next
