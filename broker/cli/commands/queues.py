"""Queues: listed, declared, deleted, purged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.given import pairs_of
from broker.cli.commands.missing import warn_of_missing
from broker.cli.failure import EX_DATAERR, CommandFailure
from broker.cli.output import shown
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_TYPE: Final = "x-queue-type"
_KEPT: Final = "x-message-ttl-kept"
"""Declarations need not name it."""
PATHS: Final = {"pid": "name", "owner_pid": "owner_pid_details.name"}
USUAL: Final = ("name", "messages")


def place(session: CommandSession, name: str) -> str:
    """Return the path of a queue."""
    return f"/queues/{escaped(session.vhost)}/{escaped(name)}"


def require_no_stream(session: CommandSession, name: str) -> None:
    """Raise `CommandFailure` for a stream: its messages do not lie there for anybody to take."""
    status, found = session.ask("GET", place(session, name))
    if status == 200 and found.get("type") == "stream":
        raise CommandFailure(EX_DATAERR, f"queue '{name}' is a stream: brokerctl sub {name} --offset first reads it")


@command(
    "list_queues",
    "queues ls",
    "queue ls",
    "queues list",
    example=("brokerctl list_queues name messages consumers", "brokerctl queues ls --sort messages --reverse --json"),
    of_vhost=True,
)
@click.argument("columns", nargs=-1)
@click.option("--all-vhosts", is_flag=True, help="those of all virtual hosts")
@click.option("--local", is_flag=True, hidden=True)
@click.option("--online", is_flag=True, hidden=True)
@click.option("--offline", is_flag=True, hidden=True)
def list_queues(
    session: CommandSession,
    columns: tuple[str, ...],
    all_vhosts: bool,
    local: bool,
    online: bool,
    offline: bool,
) -> None:
    """List queues. Columns are keys of the HTTP API, such as messages_ready, consumers, memory, policy."""
    usual = ("vhost", *USUAL) if all_vhosts else USUAL
    path = "/queues" if all_vhosts else f"/queues/{escaped(session.vhost)}"
    rows = [] if offline else session.rows(path, f"virtual host '{session.vhost}'")
    timeout = f"Timeout: {session.wanted.timeout or 60.0:.1f} seconds ..."
    session.show_rows(rows, usual, columns, PATHS, title=f"{timeout}\nListing queues for vhost {session.vhost}")


@command(
    "queue show",
    "queues show",
    example="brokerctl queue show orders",
    of_vhost=True,
    completes={"name": "queues"},
)
@click.argument("name")
def show_queue(session: CommandSession, name: str) -> None:
    """Show all that is known of a queue."""
    found = session.send("GET", place(session, name), what=f"queue '{name}' in vhost '{session.vhost}'")
    session.show(found, ((key, value) for key, value in sorted(found.items())))


@command(
    "queue add",
    "queues add",
    "queues declare",
    "declare_queue",
    "create_queue",
    example=(
        "brokerctl queue add invoices --argument x-max-length=1000",
        "brokerctl queue add audit --type quorum",
    ),
    of_vhost=True,
)
@click.argument("name")
@click.option("--type", "queue_type", type=click.Choice(("classic", "quorum", "stream")), help="its x-queue-type")
@click.option("--transient", is_flag=True, help="it does not outlive the node")
@click.option("--durable", is_flag=True, help="it outlives the node: that is so anyhow")
@click.option("--auto-delete", is_flag=True, help="it is deleted with its last consumer")
@click.option(
    "--argument", "-a", "arguments", multiple=True, metavar="NAME=VALUE", help="an argument, any number of times"
)
def add_queue(
    session: CommandSession,
    name: str,
    queue_type: str | None,
    transient: bool,
    durable: bool,
    auto_delete: bool,
    arguments: tuple[str, ...],
) -> None:
    """Declare a queue."""
    if transient and durable:
        raise click.UsageError("--transient and --durable exclude each other")
    given = pairs_of(arguments, "--argument")
    if queue_type:
        given["x-queue-type"] = queue_type
    body = {"durable": not transient, "auto_delete": auto_delete, "arguments": given}
    before = _arguments_of(session, name)
    where = f"virtual host '{session.vhost}'"
    status, value = session.ask("PUT", place(session, name), body, what=where)
    if status >= 400:
        raise session.refused(status, value, where)
    done = "declared" if status == 201 else _difference(given, before, _arguments_of(session, name))
    session.say(f"queue {name!r} {done}")
    warn_of_missing(session, given, "x-dead-letter-exchange")


def _arguments_of(session: CommandSession, name: str) -> dict[str, Any]:
    """Return the arguments that a queue has, with its type; none if there is no such queue."""
    status, found = session.ask("GET", place(session, name))
    return {_TYPE: found["type"], **found["arguments"]} if status == 200 else {}


def _difference(given: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what has become of a queue that was there: its virtual host may adopt or upgrade what differs
    (`redeclaration`).
    """
    names = sorted({*before, *after})
    if changed := [name for name in names if before.get(name) != after.get(name)]:
        told = (f"{name} is now {shown(after[name])}" if name in after else f"{name} is gone" for name in changed)
        return f"was there, and is changed by its virtual host's redeclaration: {', '.join(told)}"
    wanted = {_TYPE: after[_TYPE], **given} if after else dict(given)
    if other := [name for name in sorted({*wanted, *after} - {_KEPT}) if wanted.get(name) != after.get(name)]:
        told = (f"{name} is {shown(after[name])}" if name in after else f"it has no {name}" for name in other)
        return f"is there already, and stays as it is: {', '.join(told)}. brokerctl queue alter changes it"
    return "is there already, as it was asked for"


@command(
    "delete_queue",
    "queue rm",
    "queues rm",
    "queues delete",
    example=("brokerctl delete_queue orders --if-unused --yes", "brokerctl queue rm orders --yes"),
    of_vhost=True,
    completes={"name": "queues"},
)
@click.argument("name")
@click.option("--if-empty", "-e", is_flag=True, help="only if it has no messages")
@click.option("--if-unused", is_flag=True, help="only if nobody consumes it")
def delete_queue(session: CommandSession, name: str, if_empty: bool, if_unused: bool) -> None:
    """Delete a queue with its messages."""
    session.confirm(f"delete the queue {name!r} with its messages", name)
    query = {option: "true" for option, is_on in (("if-empty", if_empty), ("if-unused", if_unused)) if is_on}
    session.send("DELETE", place(session, name), what=f"queue '{name}' in vhost '{session.vhost}'", **query)
    session.say(f"queue {name!r} deleted")


@command(
    "purge_queue",
    "queue purge",
    "queues purge",
    example="brokerctl purge_queue orders --yes",
    of_vhost=True,
    completes={"name": "queues"},
)
@click.argument("name")
def purge_queue(session: CommandSession, name: str) -> None:
    """Delete all messages of a queue that nobody holds."""
    session.confirm(f"delete all messages of the queue {name!r}", name)
    session.send("DELETE", f"{place(session, name)}/contents", what=f"queue '{name}' in vhost '{session.vhost}'")
    session.say(f"queue {name!r} purged")


@command(
    "alter_queue",
    "queue alter",
    "queues alter",
    example=(
        "brokerctl queue alter orders --argument x-max-length=1000 --remove x-message-ttl",
        "brokerctl queue alter orders --argument x-message-ttl=60000 --keep-ttl",
        "brokerctl alter_queue orders --type quorum",
    ),
    of_vhost=True,
)
@click.argument("name")
@click.option("--type", "queue_type", type=click.Choice(("classic", "quorum")), help="its x-queue-type")
@click.option("--argument", "-a", "arguments", multiple=True, metavar="NAME=VALUE", help="an argument that it gets")
@click.option("--remove", multiple=True, metavar="NAME", help="an argument that is taken away")
@click.option(
    "--keep-ttl", is_flag=True, help="messages that are there keep their time to live, and do not get the new one"
)
def alter_queue(
    session: CommandSession,
    name: str,
    queue_type: str | None,
    arguments: tuple[str, ...],
    remove: tuple[str, ...],
    keep_ttl: bool,
) -> None:
    """Change arguments or the type of a queue; its messages and consumers stay."""
    given = {**pairs_of(arguments, "--argument"), **dict.fromkeys(remove)}
    if len(given) < len(pairs_of(arguments, "--argument")) + len(set(remove)):
        twice = next(name for name in remove if name in pairs_of(arguments, "--argument"))
        raise click.UsageError(f"'{twice}' cannot be given and taken away at once: leave out --argument or --remove")
    if queue_type:
        given["x-queue-type"] = queue_type
    if not given:
        raise click.UsageError("say what is to change: --argument, --remove or --type")
    path = f"/broker{place(session, name)}/alter"
    changes: dict[str, Any] = {"arguments": given, "times_to_live": "kept" if keep_ttl else "recomputed"}
    is_dry_run, session.is_dry_run = session.is_dry_run, False  # the node judges it, and changes nothing
    if is_dry_run:
        changes["dry_run"] = True
    answer = session.send("POST", path, changes, what=f"queue '{name}' in vhost '{session.vhost}'")
    if is_dry_run:
        session.say(f"queue {name!r} would have the arguments {shown(answer['arguments'])}")
    else:
        session.say(f"queue {name!r} altered")
    for warning in (answer or {}).get("warnings", ()):
        click.echo(f"Warning: {warning}", err=True)


COMMANDS: Final = (list_queues, show_queue, add_queue, alter_queue, delete_queue, purge_queue)
