"""Who is connected: connections, channels, consumers."""

from __future__ import annotations

from typing import Final

import click

from broker.cli.command import command
from broker.cli.duration import duration_in
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_REASON: Final = "closed by an operator"
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
    """List the connections of clients, to all nodes."""
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
    """List the channels of clients, on all nodes."""
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
    """List the consumers of a virtual host, on all nodes."""
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
@click.argument("reason", default=_REASON)
def close_connection(session: CommandSession, name: str, reason: str) -> None:
    """Close a connection, whose name list_connections name tells, on whatever node. Its client is told the reason."""
    session.confirm(f"close the connection {name!r}")
    status, value = session.ask("DELETE", f"/connections/{escaped(name)}", headers={"x-reason": reason})
    if status >= 400:
        raise session.refused(status, value, f"connection '{name}'")
    session.say(f"connection {name!r} closed")


@command(
    "close_all_user_connections",
    "connections close-all",
    example="brokerctl close_all_user_connections guest 'maintenance' --yes",
)
@click.argument("user")
@click.argument("reason", default=_REASON)
def close_connections_of_user(session: CommandSession, user: str, reason: str) -> None:
    """Close all connections of a user, to all nodes. Their clients are told the reason."""
    session.confirm(f"close all connections of {user!r}")
    path = f"/connections/username/{escaped(user)}"
    status, value = session.ask("DELETE", path, headers={"x-reason": reason}, what=f"user '{user}'")
    if status >= 400:
        raise session.refused(status, value, f"user '{user}'")
    session.say(f"the connections of {user!r} are closed")


@command(
    "close_all_connections",
    example=(
        "brokerctl close_all_connections 'maintenance' --yes",
        "brokerctl close_all_connections 'maintenance' --global --limit 100 --per-connection-delay 50 --yes",
    ),
    of_vhost=True,
)
@click.argument("reason")
@click.option("--global", "of_all", is_flag=True, help="those of all virtual hosts")
@click.option("--limit", type=click.IntRange(0), default=0, help="so many at most; 0 for all")
@click.option("--per-connection-delay", "delay", type=duration_in("ms"), default=0, help="milliseconds between two")
def close_connections(session: CommandSession, reason: str, of_all: bool, limit: int, delay: float) -> None:
    """Close the connections of a virtual host, to all nodes. Their clients are told the reason."""
    where = "of all virtual hosts" if of_all else f"of virtual host '{session.vhost}'"
    if not of_all:
        session.send("GET", f"/vhosts/{escaped(session.vhost)}", what=f"virtual host '{session.vhost}'")
    rows = session.rows("/connections")
    names = [row["name"] for row in rows if of_all or row.get("vhost") == session.vhost]
    names = names[: limit or None]
    session.confirm(f"close {len(names)} connections {where}")
    if session.is_dry_run:
        session.tell_dry_run(f"close {len(names)} connections {where}")
        return
    closed = 0
    for number, name in enumerate(names):
        if number and delay:
            session.shell.sleep(delay / 1000)
        status, value = session.ask("DELETE", f"/connections/{escaped(name)}", headers={"x-reason": reason})
        if status >= 400 and status != 404:  # one that has gone meanwhile is closed
            raise session.refused(status, value, f"connection '{name}'")
        closed += status < 400
    session.say(f"{closed} connections {where} are closed")


COMMANDS: Final = (
    list_connections,
    list_channels,
    list_consumers,
    close_connection,
    close_connections_of_user,
    close_connections,
)
