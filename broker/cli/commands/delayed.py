"""Delayed messages: what waits for its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.given import moment
from broker.cli.duration import duration_in
from broker.cli.failure import EX_OK, EX_PARTIAL
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_MOST: Final = 1000
"""Messages of one request."""
_USUAL: Final = ("id", "due_ms", "overdue", "exchange", "routing_key", "queue", "message_id", "payload_bytes")


def _place(session: CommandSession) -> str:
    return f"/broker/delayed/{escaped(session.vhost)}"


def _what(session: CommandSession) -> str:
    return f"virtual host '{session.vhost}'"


def _chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option("--message-id", help="those with this message_id, which their publisher chose")(function)
    return click.argument("ids", nargs=-1, type=int, metavar="[ID]...")(function)


def _arguments(ids: tuple[int, ...], message_id: str | None) -> dict[str, Any]:
    if bool(ids) is (message_id is not None):
        raise click.UsageError("name delayed messages by their ids, as delayed ls tells them, or say --message-id")
    return {"ids": list(ids)} if ids else {"message_id": message_id}


def _would(session: CommandSession, action: str, told: dict[str, Any]) -> int:
    """Say what would be done with which messages, and which do not wait any more."""
    found = {each: _waiting(session, each) for each in told["ids"]} if "ids" in told else _named(session, told)
    missing = [f"{each}: no such message waits" for each, there in found.items() if not there]
    if not found:
        missing = [f"no message with the message_id {told['message_id']!r} waits"]
    return session.tell_dry_run(f"{action} {sum(found.values())} delayed messages", missing)


def _waiting(session: CommandSession, number: int) -> bool:
    query = {"id": str(number)}
    page = session.send("GET", f"/broker/find/{escaped(session.vhost)}", what=_what(session), **query)
    return any(each["state"] == "delayed" for each in page["items"])


def _named(session: CommandSession, told: dict[str, Any]) -> dict[int, bool]:
    query = {"message_id": told["message_id"], "limit": str(_MOST)}
    found: dict[int, bool] = {}
    while True:
        page = session.send("GET", _place(session), what=_what(session), **query)
        found |= {each["id"]: True for each in page["items"]}
        if not page["next"]:
            return found
        query["after"] = page["next"]


def _report(session: CommandSession, found: dict[str, Any], done: str) -> int:
    """Say how many are done, and what has become of the others."""
    if session.is_json:
        session.show_json(found)
    else:
        session.say(f"{found['done']} {done}" + (f", {found['left']} left" if found["left"] else ""))
        for each in found["results"]:
            new = f", now {each['new_id']}" if "new_id" in each else ""
            session.say(f"{each['id']}: {each['outcome']}{new}")
    return EX_OK if found["done"] and not found["left"] else EX_PARTIAL


@command("delayed count", "count_delayed", example="brokerctl delayed count")
def count(session: CommandSession) -> None:
    """Count the messages that wait for their time, in each virtual host."""
    session.show_rows(session.rows("/broker/delayed"), ("vhost", "messages"))


@command(
    "delayed ls",
    "list_delayed",
    "delayed list",
    example=("brokerctl delayed ls --limit 10", "brokerctl delayed ls --message-id order-17 --json"),
    of_vhost=True,
)
@click.option("--exchange", help="only those that were published to this exchange")
@click.option("--routing-key", help="only those with this routing key")
@click.option("--message-id", help="only those with this message_id")
@click.option(
    "--until",
    type=moment,
    metavar="TIME",
    help="only those that are due by then: milliseconds since 1970, or a time of ISO 8601",
)
@click.option("--after", metavar="PLACE", help="those behind this place, as the page before has told it")
@click.option("--limit", type=click.IntRange(1, _MOST), default=100, show_default=True, help="how many")
def list_delayed(session: CommandSession, limit: int, **given: Any) -> None:
    """List messages that wait for their time, those that are due first first."""
    query = {name: str(value) for name, value in given.items() if value is not None}
    found = session.send("GET", _place(session), what=_what(session), **query, limit=str(limit))
    if session.is_json:
        session.show_json(found)
        return
    session.show_rows(found["items"], _USUAL)
    if found["next"]:
        session.say(f"more behind --after {found['next']}")


@command(
    "delayed cancel",
    "cancel_delayed",
    "delayed rm",
    example=("brokerctl delayed cancel 1234567890 --yes", "brokerctl delayed cancel --message-id order-17 --yes"),
    of_vhost=True,
)
@_chosen
def cancel(session: CommandSession, ids: tuple[int, ...], message_id: str | None) -> int:
    """Delete messages before their time. Exit code 3 when one had gone on already, or is not there."""
    told = _arguments(ids, message_id)
    session.confirm(f"delete {f'{len(ids)} delayed messages' if ids else f'delayed messages {message_id!r}'}")
    if session.is_dry_run:
        return _would(session, "delete", told)
    found = session.send("POST", f"{_place(session)}/cancel", told, what=_what(session))
    return _report(session, found, "cancelled")


@command(
    "delayed move",
    "move_delayed",
    example=(
        "brokerctl delayed move 1234567890 --delay 1m30s",
        "brokerctl delayed move --message-id order-17 --at 2030-01-01T08:00:00+01:00",
        "brokerctl delayed move 1234567890 --delay 0",
    ),
    of_vhost=True,
)
@_chosen
@click.option(
    "--delay",
    type=duration_in("ms"),
    metavar="DURATION",
    help="so many milliseconds from now, or 30s, 5m, 2h; 0 for at once",
)
@click.option("--at", "due", type=moment, metavar="TIME", help="milliseconds since 1970, or a time of ISO 8601")
def move(
    session: CommandSession, ids: tuple[int, ...], message_id: str | None, delay: int | None, due: int | None
) -> int:
    """Let messages go on at another time, or now. They have new ids then."""
    if (delay is None) is (due is None):
        raise click.UsageError("say --delay or --at")
    told = {**_arguments(ids, message_id), **({"delay": delay} if due is None else {"deliver_at": due})}
    if session.is_dry_run:
        return _would(session, "move", told)
    found = session.send("POST", f"{_place(session)}/move", told, what=_what(session))
    return _report(session, found, "moved")


COMMANDS: Final = (count, list_delayed, cancel, move)
