"""Where is my message: found by its id, or by an identifier that its publisher gave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.given import moment
from broker.cli.failure import EX_FOUND, EX_OK
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_AT_ONCE: Final = 20_000
"""Stored messages that one request looks at."""
_USUAL: Final = ("id", "queue", "state", "came_ms", "deliveries", "held_by", "way")


@command(
    "find_message",
    "message find",
    "messages find",
    example=(
        "brokerctl message find order-17",
        "brokerctl message find --id 137438953472 --json",
        "brokerctl message find --correlation-id 4711 --most 1000000 --since 1767225600000",
    ),
    of_vhost=True,
)
@click.argument("message_id", required=False)
@click.option("--id", "number", help="by the id that lists of messages tell")
@click.option("--correlation-id", help="by the property correlation_id")
@click.option(
    "--since",
    type=moment,
    metavar="TIME",
    help="only what came into its queue since then: milliseconds since 1970, or a time of ISO 8601",
)
@click.option(
    "--most", type=click.IntRange(1), default=100_000, show_default=True, help="look at so many stored messages"
)
@click.option("--before", metavar="ID", help="go on below this id, as the last run has told it")
def find(
    session: CommandSession,
    message_id: str | None,
    number: str | None,
    correlation_id: str | None,
    since: int | None,
    most: int,
    before: str | None,
) -> int:
    """Tell in which queue a message is, who holds it, and where it has died before. Exit code 1 when there is none."""
    wanted = {"message_id": message_id, "id": number, "correlation_id": correlation_id}
    given = {name: value for name, value in wanted.items() if value}
    if len(given) != 1:
        raise click.UsageError("say one message_id, or --id, or --correlation-id")
    if since is not None:
        given["since"] = str(since)
    found: dict[str, Any] = {"items": [], "looked_at": 0, "next": before, "memory_is_complete": True}
    while True:
        query = {**given, "limit": str(min(_AT_ONCE, most - found["looked_at"]))}
        if found["next"] is not None:
            query["before"] = str(found["next"])
        page = session.send(
            "GET", f"/broker/find/{escaped(session.vhost)}", what=f"virtual host '{session.vhost}'", **query
        )
        found["items"] += page["items"]
        found["looked_at"] += page["looked_at"]
        found["next"] = page["next"]
        found["memory_is_complete"] &= page["memory_is_complete"]
        if page["next"] is None or found["looked_at"] >= most:
            break
    _tell(session, found)
    return EX_OK if found["items"] else EX_FOUND


def _tell(session: CommandSession, found: Mapping[str, Any]) -> None:
    if session.is_json:
        session.show_json(found)
        return
    session.show_rows([_row(each) for each in found["items"]], _USUAL)
    more = f", more below --before {found['next']}" if found["next"] is not None else ""
    memory = "" if found["memory_is_complete"] else "; not all that is in memory was looked at"
    session.say(f"{len(found['items'])} found, {found['looked_at']} stored messages looked at{more}{memory}")


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with who holds it and its way in one line."""
    holder = found.get("held_by", {})
    deaths = [f"{each.get('queue')} ({each.get('reason')} {each.get('count', 1)}x)" for each in found["deaths"]]
    held = f"{holder.get('name', '')} {holder.get('consumer_tag', '')}".strip()
    return {**found, "held_by": held, "way": " > ".join([*deaths, found["queue"]])}


COMMANDS: Final = (find,)
