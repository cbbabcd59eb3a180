"""Connections of clients, their channels and their consumers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.consumer import Consumer
from broker.management.figures.connections import channel_figures, channel_name, connection_figures
from broker.management.figures.merging import Elsewhere
from broker.management.figures.pages import kind_of_channel, kind_of_channels, kind_of_connection
from broker.management.figures.queues import channel_with_consumers, consumer_figures
from broker.management.http.access import Needs, vhost_of, visible_here
from broker.management.http.call import NO_CONTENT, Call, HttpRefusal, NotAuthorised, NotThere, empty
from broker.management.http.elsewhere import SILENT, partly
from broker.management.http.listing import Row, listed
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.management.http.samples import spans_of
from broker.management.operated import CLOSE_CONNECTIONS
from broker.management.operations import close
from broker.management.operations import name_of as name_of_connection


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
        return name_of_connection(each) if isinstance(each, Connection) else str(each.get("name"))

    every: list[Connection | Row] = [*found, *rows]
    return partly(await listed(node, call, every, row, name_of=name_of), elsewhere)


def _may_see(call: Call, row: Row) -> bool:
    """May the caller see a connection or channel of another node?"""
    return call.caller.is_monitor or row.get("user") == call.caller.name


def _require_seen(call: Call, user: object) -> None:
    """Raise `NotAuthorised` unless the caller may see a connection or channel of this user."""
    if not call.caller.is_monitor and user != call.caller.name:
        raise NotAuthorised("User not authorised to access object")


async def _elsewhere(node: ManagedNode, call: Call, kind: str, phrase: str) -> Row:
    """Return what another node tells of what the path names, if the caller may see it. Raises `NotThere`, and
    `HttpRefusal` 503 if a node does not answer that may have it.
    """
    found = await node.view.others.read(kind)
    row = next(iter(found.all_rows), None)
    if row is None:
        if found.silent:
            raise _unanswered(found.silent, f"{phrase} may be there")
        raise NotThere(f"there is no {phrase}")
    _require_seen(call, row.get("user"))
    return row


def _unanswered(silent: Sequence[str], what: str) -> HttpRefusal:
    """Return the answer where nodes have not answered without which it cannot be."""
    nodes = f"node {silent[0]} does" if len(silent) == 1 else f"nodes {', '.join(silent)} do"
    reason = f"{nodes} not answer, and {what}: try again later"
    return HttpRefusal(503, "service_unavailable", reason, {SILENT: ",".join(silent)})


def _connection_here(node: ManagedNode, call: Call) -> Connection | None:
    """Return the connection that the path names, if it is on this node. Raises `NotAuthorised`."""
    found = next(iter(node.view.connections_named(call.names["connection"])), None)
    if found is not None:
        _require_seen(call, found.user)
    return found


async def _connection_elsewhere(node: ManagedNode, call: Call) -> Row:
    """Return the connection that the path names and that is not on this node."""
    name = call.names["connection"]
    return await _elsewhere(node, call, kind_of_connection(name, spans_of(call.query)), f"connection '{name}'")


async def get_connection(node: ManagedNode, call: Call) -> Any:
    here = _connection_here(node, call)
    if here is None:
        return await _connection_elsewhere(node, call)
    return connection_figures(node.view, here, spans_of(call.query))


async def close_connection(node: ManagedNode, call: Call) -> Any:
    here = _connection_here(node, call)
    row = {} if here is not None else await _connection_elsewhere(node, call)
    _require_owner(call, row.get("user") if here is None else here.user)
    if here is not None:
        close(here, _reason(call), call.caller.name)
        return empty(NO_CONTENT)
    name, place = call.names["connection"], str(row["node"])
    given = {"name": name, "reason": _reason(call), "by": call.caller.name}
    operated = await node.view.operated.operate(CLOSE_CONNECTIONS, given, place)
    if operated.silent:
        raise _unanswered(operated.silent, f"connection '{name}' is there")
    return empty(NO_CONTENT)


async def close_connections_of_user(node: ManagedNode, call: Call) -> Any:
    user = call.names["user"]
    for connection in node.connections:
        if connection.user == user:
            close(connection, _reason(call), call.caller.name)
    given = {"user": user, "reason": _reason(call), "by": call.caller.name}
    operated = await node.view.operated.operate(CLOSE_CONNECTIONS, given)
    if operated.silent:
        raise _unanswered(operated.silent, f"user '{user}' may be connected there; elsewhere no connection is left")
    return empty(NO_CONTENT)


def _require_owner(call: Call, user: object) -> None:
    if not call.caller.is_administrator and user != call.caller.name:
        raise NotAuthorised("User not authorised to access object")


def _reason(call: Call) -> str:
    """Return the reason that a client is told."""
    return call.headers.get("x-reason") or "Closed via management plugin"


async def list_channels(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call).name if "vhost" in call.names else None
    connections, elsewhere = await _holders(node, call)
    found = [
        (connection, channel)
        for connection in connections
        if vhost in (None, connection.vhost)
        for _, channel in sorted(connection.channels.items())
    ]

    spans = spans_of(call.query)
    rows = [row for row in elsewhere.all_rows if _may_see(call, row) and vhost in (None, row.get("vhost"))]

    def row(place: tuple[Connection, Channel] | Row) -> Row:
        return channel_figures(node.view, *place, spans) if isinstance(place, tuple) else place

    def name_of(place: tuple[Connection, Channel] | Row) -> str:
        return channel_name(*place) if isinstance(place, tuple) else str(place.get("name"))

    every: list[tuple[Connection, Channel] | Row] = [*found, *rows]
    return partly(await listed(node, call, every, row, name_of=name_of), elsewhere)


async def _holders(node: ManagedNode, call: Call) -> tuple[Sequence[Connection], Elsewhere]:
    """Return the connections of this node whose channels are asked for, and the channels that other nodes have."""
    if "connection" not in call.names:
        return _seen(node, call), await node.view.others.read("channels")
    here = _connection_here(node, call)
    if here is not None:
        return [here], Elsewhere()
    row = await _connection_elsewhere(node, call)
    return (), await node.view.others.read(kind_of_channels(call.names["connection"]), row["node"])


async def get_channel(node: ManagedNode, call: Call) -> Any:
    name, spans = call.names["channel"], spans_of(call.query)
    for connection, channel in node.view.channels():
        if channel_name(connection, channel) == name:
            _require_seen(call, connection.user)
            return channel_with_consumers(node.view, connection, channel, spans)
    return await _elsewhere(node, call, kind_of_channel(name, spans), f"channel '{name}'")


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
