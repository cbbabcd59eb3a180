"""Lists as RabbitMQ answers them: sorted, in pages, filtered by name, with the columns that are wanted.

A list may have as many rows as there are queues: it is made in turns of the loop. Patterns go through RE2, which takes
time that is linear in the name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar

from broker.auth.pattern import PatternError, matcher
from broker.management.http.call import BadRequest, Call, HttpAnswer, HttpRefusal, as_json
from broker.management.http.node_view import ManagedNode

T = TypeVar("T")
Row: TypeAlias = Mapping[str, Any]
Turn: TypeAlias = Callable[[int], Awaitable[None]]

QUERY: Final = ("page", "page_size", "name", "use_regex", "columns", "sort", "sort_reverse", "pagination")
"""What the query of a list may say; RabbitMQ's console says `pagination` without need."""
ROW_STEPS: Final = 40
"""What a row of a list costs, in steps of work."""
_LOOK_STEPS: Final = 1
_ROWS_AT_ONCE: Final = 50
MAX_PAGE: Final = 500
_DEFAULT_PAGE: Final = 100
_MOST_COLUMNS: Final = 200
_MAX_NAME: Final = 256
"""Characters of what names are filtered by."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a request says about its list."""

    page: int | None = None
    page_size: int = _DEFAULT_PAGE
    name: str = ""
    is_pattern: bool = False
    columns: tuple[tuple[str, ...], ...] = ()
    sort: tuple[tuple[str, ...], ...] = ()
    is_reversed: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Listing:
        """Read the query of a request. Raises `HttpRefusal`."""
        page, page_size = query.get("page"), query.get("page_size")
        number = None if page is None else _number(page)
        size = _DEFAULT_PAGE if page_size in (None, "") or page is None else _number(page_size)
        if number is not None and (number < 1 or not 1 <= size <= MAX_PAGE):
            raise HttpRefusal(
                400,
                "invalid_pagination_parameters",
                f"Invalid pagination parameters: page number {number}, page size {size}",
            )
        name = query.get("name", "")
        if len(name) > _MAX_NAME:
            raise BadRequest(f"the name has more than {_MAX_NAME} characters")
        return cls(
            number,
            size,
            name,
            query.get("use_regex") == "true",
            _paths(query.get("columns", "")),
            _paths(query.get("sort", "")),
            query.get("sort_reverse") == "true",
        )

    def is_wanted(self) -> Callable[[str], bool]:
        """Return whether a name is in the list. Raises `BadRequest` for a pattern that cannot be served."""
        if not self.name or self.page is None:
            return lambda name: True
        if not self.is_pattern:
            part = self.name.lower()
            return lambda name: part in name.lower()
        try:
            return matcher(f"(?i){self.name}")
        except PatternError:
            raise BadRequest("Pagination parameters are invalid") from None

    def is_sorted_by(self, names: Container[str]) -> bool:
        """Is the list sorted by nothing else than these?"""
        return all(len(path) == 1 and path[0] in names for path in self.sort)

    def cut(self, row: Row) -> Row:
        """Return the columns of a row that are wanted."""
        if not self.columns:
            return row
        wanted: dict[str, Any] = {}
        for path in self.columns:
            _copy(row, wanted, path)
        return wanted

    def key(self, row: Row) -> tuple[tuple[int, Any], ...]:
        """Return what a row is sorted by: numbers come before other values, and texts last."""
        return tuple(_order(_at(row, path)) for path in self.sort)


async def listed(
    node: ManagedNode,
    call: Call,
    items: Sequence[T],
    make: Callable[[T], Row],
    *,
    name_of: Callable[[T], str] = lambda item: "",
) -> HttpAnswer:
    """Return the list of `items`, in their order unless the request sorts it; `make` makes a row of one."""
    asked = Listing.of(call.query)
    wanted = await _wanted(node, asked, items, name_of)
    if asked.sort:
        wanted = await _sorted(node, asked, wanted, make)
    elif asked.is_reversed:
        wanted = wanted[::-1]
    part, told = _cut(asked, wanted)
    return await _answered(node, part, lambda item: asked.cut(make(item)), told, len(items))


async def listed_in_pages(
    node: ManagedNode,
    call: Call,
    items: Sequence[T],
    rows_of: Callable[[Sequence[T]], Awaitable[Callable[[T], Row]]],
    keys: Mapping[str, Callable[[T], Any]],
    *,
    name_of: Callable[[T], str],
) -> HttpAnswer:
    """Return a list of which only a page is made, if the request asks for one: `rows_of` gets ready to make rows of
    these items, and returns what makes one. By what `keys` return items are sorted without their rows.
    """
    asked = Listing.of(call.query)
    if asked.page is None or not asked.is_sorted_by(keys):
        return await listed(node, call, items, await rows_of(items), name_of=name_of)
    wanted = await _wanted(node, asked, items, name_of)
    for (name,) in reversed(asked.sort):
        wanted = sorted(wanted, key=keys[name], reverse=asked.is_reversed)
        await node.in_turn(len(wanted))
    if not asked.sort and asked.is_reversed:
        wanted = wanted[::-1]
    part, told = _cut(asked, wanted)
    make = await rows_of(part)
    return await _answered(node, part, lambda item: asked.cut(make(item)), told, len(items))


async def _wanted(node: ManagedNode, asked: Listing, items: Sequence[T], name_of: Callable[[T], str]) -> Sequence[T]:
    """Return the items whose names the request wants."""
    is_wanted = asked.is_wanted()
    if not asked.name or asked.page is None:
        return items
    wanted = []
    for item in items:
        await node.in_turn(_LOOK_STEPS)
        if is_wanted(name_of(item)):
            wanted.append(item)
    return wanted


async def _sorted(node: ManagedNode, asked: Listing, items: Sequence[T], make: Callable[[T], Row]) -> list[T]:
    """Return items in the order of their rows, of which no more is kept than what decides."""
    keyed: list[tuple[tuple[tuple[int, Any], ...], T]] = []
    for item in items:
        await node.in_turn(ROW_STEPS)
        keyed.append((asked.key(make(item)), item))
    keyed.sort(key=itemgetter(0), reverse=asked.is_reversed)
    return [item for _, item in keyed]


def _cut(asked: Listing, items: Sequence[T]) -> tuple[Sequence[T], dict[str, int] | None]:
    """Return the items of the page, and what is told of it; all of them and None when there are no pages."""
    if asked.page is None:
        return items, None
    count, size = len(items), asked.page_size
    pages = max(-(-count // size), 1)
    if asked.page > pages:
        raise HttpRefusal(
            400,
            "page_out_of_range",
            f"Page out of range, page: {asked.page} page size: {size}, len: {count}",
        )
    part = items[(asked.page - 1) * size : asked.page * size]
    return part, {
        "filtered_count": count,
        "item_count": len(part),
        "page": asked.page,
        "page_count": pages,
        "page_size": size,
    }


async def _answered(
    node: ManagedNode,
    items: Sequence[T],
    make: Callable[[T], Row],
    told: dict[str, int] | None,
    total: int,
) -> HttpAnswer:
    octets = await rows_as_json(node, items, make)
    if told is None:
        return HttpAnswer(body=octets)
    head = as_json({**told, "total_count": total})
    return HttpAnswer(body=b"".join((head[:-1], b',"items":', octets, b"}")))


async def rows_as_json(node: ManagedNode, items: Iterable[T], make: Callable[[T], Row]) -> bytes:
    """Return the JSON of a list, made in turns of the loop."""
    pieces: list[bytes] = []
    rows: list[Row] = []
    for item in items:
        await node.in_turn(ROW_STEPS)
        rows.append(make(item))
        if len(rows) == _ROWS_AT_ONCE:
            pieces.append(as_json(rows)[1:-1])
            rows = []
    if rows:
        pieces.append(as_json(rows)[1:-1])
    return b"".join((b"[", b",".join(pieces), b"]"))


def _number(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest("Pagination parameters are invalid")
    return int(text)


def _paths(text: str) -> tuple[tuple[str, ...], ...]:
    names = [name for name in text.split(",") if name]
    if len(names) > _MOST_COLUMNS:
        raise BadRequest(f"more than {_MOST_COLUMNS} columns are named")
    return tuple(tuple(name.split(".")) for name in names)


def _at(row: Row, path: Sequence[str]) -> Any:
    value: Any = row
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return 0
        value = value[name]
    return value


def _order(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool) or value is None:
        return 1, str(value)
    if isinstance(value, int | float):
        return 0, value
    return 2, value if isinstance(value, str) else str(value)


def _copy(row: Row, wanted: dict[str, Any], path: Sequence[str]) -> None:
    value: Any = row
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return
        value = value[name]
    for name in path[:-1]:
        below = wanted.setdefault(name, {})
        if not isinstance(below, dict):
            return
        wanted = below
    wanted[path[-1]] = value
