"""Figures as a stream of events (Server-Sent Events): each view is computed once, however many watch it.

Who watches asks once a second; what was computed less than a second ago is good enough. So nothing runs while nobody
watches, and a thousand viewers cost little more than their writes. All views together take no more than a fortieth
of the time: what takes long to compute is computed less often. A viewer who does not read in time misses events, and
gets everything later; nothing is kept for it (ADR 72).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping
from functools import partial
from math import inf
from typing import Any, Final, Protocol, TypeAlias

from broker.amqp.local_client import Bell
from broker.management.figures.nodes import node_figures
from broker.management.figures.overview import overview_figures
from broker.management.http.access import Needs
from broker.management.http.call import BadRequest, Call, HttpAnswer, HttpCaller, HttpRefusal, as_json
from broker.management.http.node_view import ManagedNode
from broker.management.http.own import store_row
from broker.management.http.policies import cluster_name
from broker.management.http.routing import ApiRoute

INTERVAL: Final = 1.0
"""Seconds between two events of a stream."""
_FRESH: Final = 0.9
"""Seconds for which what was computed is good enough, at least."""
_SHARE: Final = 40
"""One part in so many of the time is what computing all views may take."""
_LONGEST: Final = 10.0
"""Seconds after which a view is computed again, however long that takes."""
_SILENCE: Final = 15.0
"""Seconds without an event after which a comment is sent, to find out whether somebody is still there."""
_KEPT: Final = 4
"""Events that are kept for viewers who come a little late."""
MAX_VIEWERS: Final = 1200
"""Viewers of one node at once."""
MAX_VIEWS: Final = 100
"""Different views that are watched at once."""
_STEPS: Final = 2
EVENT_STREAM: Final = "text/event-stream"

_Row: TypeAlias = tuple[int, int, int, int, int]
_Names: TypeAlias = tuple[str, str]


class View(Protocol):
    """What can be watched."""

    async def step(self, node: ManagedNode) -> tuple[bytes, bytes]:
        """Return everything, and what has changed since the last step; no octets when nothing has."""
        ...


class QueueTable:
    """What of queues changes: their lengths, consumers, and what has gone in and out."""

    def __init__(self) -> None:
        self._rows: dict[_Names, _Row] = {}

    async def step(self, node: ManagedNode) -> tuple[bytes, bytes]:
        """Return all rows, and those that have changed since the last step, with those that are gone."""
        rows: dict[_Names, _Row] = {}
        node.view.hear_of_publishes()
        for queue in list(node.view.queues()):
            await node.in_turn(_STEPS)
            counts = queue.counts
            rows[queue.vhost, queue.name] = (
                queue.message_count,
                queue.unacked_count,
                queue.consumer_count,
                counts.published,
                counts.taken + counts.got + counts.got_no_ack,
            )
        changed = [(*names, *row) for names, row in rows.items() if self._rows.get(names) != row]
        gone = [names for names in self._rows if names not in rows]
        self._rows = rows
        await node.in_turn(len(rows) // 10)
        return (
            as_json({"columns": _COLUMNS, "rows": [(*names, *row) for names, row in rows.items()]}),
            as_json({"columns": _COLUMNS, "rows": changed, "gone": gone}),
        )


_COLUMNS: Final = (
    "vhost",
    "name",
    "messages_ready",
    "messages_unacknowledged",
    "consumers",
    "publish",
    "deliver_get",
)


async def _overview(node: ManagedNode) -> dict[str, Any]:
    return overview_figures(node.view) | {"cluster_name": cluster_name(node)}


async def _nodes(node: ManagedNode) -> dict[str, Any]:
    members = [
        {
            "node_id": member.node_id,
            "is_coordinator": member.is_coordinator,
            "last_heartbeat_seconds": member.beat_age,
        }
        for member in node.facts.members()
    ]
    return {"message_store": store_row(node), "nodes": members, "own": node_figures(node.view)}


class _Whole:
    """A view that is told as a whole each time."""

    def __init__(self, compute: Callable[[ManagedNode], Awaitable[Mapping[str, Any]]]) -> None:
        self._compute = compute

    async def step(self, node: ManagedNode) -> tuple[bytes, bytes]:
        octets = as_json(await self._compute(node))
        return octets, octets


def new_view(name: str) -> View:
    """Return one of `VIEWS`."""
    return QueueTable() if name == "queues" else _Whole(_VIEWS[name])


_VIEWS: Final[Mapping[str, Callable[[ManagedNode], Awaitable[Mapping[str, Any]]]]] = {
    "overview": _overview,
    "nodes": _nodes,
}
VIEWS: Final = (*_VIEWS, "queues")


class _Watched:
    """A view that somebody watches."""

    def __init__(self, view: View, tick: int) -> None:
        self.view = view
        self.viewers = 0
        self.tick = tick
        """The number of the last event. No two views begin with the same, so that nobody goes on in another one."""
        self.at = -inf
        self.fresh = _FRESH
        self.is_known = False
        self.whole = b""
        self.events: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self.is_computing = False
        self.waiting: list[Bell] = []

    def since(self, tick: int | None) -> bytes:
        """Return the events after a tick; everything to who has seen nothing, or has missed too much."""
        if tick is None or not self.events or tick < self.events[0][0] - 1 or tick > self.tick:
            return _event(self.tick, "snapshot", self.whole)
        return b"".join(_event(number, "delta", octets) for number, octets in self.events if number > tick)

    async def compute(self, node: ManagedNode) -> None:
        """Look what has changed."""
        whole, delta = await self.view.step(node)
        if delta or not self.is_known:
            self.whole, self.is_known = whole, True
            self.tick += 1
            self.events.append((self.tick, delta))


class LiveViews:
    """The views of one node, by what names them."""

    def __init__(self) -> None:
        self._watched: dict[Hashable, _Watched] = {}

    @property
    def viewers(self) -> int:
        """How many watch."""
        return sum(watched.viewers for watched in self._watched.values())

    def require_room(self, key: Hashable) -> None:
        """Raise `HttpRefusal` if nobody more can watch that."""
        if self.viewers >= MAX_VIEWERS or (key not in self._watched and len(self._watched) >= MAX_VIEWS):
            raise HttpRefusal(503, "service_unavailable", "too many are watching", {"Retry-After": "10"})

    async def watch(
        self,
        node: ManagedNode,
        key: Hashable,
        new_view: Callable[[], View],
        may_watch: Callable[[], bool],
        seen: int | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield what is to be sent to one viewer, who has `seen` what came up to that event. All who watch the same
        `key` share one view.
        """
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = _Watched(new_view(), 1000 * node.view.now_ms())
        watched.viewers += 1
        try:
            yield b"retry: 2000\n\n"
            told = node.shared.monotonic()
            while may_watch():
                await self._refresh(node, watched)
                octets, seen = watched.since(seen), watched.tick
                if not octets and node.shared.monotonic() - told >= _SILENCE:
                    octets = b": nothing new\n\n"
                if octets:
                    told = node.shared.monotonic()
                    yield octets
                await node.shared.pause(INTERVAL)
        finally:
            watched.viewers -= 1
            if not watched.viewers and self._watched.get(key) is watched:
                del self._watched[key]

    async def _refresh(self, node: ManagedNode, watched: _Watched) -> None:
        """Compute the view, unless that was done just now; wait for it if somebody else is at it."""
        if watched.is_computing:
            bell = node.new_bell()
            watched.waiting.append(bell)
            await bell.wait()
            return
        now = node.shared.monotonic()
        if now - watched.at < watched.fresh:
            return
        watched.is_computing = True
        try:
            await watched.compute(node)
        finally:
            took = node.shared.monotonic() - now
            watched.at = now
            watched.fresh = min(max(_FRESH, took * _SHARE * len(self._watched)), _LONGEST)
            watched.is_computing = False
            waiting, watched.waiting = watched.waiting, []
            for bell in waiting:
                bell.set()


def seen_before(call: Call) -> int | None:
    """Return which event a viewer who comes back has seen last."""
    last = call.headers.get("last-event-id", "")
    return int(last) if last.isascii() and last.isdigit() and len(last) < 19 else None


def streamed(pieces: AsyncGenerator[bytes, None]) -> HttpAnswer:
    """Return the answer that is a stream of events; no proxy should keep them."""
    return HttpAnswer(content_type=EVENT_STREAM, stream=pieces, headers={"X-Accel-Buffering": "no"})


def _event(number: int, kind: str, octets: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), octets)


async def stream(node: ManagedNode, call: Call) -> Any:
    """Stream a view: a snapshot first, then what has changed, once a second."""
    name = call.query.get("view", "overview")
    if name not in VIEWS:
        raise BadRequest(f"there is no view '{name[:50]}': there are {', '.join(VIEWS)}")
    node.live.require_room(name)
    caller = call.caller

    def may_watch() -> bool:
        return node.shared.monotonic() < caller.identity.good_until and is_still_monitor(node, caller)

    return streamed(node.live.watch(node, name, partial(new_view, name), may_watch, seen_before(call)))


def is_still_monitor(node: ManagedNode, caller: HttpCaller) -> bool:
    """May the user still see everything, whatever has been changed since the login?"""
    return HttpCaller(caller.identity, frozenset(node.tags_of(caller.identity))).is_monitor


ROUTES = (ApiRoute("GET", "/broker/stream", Needs.MONITORING, stream, "Stream figures as they change", ("view",)),)
