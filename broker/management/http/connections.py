"""Connections of clients, their channels and their consumers."""

from __future__ import annotations

from typing import Any, Final

import structlog

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.consumer import Consumer
from broker.management.figures.connections import channel_figures, channel_name, connection_figures
from broker.management.figures.merging import Elsewhere
from broker.management.figures.queues import consumer_figures, delivery_figures
from broker.management.http.access import Needs, vhost_of, visible_here
from broker.management.http.call import NO_CONTENT, Call, NotAuthorised, NotThere, empty
from broker.management.http.elsewhere import partly
from broker.management.http.listing import Row, listed
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.management.http.samples import spans_of

_log = structlog.get_logger(__name__)

_TOLD_REASON: Final = 200
"""Characters of the reason for which a connection is closed."""


def _seen(node: ManagedNode, call: Call) -> list[Connection]:
    """Return the connections that the caller may see: a user without the tag monitoring sees own ones."""
    caller = call.caller
    return [each for each in node.connections if caller.is_monitor or each.user == caller.name]


async def list_connections(node: ManagedNode, call: Call) -> Any:
    found = _seen(node, call)
    if "vhost" in call.names:
        vhost = vhost_of(node, call).name
        found = [each for each in found if each.vhost == vhost]
    if "user" in call.names:
        found = [each for each in found if each.user == call.names["user"]]
    spans = spans_of(call.query)
    elsewhere = await node.view.others.read("connections")
    rows = [
        row
        for row in elsewhere.all_rows
        if _may_see(call, row)
        and ("vhost" not in call.names or row.get("vhost") == call.names["vhost"])
        and ("user" not in call.names or row.get("user") == call.names["user"])
    ]

    def row(each: Connection | Row) -> Row:
        return connection_figures(node.view, each, spans) if isinstance(each, Connection) else each

    def name_of(each: Connection | Row) -> str:
        return _name(each) if isinstance(each, Connection) else str(each.get("name"))

    every: list[Connection | Row] = [*found, *rows]
    return partly(await listed(node, call, every, row, name_of=name_of), elsewhere)


def _may_see(call: Call, row: Row) -> bool:
    """May the caller see a connection or channel of another node?"""
    return call.caller.is_monitor or row.get("user") == call.caller.name


def _name(connection: Connection) -> str:
    return connection.handshake.peer.connection_name


def connection_of(node: ManagedNode, call: Call) -> Connection:
    """Return the connection that the path names, if the caller may see it."""
    name = call.names["connection"]
    found = next((each for each in node.connections if _name(each) == name), None)
    if found is None:
        raise NotThere
    if not call.caller.is_monitor and found.user != call.caller.name:
        raise NotAuthorised("User not authorised to access object")
    return found


async def get_connection(node: ManagedNode, call: Call) -> Any:
    return connection_figures(node.view, connection_of(node, call), spans_of(call.query))


async def close_connection(node: ManagedNode, call: Call) -> Any:
    connection = connection_of(node, call)
    _require_owner(call, connection)
    _close(call, connection)
    return empty(NO_CONTENT)


async def close_connections_of_user(node: ManagedNode, call: Call) -> Any:
    user = call.names["user"]
    found = [each for each in node.connections if each.user == user]
    for connection in found:
        _require_owner(call, connection)
    for connection in found:
        _close(call, connection)
    return empty(NO_CONTENT)


def _require_owner(call: Call, connection: Connection) -> None:
    if not call.caller.is_administrator and connection.user != call.caller.name:
        raise NotAuthorised("User not authorised to access object")


def _close(call: Call, connection: Connection) -> None:
    reason = call.headers.get("x-reason") or "Closed via management plugin"
    _log.info("a connection is closed", connection=connection.handshake.peer.address, by=call.caller.name)
    connection.force_close("".join(each for each in reason if each.isprintable())[:_TOLD_REASON])


async def list_channels(node: ManagedNode, call: Call) -> Any:
    connections = [connection_of(node, call)] if "connection" in call.names else _seen(node, call)
    vhost = vhost_of(node, call).name if "vhost" in call.names else None
    found = [
        (connection, channel)
        for connection in connections
        if vhost in (None, connection.vhost)
        for _, channel in sorted(connection.channels.items())
    ]

    spans = spans_of(call.query)

    elsewhere = Elsewhere() if "connection" in call.names else await node.view.others.read("channels")
    rows = [row for row in elsewhere.all_rows if _may_see(call, row) and vhost in (None, row.get("vhost"))]

    def row(place: tuple[Connection, Channel] | Row) -> Row:
        return channel_figures(node.view, *place, spans) if isinstance(place, tuple) else place

    def name_of(place: tuple[Connection, Channel] | Row) -> str:
        return channel_name(*place) if isinstance(place, tuple) else str(place.get("name"))

    every: list[tuple[Connection, Channel] | Row] = [*found, *rows]
    return partly(await listed(node, call, every, row, name_of=name_of), elsewhere)


async def get_channel(node: ManagedNode, call: Call) -> Any:
    name = call.names["channel"]
    for connection, channel in node.view.channels():
        if channel_name(connection, channel) == name:
            if not call.caller.is_monitor and connection.user != call.caller.name:
                raise NotAuthorised("User not authorised to access object")
            places = [(connection, channel, each) for each in channel.consumers.values()]
            return {
                **channel_figures(node.view, connection, channel, spans_of(call.query)),
                "consumer_details": [consumer_figures(node.view, *place) for place in places],
                "deliveries": [delivery_figures(node.view, *place) for place in places],
                "publishes": [],
            }
    raise NotThere


async def list_consumers(node: ManagedNode, call: Call) -> Any:
    vhosts = {vhost.name for vhost in await visible_here(node, call)}
    found = [
        (connection, channel, consumer)
        for connection in node.connections
        if connection.vhost in vhosts
        for _, channel in sorted(connection.channels.items())
        for consumer in channel.consumers.values()
    ]

    elsewhere = await node.view.others.read("consumers")
    rows = [row for row in elsewhere.all_rows if row.get("queue", {}).get("vhost") in vhosts]

    def row(place: tuple[Connection, Channel, Consumer] | Row) -> Row:
        return consumer_figures(node.view, *place) if isinstance(place, tuple) else place

    def name_of(place: tuple[Connection, Channel, Consumer] | Row) -> str:
        return place[2].queue.name if isinstance(place, tuple) else str(place["queue"].get("name"))

    every: list[tuple[Connection, Channel, Consumer] | Row] = [*found, *rows]
    return partly(await listed(node, call, every, row, name_of=name_of), elsewhere)


ROUTES = (
    ApiRoute("GET", "/connections", Needs.LOGIN, list_connections, "List the connections of clients"),
    ApiRoute("GET", "/connections/{connection}", Needs.LOGIN, get_connection, "Show a connection"),
    ApiRoute("DELETE", "/connections/{connection}", Needs.LOGIN, close_connection, "Close a connection"),
    ApiRoute(
        "GET", "/connections/{connection}/channels", Needs.LOGIN, list_channels, "List the channels of a connection"
    ),
    ApiRoute("GET", "/connections/username/{user}", Needs.LOGIN, list_connections, "List the connections of a user"),
    ApiRoute(
        "DELETE",
        "/connections/username/{user}",
        Needs.OWN_USER,
        close_connections_of_user,
        "Close the connections of a user",
    ),
    ApiRoute(
        "GET", "/vhosts/{vhost}/connections", Needs.VISIBLE, list_connections, "List the connections to a virtual host"
    ),
    ApiRoute("GET", "/channels", Needs.LOGIN, list_channels, "List the channels of clients"),
    ApiRoute("GET", "/channels/{channel}", Needs.LOGIN, get_channel, "Show a channel"),
    ApiRoute("GET", "/vhosts/{vhost}/channels", Needs.VISIBLE, list_channels, "List the channels to a virtual host"),
    ApiRoute("GET", "/consumers", Needs.LOGIN, list_consumers, "List the consumers of all virtual hosts"),
    ApiRoute("GET", "/consumers/{vhost}", Needs.VISIBLE, list_consumers, "List the consumers of a virtual host"),
)
