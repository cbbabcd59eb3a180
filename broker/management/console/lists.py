"""Lists in pages: asked of the HTTP API a page at a time, or cut here; and the addresses of their other pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from broker.management.console.asking import AnswerRefused
from broker.management.console.rendering import segment
from broker.management.console.rights import May, Rights, vhosts_where
from broker.management.console.routes import Visit

PAGE_SIZE: Final = "50"
MOST_CHOICES: Final = 50
"""Names that a field offers: others are found by typing."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list."""

    items: Sequence[Any]
    page: int
    page_count: int
    filtered_count: int
    address: Callable[[int], str]
    """Returns the address of another page."""


async def listed(visit: Visit, path: str, sort: str, *, is_reversed: str = "false") -> dict[str, Any]:
    """Return a list in pages, sorted and filtered as the address says."""
    query = visit.query
    asked = {
        "page": query.get("page") or "1",
        "page_size": PAGE_SIZE,
        "name": query.get("name", ""),
        "use_regex": query.get("use_regex", "false"),
        "sort": query.get("sort") or sort,
        "sort_reverse": query.get("sort_reverse") or is_reversed,
        "pagination": "true",
    }
    vhost = query.get("vhost", "")
    found = await visit.ask.get(f"{path}/{segment(vhost)}" if vhost else path, asked)
    shown = {name: value for name, value in (asked | {"vhost": vhost}).items() if name != "pagination"}

    def address(**other: str) -> str:
        return f"?{urlencode({name: value for name, value in (shown | other).items() if value}, errors='replace')}"

    return {"listed": found, "asked": shown, "address": address}


async def sublist(visit: Visit, path: str, name: str, otherwise: ListPage | None = None) -> ListPage:
    """Return a page of a list beside others on one page: `name` of the address says which page. `otherwise` stands
    for a list that the user may not see.
    """
    asked = {"page": visit.query.get(name) or "1", "page_size": PAGE_SIZE}
    try:
        found = await visit.ask.get(path, asked)
    except AnswerRefused as refusal:
        if refusal.status != 401 or otherwise is None:
            raise
        return otherwise
    return ListPage(
        found["items"],
        found["page"],
        found["page_count"],
        found["filtered_count"],
        _addresses(visit.query, name),
    )


def cut(visit: Visit, items: Sequence[Any], name: str) -> ListPage:
    """Likewise of a list that is known as a whole."""
    size = int(PAGE_SIZE)
    count = max(-(-len(items) // size), 1)
    page = min(max(_number(visit.query.get(name)), 1), count)
    part = items[(page - 1) * size : page * size]
    return ListPage(part, page, count, len(items), _addresses(visit.query, name))


def _addresses(query: Mapping[str, str], name: str) -> Callable[[int], str]:
    return lambda page: f"?{urlencode({**query, name: str(page)}, errors='replace')}"


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 1


@dataclass(frozen=True, slots=True)
class Choices:
    """Names that a field offers."""

    names: Sequence[str]
    is_cut: bool
    """Are there more, which are found by typing?"""


async def vhost_choices(visit: Visit) -> Choices:
    """Return the virtual hosts that a field offers."""
    query = {"disable_stats": "true", "columns": "name", "page": "1", "page_size": str(MOST_CHOICES)}
    if visit.query.get("part"):
        query["name"] = visit.query["part"]
    found = await visit.ask.get("/vhosts", query)
    return Choices([each["name"] for each in found["items"]], found["page_count"] > 1)


async def open_choices(visit: Visit, may: May = Rights.may_open) -> Choices:
    """Return the virtual hosts in which the visitor may do that: who may see others is not offered these."""
    part = visit.query.get("part", "")
    found = await vhosts_where(visit.node, visit.ask.caller, may, most=MOST_CHOICES + 1, part=part)
    return Choices(found[:MOST_CHOICES], len(found) > MOST_CHOICES)


async def if_allowed(visit: Visit, path: str, otherwise: Any) -> Any:
    """Return what stands at a path, or `otherwise` if the user may not see it."""
    try:
        return await visit.ask.get(path)
    except AnswerRefused as refusal:
        if refusal.status != 401:
            raise
        return otherwise
