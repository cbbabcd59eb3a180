"""Virtual hosts and their limits."""

from __future__ import annotations

from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.given import json_of
from broker.cli.session import CommandSession
from broker.cli.ways import escaped


@command("list_vhosts", "vhosts ls", "vhost ls", "vhosts list", example="brokerctl list_vhosts name messages")
@click.argument("columns", nargs=-1)
def list_vhosts(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List virtual hosts. Columns are keys of the HTTP API."""
    session.show_rows(session.rows("/vhosts"), ("name",), columns, title="Listing vhosts")


@command(
    "add_vhost",
    "vhosts add",
    "vhost add",
    "vhosts declare",
    example="brokerctl add_vhost payments --description 'of the shop'",
)
@click.argument("name")
@click.option("--description", help="a text")
@click.option("--tags", help="words with commas between them")
@click.option(
    "--default-queue-type", type=click.Choice(("classic", "quorum", "stream")), help="of queues that say none"
)
def add_vhost(
    session: CommandSession, name: str, description: str | None, tags: str | None, default_queue_type: str | None
) -> None:
    """Create a virtual host, or change what is set of it."""
    given = {"description": description, "tags": tags, "default_queue_type": default_queue_type}
    body: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    session.send("PUT", f"/vhosts/{escaped(name)}", body, what=f"virtual host '{name}'")
    session.say(f"virtual host {name!r} is there")


@command(
    "delete_vhost",
    "vhosts rm",
    "vhost rm",
    "vhosts delete",
    example="brokerctl delete_vhost old --yes",
    completes={"name": "vhosts"},
)
@click.argument("name")
def delete_vhost(session: CommandSession, name: str) -> None:
    """Delete a virtual host with everything in it."""
    session.confirm(f"delete the virtual host {name!r} with all its queues and messages", name)
    session.send("DELETE", f"/vhosts/{escaped(name)}", what=f"virtual host '{name}'")
    session.say(f"virtual host {name!r} deleted")


@command("list_vhost_limits", "vhosts limits", example="brokerctl list_vhost_limits")
def list_vhost_limits(session: CommandSession) -> None:
    """List the limits of virtual hosts."""
    rows = session.rows("/vhost-limits")
    session.show_rows(rows, ("vhost", "limits"), (), {"limits": "value"}, title="Listing vhost limits")


@command(
    "set_vhost_limits", "vhosts limit", example="brokerctl set_vhost_limits '{\"max-queues\": 100}'", of_vhost=True
)
@click.argument("limits", metavar="JSON")
def set_vhost_limits(session: CommandSession, limits: str) -> None:
    """Limit connections and queues of a virtual host: max-connections, max-queues; -1 for the configured number."""
    given = json_of(limits, "the limits")
    if not isinstance(given, dict):
        raise click.UsageError("limits are an object, such as '{\"max-queues\": 100}'")
    for limit, value in given.items():
        path = f"/vhost-limits/{escaped(session.vhost)}/{escaped(limit)}"
        session.send("PUT", path, {"value": value}, what=f"virtual host '{session.vhost}'")
    session.say(f"limits of {session.vhost!r} set")


@command("clear_vhost_limits", "vhosts unlimit", example="brokerctl clear_vhost_limits", of_vhost=True)
def clear_vhost_limits(session: CommandSession) -> None:
    """Take the limits of a virtual host away."""
    path = f"/vhost-limits/{escaped(session.vhost)}"
    for row in session.rows(path, f"virtual host '{session.vhost}'"):
        for limit in row["value"]:
            session.send("DELETE", f"{path}/{escaped(limit)}")
    session.say(f"limits of {session.vhost!r} cleared")


COMMANDS: Final = (list_vhosts, add_vhost, delete_vhost, list_vhost_limits, set_vhost_limits, clear_vhost_limits)
