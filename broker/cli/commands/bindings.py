"""Bindings: listed, made, taken away."""

from __future__ import annotations

from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.given import pairs_of
from broker.cli.failure import EX_DATAERR, CommandFailure
from broker.cli.session import CommandSession, NothingToDo
from broker.cli.ways import escaped

_PATHS: Final = {"source_name": "source", "destination_name": "destination", "destination_kind": "destination_type"}
_USUAL: Final = ("source_name", "destination_name", "destination_kind", "routing_key", "arguments")
_ENDS: Final = click.Choice(("queue", "exchange"))


def _place(session: CommandSession, source: str, destination: str, kind: str) -> str:
    ends = f"e/{escaped(source or 'amq.default')}/{kind[0]}/{escaped(destination)}"
    return f"/bindings/{escaped(session.vhost)}/{ends}"


def _missing(session: CommandSession, source: str, destination: str, kind: str) -> str:
    """Return which of what a binding joins is not there."""
    vhost = escaped(session.vhost)
    for each, name in (("exchange", source or "amq.default"), (kind, destination)):
        if session.ask("GET", f"/{each}s/{vhost}/{escaped(name)}")[0] == 404:
            if session.ask("GET", f"/vhosts/{vhost}")[0] == 404:
                break
            return f"{each} '{name}' in vhost '{session.vhost}'"
    return f"virtual host '{session.vhost}'"


@command(
    "list_bindings",
    "bindings ls",
    "bindings list",
    example="brokerctl list_bindings source_name destination_name routing_key",
    of_vhost=True,
)
@click.argument("columns", nargs=-1)
def list_bindings(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List bindings, also those that queues have to the default exchange by themselves."""
    rows = session.rows(f"/bindings/{escaped(session.vhost)}", f"virtual host '{session.vhost}'")
    session.show_rows(rows, _USUAL, columns, _PATHS, title=f"Listing bindings for vhost {session.vhost}")


@command(
    "bind",
    "bindings add",
    "bindings declare",
    "declare_binding",
    example=(
        "brokerctl bind events orders order.created",
        "brokerctl bind amq.headers orders --argument x-match=any -a kind=big",
    ),
    of_vhost=True,
)
@click.argument("source")
@click.argument("destination")
@click.argument("routing_key", default="")
@click.option("--to", "kind", type=_ENDS, default="queue", show_default=True, help="what the destination is")
@click.option(
    "--argument", "-a", "arguments", multiple=True, metavar="NAME=VALUE", help="an argument, any number of times"
)
def bind(
    session: CommandSession, source: str, destination: str, routing_key: str, kind: str, arguments: tuple[str, ...]
) -> None:
    """Bind a queue or an exchange to an exchange."""
    body = {"routing_key": routing_key, "arguments": pairs_of(arguments, "--argument")}
    for end, name in (("exchange", source or "amq.default"), (kind, destination)):
        where = f"/{end}s/{escaped(session.vhost)}/{escaped(name)}"
        session.try_out(where, f"{end} '{name}' in vhost '{session.vhost}'")
    status, value = session.ask("POST", _place(session, source, destination, kind), body)
    if status >= 400:
        raise session.refused(status, value, _missing(session, source, destination, kind) if status == 404 else "")
    session.say(f"{kind} {destination!r} bound to {source!r} by {routing_key!r}")


@command(
    "unbind",
    "bindings rm",
    "bindings delete",
    "delete_binding",
    example="brokerctl unbind events orders order.paid",
    of_vhost=True,
)
@click.argument("source")
@click.argument("destination")
@click.argument("routing_key", default="")
@click.option("--to", "kind", type=_ENDS, default="queue", show_default=True, help="what the destination is")
@click.option(
    "--argument", "-a", "arguments", multiple=True, metavar="NAME=VALUE", help="an argument, any number of times"
)
def unbind(
    session: CommandSession, source: str, destination: str, routing_key: str, kind: str, arguments: tuple[str, ...]
) -> None:
    """Take a binding away: that with just this key and these arguments."""
    given = pairs_of(arguments, "--argument")
    path = _place(session, source, destination, kind)
    status, value = session.ask("GET", path)
    if status >= 400:
        raise session.refused(status, value, _missing(session, source, destination, kind) if status == 404 else "")
    rows: list[dict[str, Any]] = value
    for row in rows:
        if row["routing_key"] == routing_key and row["arguments"] == given:
            session.send("DELETE", f"{path}/{escaped(row['properties_key'])}")
            session.say(f"{kind} {destination!r} is not bound to {source!r} by {routing_key!r} any more")
            return
    if session.is_idempotent:
        raise NothingToDo
    keys = ", ".join(repr(row["routing_key"]) for row in rows) or "nothing"
    raise CommandFailure(
        EX_DATAERR, f"{destination!r} is not bound to {source!r} by {routing_key!r} with such arguments, but by {keys}"
    )


COMMANDS: Final = (list_bindings, bind, unbind)
