"""Exchanges: listed, declared, deleted."""

from __future__ import annotations

from typing import Final

import click

from broker.cli.command import command
from broker.cli.commands.given import pairs_of
from broker.cli.session import CommandSession
from broker.cli.ways import escaped


def _place(session: CommandSession, name: str) -> str:
    return f"/exchanges/{escaped(session.vhost)}/{escaped(name or 'amq.default')}"


@command(
    "list_exchanges",
    "exchanges ls",
    "exchange ls",
    "exchanges list",
    example="brokerctl list_exchanges name type durable",
    of_vhost=True,
)
@click.argument("columns", nargs=-1)
def list_exchanges(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List exchanges. Columns are keys of the HTTP API."""
    rows = session.rows(f"/exchanges/{escaped(session.vhost)}", f"virtual host '{session.vhost}'")
    session.show_rows(rows, ("name", "type"), columns, title=f"Listing exchanges for vhost {session.vhost}")


@command(
    "exchange add",
    "exchanges add",
    "exchanges declare",
    "declare_exchange",
    "create_exchange",
    example="brokerctl exchange add logs --type topic",
    of_vhost=True,
)
@click.argument("name")
@click.option("--type", "kind", default="direct", show_default=True, metavar="TYPE", help="direct, topic, fanout, …")
@click.option("--transient", is_flag=True, help="it does not outlive the node")
@click.option("--auto-delete", is_flag=True, help="it is deleted with its last binding")
@click.option("--internal", is_flag=True, help="only other exchanges may publish to it")
@click.option(
    "--argument", "-a", "arguments", multiple=True, metavar="NAME=VALUE", help="an argument, any number of times"
)
def add_exchange(
    session: CommandSession,
    name: str,
    kind: str,
    transient: bool,
    auto_delete: bool,
    internal: bool,
    arguments: tuple[str, ...],
) -> None:
    """Declare an exchange."""
    body = {
        "type": kind,
        "durable": not transient,
        "auto_delete": auto_delete,
        "internal": internal,
        "arguments": pairs_of(arguments, "--argument"),
    }
    session.send("PUT", _place(session, name), body, what=f"virtual host '{session.vhost}'")
    session.say(f"exchange {name!r} declared")


@command(
    "exchange rm",
    "exchanges rm",
    "exchanges delete",
    "delete_exchange",
    example="brokerctl exchange rm events --yes",
    of_vhost=True,
    completes={"name": "exchanges"},
)
@click.argument("name")
@click.option("--if-unused", is_flag=True, help="only if nothing is bound to it")
def delete_exchange(session: CommandSession, name: str, if_unused: bool) -> None:
    """Delete an exchange with its bindings."""
    session.confirm(f"delete the exchange {name!r} with its bindings", name)
    query = {"if-unused": "true"} if if_unused else {}
    session.send("DELETE", _place(session, name), what=f"exchange '{name}' in vhost '{session.vhost}'", **query)
    session.say(f"exchange {name!r} deleted")


COMMANDS: Final = (list_exchanges, add_exchange, delete_exchange)
