"""What changes on a page while people look at it: made once for all who see the same (ADR 72).

A page is a few parts, each a piece of HTML with an id. A part that changes is sent whole, or only the rows of its table
that are different.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from broker.management.console.asking import AnswerRefused
from broker.management.http.call import as_json
from broker.management.http.node_view import ManagedNode

_ROWS: Final = re.compile("(?=<tr[ >])")
_ROW_ENDS: Final = "</tr>"

MakeParts = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns the parts of a page by their ids. Raises `AnswerRefused`."""


class PageView:
    """The parts of one page, as they were last."""

    def __init__(self, make: MakeParts) -> None:
        self._make = make
        self._parts: dict[str, list[str]] = {}
        self._status = 200

    async def step(self, node: ManagedNode) -> tuple[bytes, bytes]:
        """Return the page's parts, and what of them has changed; or with which status the page is refused now."""
        try:
            made = await self._make()
        except AnswerRefused as refusal:
            return self._refused(refusal.status)
        parts = {name: _ROWS.split(html) for name, html in made.items()}
        was, self._parts = self._parts, parts
        changed = {name: difference(was.get(name), now) for name, now in parts.items() if was.get(name) != now}
        if self._status != 200:
            self._status = 200
            changed = {name: {"html": "".join(now)} for name, now in parts.items()}
        if not changed:
            return b"", b""
        whole = {name: {"html": "".join(now)} for name, now in parts.items()}
        return as_json({"parts": whole}), as_json({"parts": changed})

    def _refused(self, status: int) -> tuple[bytes, bytes]:
        if status == self._status:
            return b"", b""
        self._status = status
        told = as_json({"status": status})
        return told, told


def difference(was: Sequence[str] | None, now: Sequence[str]) -> dict[str, Any]:
    """Return what makes one part out of another: rows by their numbers from 1 on, or the whole part if these are many,
    or more has changed than rows. Both parts are cut before each row.
    """
    if was is not None and len(was) == len(now) and was[0] == now[0] and _behind(was[-1]) == _behind(now[-1]):
        rows = {str(at): row for at, row in enumerate(now) if row != was[at]}
        if 2 * len(rows) <= len(now):
            return {"rows": rows}
    return {"html": "".join(now)}


def _behind(row: str) -> str:
    return row.partition(_ROW_ENDS)[2]
