"""The exchanges, queues and bindings of a virtual host as a graph: from a routing key to queues, and from a deletion to
all that is deleted with it.

`apply` changes the graph; nothing is decided, refused or recorded here.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

from broker.cache_budget import Cache, CacheBudget
from broker.queue.counts import CountsInQueue
from broker.queue.queue import Queue
from broker.topology.binding import BY_MESSAGE, Binding, Destination
from broker.topology.exchange import Exchange
from broker.topology.guards import NO_RULES, Guards
from broker.topology.routed_message import ANY_MESSAGE, RoutedMessage
from broker.turn_budget import TurnBudget

Search: TypeAlias = Generator[None, None, list[Queue] | None]
"""Pauses when the turn is used up; returns the queues, or None when they depend on the message."""

CASCADE: Final = 256
"""Auto-delete exchanges that go in one change with what they were bound to; further ones go one by one after it."""
_AT_ONCE: Final = 1000
"""Bindings to what was deleted that are forgotten in one turn: a few milliseconds."""


class Route:
    """Where messages published with the same arguments go; valid until the topology changes.

    `queue` is the only queue; None when there are none or several, or when it may not take a message. A `dynamic` route
    depends on more: its queues are found anew for each message. Those of a route with a `search` are not found yet.
    """

    __slots__ = (
        "arguments",
        "dynamic",
        "exchange",
        "is_refusable",
        "mandatory",
        "queue",
        "queues",
        "replies",
        "routing",
        "routing_key",
        "search",
        "stream",
        "version",
    )

    def __init__(self, arguments: bytes, exchange: str, routing_key: str, mandatory: bool, version: int) -> None:
        """`version` is that of the routing table when the search begins."""
        self.arguments = arguments
        self.routing = arguments[2:-1]
        """Exchange and routing key as two short strings."""
        self.exchange = exchange
        self.routing_key = routing_key
        self.mandatory = mandatory
        self.version = version
        self.dynamic = False
        self.queues: Sequence[Queue] = ()
        self.queue: Queue | None = None
        self.stream: Queue | None = None
        """The only queue, if that is a stream: nothing else asks for a look at the message."""
        self.replies: tuple[str, ...] = ()
        """The addresses to which the message goes as a reply (contract N19)."""
        self.is_refusable = False
        """May one of the queues refuse a message, or leave it out?"""
        self.search: Search | None = None

    def set_queues(self, queues: list[Queue] | None) -> None:
        """The search is done: it has found these `queues`, or that the route is `dynamic`."""
        self.search = None
        self.dynamic = queues is None
        self.queues = tuple(queues or ())
        self.is_refusable = any(queue.looks_at_publishers for queue in self.queues)
        only = self.queues[0] if len(self.queues) == 1 else None
        self.queue = None if self.is_refusable else only
        self.stream = only if only is not None and only.is_stream else None

    @property
    def octets(self) -> int:
        """What the route occupies in a cache."""
        return 8 * len(self.queues) + 2 * len(self.arguments) + 200


class RoutingTable:
    """The exchanges and queues of a virtual host, the bindings between them, and the routes found so far."""

    __slots__ = (
        "_caches",
        "_leaving",
        "_sources",
        "_vhost",
        "ended_queues",
        "exchanges",
        "level_count",
        "queues",
        "queues_by_id",
        "schedule",
        "unused",
        "version",
    )

    def __init__(self, vhost: str = "/") -> None:
        self._vhost = vhost
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        self.level_count = 0
        """Queues, of which one with priorities counts as many times as it has levels."""
        self.queues_by_id: dict[int, Queue] = {}
        self.schedule: Queue | None = None
        """Where messages wait for their time; None while none has had to."""
        self.unused: dict[str, None] = {}
        """The auto-delete exchanges that have lost their last binding and are still there."""
        self.version = 0
        """Grows with every change of the graph."""
        self.ended_queues = CountsInQueue()
        """What the queues have counted that are gone."""
        self._caches: WeakValueDictionary[Hashable, Cache[Route]] = WeakValueDictionary()
        self._sources: dict[Destination, dict[str, None]] = {}  # destination -> the exchanges bound to it
        self._leaving: dict[Destination, Iterator[None]] = {}  # deleted, and some bindings to it are to be forgotten

    # Queries

    def search(
        self, exchange: Exchange, keys: Sequence[str], message: RoutedMessage | None, work: TurnBudget
    ) -> Search:
        """Find the queues for a `message` with these `keys`, each once: through bindings, exchanges bound to exchanges,
        and the alternates of exchanges that lead nowhere for any of the keys. Each exchange is asked once.

        Without a `message` the search ends with None where it decides. Changes of the graph while it pauses may count
        or not.
        """
        found: dict[Queue, None] = {}
        waiting, visited = [exchange], {exchange.name}
        while waiting:
            current = waiting.pop()
            if current.is_dynamic and message is None:
                return None
            if current.deduplication is not None and message is not None and message.guards is None:
                message.guards = Guards(self._vhost, message.properties, is_strict=message.publisher is not None)
            guards = None if message is None else message.guards
            rules = NO_RULES if guards is None else guards.at(current)
            is_routed = False
            work.done += 1
            for key in keys if current.uses_keys else keys[:1]:
                for destination in current.match(key, message or ANY_MESSAGE, work):
                    work.done += 1
                    if work.done >= work.limit:
                        yield
                    if destination is None:
                        continue
                    kind, name = destination
                    if kind == "queue":
                        queue = self.queues.get(name)
                        if queue is not None:
                            if guards is not None:
                                guards.on_queue(queue, rules, is_new=queue not in found)
                            found[queue] = None
                            is_routed = True
                    elif destination is BY_MESSAGE:
                        return None
                    elif name in self.exchanges:
                        is_routed = True
                        comes_last = guards is not None and guards.on_exchange(name, rules, is_new=name not in visited)
                        self._visit(name, visited, waiting, comes_last=comes_last)
                work.done += 1
            if work.is_over:
                yield
            alternate = current.alternate
            if not is_routed and alternate is not None and alternate in self.exchanges:
                is_new = alternate not in visited
                comes_last = guards is not None and guards.on_exchange(alternate, rules, is_new=is_new)
                self._visit(alternate, visited, waiting, comes_last=comes_last)
        return list(found)

    def _visit(self, name: str, visited: set[str], waiting: list[Exchange], *, comes_last: bool) -> None:
        """An exchange is on the way: it is asked next, or after all others, unless it was or will be."""
        if name not in visited:
            visited.add(name)
            waiting.insert(0 if comes_last else len(waiting), self.exchanges[name])

    def is_durable(self, destination: Destination) -> bool:
        """Is this destination in the store, so that a binding to it may be recorded durably?"""
        kind, name = destination
        if kind == "exchange":
            return name in self.exchanges and self.exchanges[name].durable
        return name in self.queues and self.queues[name].is_stored

    def sources_of(self, destination: Destination) -> Iterable[str]:
        """Return the exchanges with a binding to `destination`."""
        return self._sources.get(destination, ())

    def unused_without(self, gone: Destination, limit: int = CASCADE) -> list[str]:
        """Return the auto-delete exchanges that lose their last binding when `gone` is deleted, directly or one through
        another, but no more than `limit`.
        """
        waiting = [gone]
        left: dict[str, int] = {}  # how many destinations an exchange keeps
        unused: list[str] = []
        while waiting:
            for source in self._sources.get(waiting.pop(), ()):
                if len(unused) == limit:
                    return unused
                exchange = self.exchanges[source]
                if not exchange.auto_delete or ("exchange", source) == gone:
                    continue
                left[source] = left.get(source, len(exchange.destinations)) - 1
                if not left[source]:
                    unused.append(source)
                    waiting.append(("exchange", source))
        return unused

    def routes_for(self, permissions: Hashable, budget: CacheBudget) -> Cache[Route]:
        """Return the cache of routes for publishers with these `permissions`, within the node's `budget`; every change
        of the graph empties it.

        A cached route includes the access check, so it is valid for equal permissions only.
        """
        cache = self._caches.get(permissions)
        if cache is None:
            cache = self._caches[permissions] = budget.new_cache()
        return cache

    def forget_routes(self) -> None:
        """Empty the caches, so that every route is found anew."""
        self.version += 1
        for cache in self._caches.values():
            cache.clear()

    # Changes

    def add_exchange(self, exchange: Exchange) -> None:
        self._finish(("exchange", exchange.name))
        self.exchanges[exchange.name] = exchange
        self.forget_routes()

    def add_queue(self, queue: Queue) -> None:
        self._finish(("queue", queue.name))
        self.queues[queue.name] = queue
        self.queues_by_id[queue.queue_id] = queue
        self.level_count += len(queue.levels)
        self.forget_routes()

    def add_schedule(self, schedule: Queue) -> None:
        """Let messages wait for their time. Nothing is routed there."""
        self.schedule = self.queues_by_id[schedule.queue_id] = schedule

    def remove_schedule(self) -> None:
        """Nothing waits here any more."""
        if self.schedule is not None:
            del self.queues_by_id[self.schedule.queue_id]
            self.schedule = None

    def bind(self, binding: Binding) -> bool:
        """Add `binding`, whose exchange exists; return False when it was there already."""
        self.unused.pop(binding.source, None)
        is_new = self.exchanges[binding.source].bind(binding)
        self._sources.setdefault(binding.destination, {})[binding.source] = None
        self.forget_routes()
        return is_new

    def unbind(self, binding: Binding) -> None:
        """Remove `binding`; an auto-delete exchange that loses its last one stays until it is removed itself."""
        exchange = self.exchanges[binding.source]
        exchange.unbind(binding)
        if binding.destination not in exchange.destinations:
            self._unlink(binding.destination, binding.source)
            self._note_unused(exchange)
        self.forget_routes()

    def remove_exchanges(self, names: Iterable[str]) -> None:
        """Remove exchanges with every binding from and to them; `rest_of` tells what is to follow."""
        for name in names:
            self.unused.pop(name, None)
            for destination in self.exchanges.pop(name).destinations:
                self._unlink(destination, name)
            self._remove_bindings_to(("exchange", name))

    def remove_queue(self, name: str) -> None:
        """Remove a queue with every binding to it; `rest_of` tells what is to follow."""
        queue = self.queues.pop(name)
        del self.queues_by_id[queue.queue_id]
        self.level_count -= len(queue.levels)
        for level in queue.levels:
            self.ended_queues.add(level.counts)
        self._remove_bindings_to(("queue", name))

    def _remove_bindings_to(self, destination: Destination) -> None:
        gone: list[tuple[Exchange, Binding]] = []
        for source in self._sources.pop(destination, ()):
            exchange = self.exchanges.get(source)
            if exchange is not None:
                gone += [(exchange, binding) for binding in exchange.detach(destination)]
                self._note_unused(exchange)
        steps = _forget(gone)
        next(steps, None)
        if len(gone) > _AT_ONCE:
            self._leaving[destination] = steps
        self.forget_routes()

    def rest_of(self, destination: Destination) -> Iterator[None] | None:
        """Return steps of a few milliseconds each that forget the rest of many bindings to a deleted queue or exchange;
        None when there are no more.

        Nothing is routed by them any more. Whoever has the name next is added only when all of them are forgotten.
        """
        steps = self._leaving.get(destination)
        return None if steps is None else self._forgetting(destination, steps)

    def _forgetting(self, destination: Destination, steps: Iterator[None]) -> Iterator[None]:
        yield from steps
        if self._leaving.get(destination) is steps:
            del self._leaving[destination]

    def _finish(self, destination: Destination) -> None:
        for _ in self._leaving.pop(destination, ()):
            pass

    def _note_unused(self, exchange: Exchange) -> None:
        if exchange.auto_delete and exchange.is_unused:
            self.unused[exchange.name] = None

    def _unlink(self, destination: Destination, source: str) -> None:
        sources = self._sources.get(destination)
        if sources is not None:
            sources.pop(source, None)
            if not sources:
                del self._sources[destination]


def _forget(gone: Sequence[tuple[Exchange, Binding]]) -> Iterator[None]:
    for number, (exchange, binding) in enumerate(gone, 1):
        exchange.forget(binding)
        if number % _AT_ONCE == 0:
            yield
