"""The exchanges, queues and bindings of a virtual host as a graph: from a routing key to queues, and from a deletion to
all that is deleted with it.

`apply` changes the graph; nothing is decided, refused or recorded here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from weakref import WeakValueDictionary

from broker.queue.queue import Queue
from broker.topology.binding import Binding, Destination, Headers
from broker.topology.exchange import Exchange


class Route:
    """Where messages published with the same arguments go; valid until the topology changes.

    `queue` is the only queue, or None when there are none or several. A `dynamic` route depends on headers: its queues
    are found anew for each message.
    """

    __slots__ = ("dynamic", "exchange", "mandatory", "queue", "queues", "routing", "routing_key")

    def __init__(self, routing: bytes, exchange: str, routing_key: str, mandatory: bool) -> None:
        self.routing = routing
        self.exchange = exchange
        self.routing_key = routing_key
        self.mandatory = mandatory
        self.dynamic = False
        self.queues: Sequence[Queue] = ()
        self.queue: Queue | None = None


class RouteCache(dict[bytes, Route]):
    """The routes found so far, by the octets of a publish's arguments."""

    __slots__ = ("__weakref__",)


class RoutingTable:
    """The exchanges and queues of a virtual host, the bindings between them, and the routes found so far."""

    __slots__ = ("_caches", "_sources", "exchanges", "queues", "queues_by_id")

    def __init__(self) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        self.queues_by_id: dict[int, Queue] = {}
        self._caches: WeakValueDictionary[Hashable, RouteCache] = WeakValueDictionary()
        self._sources: dict[Destination, dict[str, None]] = {}  # destination -> the exchanges bound to it

    # Queries

    def route(self, exchange: Exchange, routing_key: str, headers: Headers) -> list[Queue]:
        """Return the queues for a message, each once: through bindings, exchanges bound to exchanges, alternates."""
        found: dict[str, Queue] = {}
        waiting, visited = [exchange], {exchange.name}
        while waiting:
            current = waiting.pop()
            is_routed = False
            for kind, name in current.match(routing_key, headers):
                if kind == "queue":
                    queue = self.queues.get(name)
                    if queue is not None:
                        found[name] = queue
                        is_routed = True
                elif name in self.exchanges:
                    is_routed = True
                    if name not in visited:
                        visited.add(name)
                        waiting.append(self.exchanges[name])
            alternate = current.alternate
            if not is_routed and alternate is not None and alternate not in visited and alternate in self.exchanges:
                visited.add(alternate)
                waiting.append(self.exchanges[alternate])
        return list(found.values())

    def depends_on_headers(self, exchange_name: str) -> bool:
        """Can a message's headers change where this exchange sends it, directly or through further exchanges?"""
        waiting, visited = [exchange_name], {exchange_name}
        while waiting:
            exchange = self.exchanges.get(waiting.pop())
            if exchange is None:
                continue
            if exchange.uses_headers:
                return True
            following = [name for kind, name in exchange.destinations if kind == "exchange"]
            if exchange.alternate is not None:
                following.append(exchange.alternate)
            for name in following:
                if name not in visited:
                    visited.add(name)
                    waiting.append(name)
        return False

    def is_durable(self, destination: Destination) -> bool:
        """Is this destination in the store, so that a binding to it may be recorded durably?"""
        kind, name = destination
        if kind == "exchange":
            return name in self.exchanges and self.exchanges[name].durable
        return name in self.queues and self.queues[name].is_stored

    def unused_without(self, gone: Destination) -> list[str]:
        """Return the auto-delete exchanges that lose their last binding when `gone` is deleted, directly or one through
        another.
        """
        lost = {gone: None}
        waiting = [gone]
        unused: list[str] = []
        while waiting:
            for source in self._sources.get(waiting.pop(), ()):
                exchange = self.exchanges[source]
                if (
                    exchange.auto_delete
                    and ("exchange", source) not in lost
                    and all(destination in lost for destination in exchange.destinations)
                ):
                    unused.append(source)
                    lost[("exchange", source)] = None
                    waiting.append(("exchange", source))
        return unused

    def routes_for(self, permissions: Hashable) -> RouteCache:
        """Return the cache of routes for publishers with these `permissions`; every change of the graph empties it.

        A cached route includes the access check, so it is valid for equal permissions only.
        """
        cache = self._caches.get(permissions)
        if cache is None:
            cache = self._caches[permissions] = RouteCache()
        return cache

    def forget_routes(self) -> None:
        """Empty the caches, so that every route is found anew."""
        for cache in self._caches.values():
            cache.clear()

    # Changes

    def add_exchange(self, exchange: Exchange) -> None:
        self.exchanges[exchange.name] = exchange
        self.forget_routes()

    def add_queue(self, queue: Queue) -> None:
        self.queues[queue.name] = queue
        self.queues_by_id[queue.queue_id] = queue
        self.forget_routes()

    def bind(self, binding: Binding) -> None:
        """Add `binding`, whose exchange exists."""
        self.exchanges[binding.source].bind(binding)
        self._sources.setdefault(binding.destination, {})[binding.source] = None
        self.forget_routes()

    def unbind(self, binding: Binding) -> None:
        """Remove `binding`; an auto-delete exchange that loses its last one stays until it is removed itself."""
        exchange = self.exchanges[binding.source]
        exchange.unbind(binding)
        if binding.destination not in exchange.destinations:
            self._unlink(binding.destination, binding.source)
        self.forget_routes()

    def remove_exchanges(self, names: Iterable[str]) -> None:
        """Remove exchanges with every binding from and to them."""
        for name in names:
            for destination in self.exchanges.pop(name).destinations:
                self._unlink(destination, name)
            self._remove_bindings_to(("exchange", name))

    def remove_queue(self, name: str) -> None:
        """Remove a queue with every binding to it."""
        del self.queues_by_id[self.queues.pop(name).queue_id]
        self._remove_bindings_to(("queue", name))

    def _remove_bindings_to(self, destination: Destination) -> None:
        for source in self._sources.pop(destination, ()):
            exchange = self.exchanges.get(source)
            if exchange is not None:
                exchange.remove_destination(destination)
        self.forget_routes()

    def _unlink(self, destination: Destination, source: str) -> None:
        sources = self._sources.get(destination)
        if sources is not None:
            sources.pop(source, None)
            if not sources:
                del self._sources[destination]
