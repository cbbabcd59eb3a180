"""Who is connected: connections, channels, consumers."""

from __future__ import annotations

from typing import Final

import click

from broker.cli.command import command
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_CONNECTION: Final = {"pid": "name"}
_CHANNEL: Final = {"pid": "name", "connection": "connection_details.name"}
_CONSUMER: Final = {"queue_name": "queue.name", "channel_pid": "channel_details.name", "vhost": "queue.vhost"}
_CONSUMERS: Final = (
    "queue_name",
    "channel_pid",
    "consumer_tag",
    "ack_required",
    "prefetch_count",
    "active",
    "arguments",
)


@command(
    "list_connections",
    "connections ls",
    "connections list",
    example="brokerctl list_connections name user state channels",
)
@click.argument("columns", nargs=-1)
def list_connections(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List the connections of clients to this node."""
    rows = session.rows("/connections")
    session.show_rows(
        rows, ("user", "peer_host", "peer_port", "state"), columns, _CONNECTION, title="Listing connections"
    )


@command(
    "list_channels",
    "channels ls",
    "channels list",
    example="brokerctl list_channels name user prefetch_count",
)
@click.argument("columns", nargs=-1)
def list_channels(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List the channels of clients to this node."""
    usual = ("pid", "user", "consumer_count", "messages_unacknowledged")
    session.show_rows(session.rows("/channels"), usual, columns, _CHANNEL, title="Listing channels")


@command(
    "list_consumers",
    "consumers ls",
    "consumers list",
    example="brokerctl list_consumers",
    of_vhost=True,
)
@click.argument("columns", nargs=-1)
def list_consumers(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List the consumers of a virtual host on this node."""
    rows = session.rows(f"/consumers/{escaped(session.vhost)}", f"virtual host '{session.vhost}'")
    session.show_rows(rows, _CONSUMERS, columns, _CONSUMER, title=f"Listing consumers in vhost {session.vhost}")


@command(
    "close_connection",
    "connections close",
    "connections rm",
    "close connection",
    example="brokerctl close_connection '127.0.0.1:50000 -> 127.0.0.1:5672' 'maintenance' --yes",
    completes={"name": "connections"},
)
@click.argument("name")
@click.argument("reason", default="closed by an operator")
def close_connection(session: CommandSession, name: str, reason: str) -> None:
    """Close a connection, whose name list_connections name tells. Its client is told the reason."""
    session.confirm(f"close the connection {name!r}")
    status, value = session.ask("DELETE", f"/connections/{escaped(name)}", headers={"x-reason": reason})
    if status >= 400:
        raise session.refused(status, value, f"connection '{name}'")
    session.say(f"connection {name!r} closed")


@command(
    "close_all_connections",
    "close_all_user_connections",
    "connections close-all",
    example="brokerctl close_all_user_connections guest --yes",
)
@click.argument("user")
def close_connections(session: CommandSession, user: str) -> None:
    """Close all connections of a user to this node."""
    session.confirm(f"close all connections of {user!r}")
    session.send("DELETE", f"/connections/username/{escaped(user)}", what=f"user '{user}'")
    session.say(f"the connections of {user!r} are closed")


COMMANDS: Final = (list_connections, list_channels, list_consumers, close_connection, close_connections)
