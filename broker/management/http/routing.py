"""The routes of the HTTP API: a path, a method, who may use it, and who serves it.

A path is cut at its slashes before its escapes are read: `/api/queues/%2F/a%2Fb` has the virtual host `/` and the queue
`a/b`. A slash at the end means nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from broker.management.http.access import Needs
from broker.management.http.call import Call, HttpRefusal, NotThere
from broker.management.http.node_view import ManagedNode

Handler: TypeAlias = Callable[[ManagedNode, Call], Awaitable[Any]]
"""Serves a request: returns an `HttpAnswer`, or a value that is sent as JSON."""

API: Final = "/api"
OWN: Final = "/broker/"
"""What the paths of this broker's own resources begin with."""
_MOST_PARTS: Final = 16


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One method of one path. `path` follows `API`; `{name}` in it stands for any name."""

    method: str
    path: str
    needs: Needs
    handler: Handler
    summary: str
    """What it does, in a few words: OpenAPI shows it."""
    query: tuple[str, ...] = ()
    """What a query may say, of this broker's own resources."""
    keys: tuple[str, ...] = ()
    """What a body may say, likewise."""

    @property
    def is_own(self) -> bool:
        """Is this no resource of RabbitMQ's? What it does not know is refused; RabbitMQ's take what it takes."""
        return self.path.startswith(OWN)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in self.path.split("/") if part)


@dataclass(slots=True)
class _Place:
    """What stands behind a part of paths."""

    literal: dict[str, _Place] = field(default_factory=dict)
    named: _Place | None = None
    name: str = ""
    routes: dict[str, ApiRoute] = field(default_factory=dict)


class ApiRouter:
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[ApiRoute], prefix: str = "") -> None:
        """`prefix` stands before `API` in all paths: nothing, or a slash and something."""
        self.routes: Final[Sequence[ApiRoute]] = tuple(routes)
        self._prefix = prefix
        self._root = _Place()
        for route in self.routes:
            self._add(route)

    def _add(self, route: ApiRoute) -> None:
        place = self._root
        for part in route.parts:
            if part.startswith("{"):
                if place.named is None:
                    place.named = _Place(name=part[1:-1])
                place = place.named
                if place.name != part[1:-1]:
                    raise ValueError(f"{route.path}: another route calls this part {place.name}")
            else:
                place = place.literal.setdefault(part, _Place())
        if route.method in place.routes:
            raise ValueError(f"{route.method} {route.path} is there twice")
        place.routes[route.method] = route

    def find(self, call: Call) -> ApiRoute | None:
        """Return the route of a request, and note what names its path has; None where OPTIONS asks what there is.

        Raises `HttpRefusal` when there is none.
        """
        names: dict[str, str] = {}
        place = self._place(self._parts(call.path), names)
        if place is None:
            raise NotThere
        call.names = names
        route = place.routes.get("GET" if call.method == "HEAD" else call.method)
        if route is None and call.method != "OPTIONS":
            allowed = _allowed(place.routes)
            reason = f"this path takes {allowed}, not {call.method}"
            raise HttpRefusal(405, "method_not_allowed", reason, {"Allow": allowed})
        return route

    def allowed(self, call: Call) -> str:
        """Return the methods of a path that is there."""
        place = self._place(self._parts(call.path), {})
        return _allowed({} if place is None else place.routes)

    def _parts(self, path: str) -> list[str]:
        start = f"{self._prefix}{API}/"
        if not path.startswith(start):
            raise NotThere
        parts = path[len(start) :].removesuffix("/").split("/")
        if len(parts) > _MOST_PARTS:
            raise NotThere
        return [unquote(part, errors="surrogateescape") for part in parts]

    def _place(self, parts: Sequence[str], names: dict[str, str]) -> _Place | None:
        return _found(self._root, parts, names)


def _found(place: _Place, parts: Sequence[str], names: dict[str, str]) -> _Place | None:
    """Return where a path leads: a part that is spelt like one of a route is that, if something is behind it."""
    if not parts:
        return place if place.routes else None
    first, rest = parts[0], parts[1:]
    literal = place.literal.get(first)
    if literal is not None and (found := _found(literal, rest, names)) is not None:
        return found
    if place.named is None or (found := _found(place.named, rest, names)) is None:
        return None
    names[place.named.name] = first
    return found


def _allowed(routes: Mapping[str, ApiRoute]) -> str:
    methods = [method for method in ("GET", "PUT", "DELETE", "POST") if method in routes]
    return ", ".join((["HEAD"] if "GET" in routes else []) + methods + ["OPTIONS"])
