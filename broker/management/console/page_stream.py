"""Streams what changes on a page to the browsers that show it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from broker.management.console.asking import Asker
from broker.management.console.live import PageView
from broker.management.console.rendering import Rendering
from broker.management.console.routes import ConsolePage, Paths, Visit
from broker.management.http.call import Call, HttpAnswer, HttpCaller, HttpRefusal
from broker.management.http.live import seen_before, streamed
from broker.management.http.node_view import ManagedNode

_LONGEST: Final = 2000
"""Characters of a page's address."""
_MOST_FIELDS: Final = 20


class PageStream:
    """Answers browsers that want to be told of changes of a page."""

    def __init__(
        self,
        node: ManagedNode,
        paths: Paths,
        rendering: Rendering,
        may_stay: Callable[[str], HttpCaller | None],
    ) -> None:
        """`may_stay` returns who has the session of this name, None when it is over."""
        self._node = node
        self._paths = paths
        self._rendering = rendering
        self._may_stay = may_stay

    def answer(self, call: Call, session: str, caller: HttpCaller, ask: Asker) -> HttpAnswer:
        """Stream the page that the query names. Raises `HttpRefusal`."""
        address = call.query.get("page", "/")
        path, _, query = address.partition("?")
        found = self._paths.page(path) if len(address) <= _LONGEST else None
        if found is None or not found[0].is_live:
            raise HttpRefusal(404, "not_found", "There is no such page, or nothing changes on it.")
        try:
            asked = dict(parse_qsl(query, max_num_fields=_MOST_FIELDS))
        except ValueError:
            raise HttpRefusal(400, "bad_request", "The address of the page cannot be read.") from None
        page, names = found
        visit = Visit(ask, self._node, names, asked)
        rights = self._rights(caller, session)
        key = ("page", path, tuple(sorted(asked.items())), rights)
        self._node.live.require_room(key)

        def may_watch() -> bool:
            now = self._may_stay(session)
            return now is not None and self._rights(now, session) == rights

        return streamed(
            self._node.live.watch(
                self._node, key, lambda: self._view(page, visit, caller, path), may_watch, seen_before(call)
            )
        )

    def _rights(self, caller: HttpCaller, session: str) -> Hashable:
        """Return what those have in common who see the same: administrators see what others with these tags see, who
        sees everything and may not change it what its user sees, anybody else what its session sees.
        """
        if caller.is_administrator:
            return caller.tags
        return caller.tags, caller.name if caller.is_monitor else session

    def _view(self, page: ConsolePage, visit: Visit, caller: HttpCaller, path: str) -> PageView:
        async def parts() -> Mapping[str, str]:
            values = await page.make(visit)
            return self._rendering.parts(page.template, {**around_page(self._node, caller, "", path), **values})

        return PageView(parts)


def around_page(
    node: ManagedNode, caller: HttpCaller | None, mark: str, path: str, closed: Collection[str] = ()
) -> dict[str, Any]:
    """Return what every page shows, or asks; to those pages it does not lead."""
    return {
        "user": None if caller is None else caller.name,
        "is_administrator": caller is not None and caller.is_administrator,
        "is_monitor": caller is not None and caller.is_monitor,
        "is_policymaker": caller is not None and caller.is_policymaker,
        "mark": mark,
        "node_id": node.node_id,
        "path": path,
        "notice": None,
        "silent": [],
        "closed_pages": closed,
    }
