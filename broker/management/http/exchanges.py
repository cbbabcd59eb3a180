"""Exchanges and bindings."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, TypeAlias
from urllib.parse import quote_plus

from broker.codec.field_table import EMPTY_TABLE
from broker.management.figures.exchanges import exchange_figures
from broker.management.figures.history import NO_SAMPLES, SampleSpans
from broker.management.figures.merging import Elsewhere, add_exchange
from broker.management.http.access import Needs, vhost_of, visible_here
from broker.management.http.call import Call, NotThere
from broker.management.http.elsewhere import partly
from broker.management.http.listing import Row, listed
from broker.management.http.node_view import ManagedNode
from broker.management.http.queues import queue_of
from broker.management.http.routing import ApiRoute
from broker.management.http.samples import spans_of
from broker.topology.binding import Binding, Destination
from broker.topology.exchange import Exchange
from broker.topology.json_form import plain
from broker.topology.vhost import VirtualHost

DEFAULT_EXCHANGE = "amq.default"
"""How the default exchange, whose name is empty, is written in a path."""


def exchange_row(
    node: ManagedNode,
    vhost: VirtualHost,
    exchange: Exchange,
    spans: SampleSpans = NO_SAMPLES,
    *,
    has_stats: bool = True,
) -> dict[str, Any]:
    """Return what an exchange is, and how much goes through it."""
    row = exchange_figures(node.view, vhost, exchange, spans)
    row["user_who_performed_action"] = "rmq-internal"
    if row["policy"] is None:
        del row["policy"]
    if not has_stats:
        del row["message_stats"]
    return row


async def list_exchanges(node: ManagedNode, call: Call) -> Any:
    found = [
        (vhost, exchange) for vhost in await visible_here(node, call) for _, exchange in sorted(vhost.exchanges.items())
    ]
    has_stats, spans = not call.says("disable_stats"), spans_of(call.query)

    node.view.hear_of_publishes()
    elsewhere = await node.view.others.read("exchanges") if has_stats else Elsewhere()

    def row(place: tuple[VirtualHost, Exchange]) -> Row:
        told = exchange_row(node, *place, spans, has_stats=has_stats)
        for each in elsewhere.of(place[0].name, place[1].name):
            add_exchange(told, each)
        return told

    return partly(await listed(node, call, found, row, name_of=lambda place: place[1].name), elsewhere)


async def get_exchange(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    has_stats = not call.says("disable_stats")
    node.view.hear_of_publishes()
    row = exchange_row(node, vhost, exchange_of(vhost, call), spans_of(call.query), has_stats=has_stats)
    return {**row, "incoming": [], "outgoing": []} if has_stats else row


def exchange_of(vhost: VirtualHost, call: Call, place: str = "exchange") -> Exchange:
    """Return the exchange that the path names; raise `NotThere` if there is none."""
    exchange = vhost.exchanges.get(named(call, place))
    if exchange is None:
        raise NotThere(f"there is no {vhost.phrase('exchange', named(call, place))}")
    return exchange


def named(call: Call, place: str = "exchange") -> str:
    """Return the name of an exchange in the path."""
    name = call.names[place]
    return "" if name == DEFAULT_EXCHANGE else name


# Bindings


def properties_key(binding: Binding) -> str:
    """Return what tells the bindings between two ends apart, as it stands in a path."""
    key = quote_plus(binding.routing_key, safe="", errors="surrogateescape").replace("~", "%7E")
    if not binding.arguments:
        return key or "~"
    digest = blake2b(binding.arguments.in_order().raw, digest_size=9).digest()
    return f"{key}~{base64.urlsafe_b64encode(digest).decode()}"


def binding_row(vhost: VirtualHost, binding: Binding) -> dict[str, Any]:
    """Return what leads from where to where."""
    kind, destination = binding.destination
    return {
        "source": binding.source,
        "vhost": vhost.name,
        "destination": destination,
        "destination_type": kind,
        "routing_key": binding.routing_key,
        "arguments": plain(binding.arguments),
        "properties_key": properties_key(binding),
    }


_Told: TypeAlias = Binding | str
"""A binding, or the name of a queue for that which it has to the default exchange by itself."""


def _bindings(vhost: VirtualHost) -> list[_Told]:
    """Return all bindings of a virtual host; first those to the default exchange."""
    found: list[_Told] = [*sorted(vhost.queues)]
    for _, exchange in sorted(vhost.exchanges.items()):
        found += exchange.bindings
    return found


def _default(queue: str) -> Binding:
    """Return the binding that a queue has to the default exchange by itself."""
    return Binding("", ("queue", queue), queue, EMPTY_TABLE)


async def _listed(node: ManagedNode, call: Call, found: Iterable[tuple[VirtualHost, _Told]]) -> Any:
    def row(place: tuple[VirtualHost, _Told]) -> Row:
        vhost, told = place
        return binding_row(vhost, _default(told) if isinstance(told, str) else told)

    def source(place: tuple[VirtualHost, _Told]) -> str:
        return "" if isinstance(place[1], str) else place[1].source

    return await listed(node, call, list(found), row, name_of=source)


async def list_bindings(node: ManagedNode, call: Call) -> Any:
    vhosts = await visible_here(node, call)
    return await _listed(node, call, ((vhost, each) for vhost in vhosts for each in _bindings(vhost)))


async def list_bindings_of_queue(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    queue = queue_of(vhost, call)
    return await _listed(node, call, ((vhost, each) for each in bindings_to(vhost, ("queue", queue.name))))


def bindings_to(vhost: VirtualHost, destination: Destination) -> list[Binding]:
    """Return the bindings of a queue or an exchange, that to the default exchange first."""
    kind, name = destination
    found = [_default(name)] if kind == "queue" else []
    for source in sorted(vhost.routing.sources_of(destination)):
        found += vhost.exchanges[source].bindings_of(destination)
    return found


async def list_bindings_from(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    exchange = exchange_of(vhost, call)
    found: Iterable[_Told] = exchange.bindings if exchange.name else sorted(vhost.queues)
    return await _listed(node, call, ((vhost, each) for each in found))


async def list_bindings_to(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    exchange = exchange_of(vhost, call)
    return await _listed(node, call, ((vhost, each) for each in bindings_to(vhost, ("exchange", exchange.name))))


def ends_of(vhost: VirtualHost, call: Call) -> tuple[Exchange, Destination]:
    """Return the two ends that the path names; raise `NotThere` if one is not there."""
    source = exchange_of(vhost, call)
    if "queue" in call.names:
        return source, ("queue", queue_of(vhost, call).name)
    return source, ("exchange", exchange_of(vhost, call, "destination").name)


def bindings_between(vhost: VirtualHost, source: Exchange, destination: Destination) -> list[Binding]:
    """Return the bindings between two ends."""
    if source.name:
        return list(source.bindings_of(destination))
    return [_default(destination[1])] if destination[0] == "queue" else []


async def list_bindings_between(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    return await _listed(node, call, ((vhost, each) for each in bindings_between(vhost, *ends_of(vhost, call))))


async def get_binding(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    return binding_row(vhost, binding_of(vhost, call))


def binding_of(vhost: VirtualHost, call: Call) -> Binding:
    """Return the binding that the path names; raise `NotThere` if there is none."""
    asked = call.names["properties"]
    for binding in bindings_between(vhost, *ends_of(vhost, call)):
        if asked in (properties_key(binding), binding.routing_key if not binding.arguments else None):
            return binding
    raise NotThere("there is no such binding between the two")


_BETWEEN_QUEUE = "/bindings/{vhost}/e/{exchange}/q/{queue}"
_BETWEEN_EXCHANGES = "/bindings/{vhost}/e/{exchange}/e/{destination}"

ROUTES = (
    ApiRoute("GET", "/exchanges", Needs.LOGIN, list_exchanges, "List the exchanges of all virtual hosts"),
    ApiRoute("GET", "/exchanges/{vhost}", Needs.VISIBLE, list_exchanges, "List the exchanges of a virtual host"),
    ApiRoute("GET", "/exchanges/{vhost}/{exchange}", Needs.VISIBLE, get_exchange, "Show an exchange"),
    ApiRoute(
        "GET",
        "/exchanges/{vhost}/{exchange}/bindings/source",
        Needs.VISIBLE,
        list_bindings_from,
        "List the bindings that begin at an exchange",
    ),
    ApiRoute(
        "GET",
        "/exchanges/{vhost}/{exchange}/bindings/destination",
        Needs.VISIBLE,
        list_bindings_to,
        "List the bindings that end at an exchange",
    ),
    ApiRoute("GET", "/bindings", Needs.LOGIN, list_bindings, "List the bindings of all virtual hosts"),
    ApiRoute("GET", "/bindings/{vhost}", Needs.VISIBLE, list_bindings, "List the bindings of a virtual host"),
    ApiRoute(
        "GET",
        "/queues/{vhost}/{queue}/bindings",
        Needs.VISIBLE,
        list_bindings_of_queue,
        "List the bindings of a queue",
    ),
    ApiRoute(
        "GET", _BETWEEN_QUEUE, Needs.VISIBLE, list_bindings_between, "List the bindings of a queue to an exchange"
    ),
    ApiRoute("GET", f"{_BETWEEN_QUEUE}/{{properties}}", Needs.VISIBLE, get_binding, "Show a binding of a queue"),
    ApiRoute(
        "GET", _BETWEEN_EXCHANGES, Needs.VISIBLE, list_bindings_between, "List the bindings between two exchanges"
    ),
    ApiRoute(
        "GET", f"{_BETWEEN_EXCHANGES}/{{properties}}", Needs.VISIBLE, get_binding, "Show a binding between exchanges"
    ),
)
