"""Where what one channel publishes goes: each route is found once, asked for its permission, and remembered."""

from __future__ import annotations

from typing import Final

from broker.auth.access import Access, Permission
from broker.cache_budget import CacheBudget
from broker.codec.methods import BasicPublish
from broker.errors import AccessRefused, NotImplementedFault, PreconditionFailed
from broker.queue.queue import Queue
from broker.topology.routed_message import RoutedMessage
from broker.topology.routing import Route, Search
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget

_FIND_STEPS: Final = 10
"""What finding a route costs beside its search, in steps of work."""


class RouteFinder:
    """Finds routes for one channel, with the permissions of its user."""

    __slots__ = ("_access", "_caches", "_vhost", "_work", "remembered")

    def __init__(self, vhost: VirtualHost, access: Access, caches: CacheBudget, work: TurnBudget) -> None:
        self._vhost = vhost
        self._access = access
        self._caches = caches
        self._work = work
        self.remembered = vhost.routing.routes_for(access.permissions, caches)
        """Routes by the octets of the arguments of basic.publish: shared by all who have the same permissions."""

    def on_permissions_changed(self) -> None:
        """The user may do something else from now on: go by what those may who have the same permissions."""
        self.remembered = self._vhost.routing.routes_for(self._access.permissions, self._caches)

    def find(self, arguments: bytes) -> Route:
        """Find, and remember, where messages with these arguments go, or raise what refuses them.

        A search that takes more than the turn's work is left in the route: the first message goes on with it.
        """
        publish = BasicPublish.decode_arguments(arguments, 0, len(arguments))
        if publish.immediate:
            raise NotImplementedFault("immediate=true")  # contract B3
        self._access.require_publish(publish.exchange, publish.routing_key)
        exchange = self._vhost.exchange(publish.exchange)
        if exchange.type == "topic":
            self._access.require_key(Permission.WRITE, publish.exchange, publish.routing_key)
        if exchange.internal:
            raise AccessRefused(f"cannot publish to internal {self._vhost.phrase('exchange', publish.exchange)}")
        if what_is_wrong := exchange.what_is_wrong:  # recorded by another program, or damaged
            phrase = self._vhost.phrase("exchange", publish.exchange)
            raise PreconditionFailed(f"cannot route through {phrase}: {what_is_wrong}")
        routing, work = self._vhost.routing, self._work
        mandatory = publish.mandatory and publish.exchange not in self._vhost.dialect.silent_exchanges
        route = Route(arguments, publish.exchange, publish.routing_key, mandatory, routing.version)
        route.search = search = routing.search(exchange, (publish.routing_key,), None, work)
        try:
            next(search)
        except StopIteration as done:
            self._keep(route, done.value)
        work.done += _FIND_STEPS
        return route

    def search(self, route: Route, message: RoutedMessage, keys: tuple[str, ...] | None) -> Search:
        """Search for the queues of a message with these `keys`; without, go on with the search for its route."""
        if keys is None:
            keys = (route.routing_key,)
            if route.search is not None:
                return self._finish(route, route.search, message)
        return self._vhost.routing.search(self._vhost.exchange(route.exchange), keys, message, self._work)

    def _finish(self, route: Route, search: Search, message: RoutedMessage) -> Search:
        queues = yield from search
        self._keep(route, queues)
        if queues is not None:
            return queues
        return (yield from self.search(route, message, None))

    def _keep(self, route: Route, queues: list[Queue] | None) -> None:
        """The search for a route is done: remember it, unless the topology has changed meanwhile."""
        route.set_queues(queues)
        if route.version == self._vhost.routing.version and route.arguments not in self.remembered:
            self.remembered.remember(route.arguments, route, route.octets)
