"""Dead letters and subscriptions of clients of JMS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.failure import EX_DATAERR, EX_OK, EX_PARTIAL, CommandFailure
from broker.cli.progress import ProgressLine
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_CARBON: Final = "carbon"
_COLUMNS: Final = ("id", "queue", "reason", "exchange", "routing_key", "deaths", "died_at")
_PAGE: Final = 500
"""Dead letters of one request."""


def _letters(session: CommandSession) -> str:
    return f"/broker/dead-letters/{escaped(session.given_vhost or _CARBON)}"


def _subscriptions(session: CommandSession) -> str:
    return f"/broker/subscriptions/{escaped(session.given_vhost or _CARBON)}"


def _what(session: CommandSession) -> str:
    """Name what may be missing; dead letters of other clients are in queues."""
    advice = "dead letters of other clients are in queues, which brokerctl browse and queue redrive take"
    return f"virtual host '{session.given_vhost or _CARBON}' with clients of JMS: {advice}"


def _chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option("--queue", help="only those that died in this queue")(function)
    function = click.option("--all", "all_of_them", is_flag=True, help="all there are")(function)
    return click.argument("ids", nargs=-1, type=int, metavar="[ID]...")(function)


def _arguments(ids: tuple[int, ...], all_of_them: bool, queue: str | None) -> dict[str, Any]:
    if bool(ids) is all_of_them:
        raise click.UsageError("name dead letters by their ids, as dlc ls tells them, or say --all")
    told: dict[str, Any] = {"ids": list(ids)} if ids else {"all": True}
    return told if queue is None else {**told, "queue": queue}


def _do(session: CommandSession, what: str, told: dict[str, Any]) -> dict[str, Any]:
    """Do something with dead letters; of all of them with pages of ids, so that somebody sees how far it is."""
    queue = f"/queues/{escaped(session.given_vhost or _CARBON)}/deadletterchannel"
    status, channel = session.ask("GET", queue) if "all" in told else (0, None)
    if status != 200:  # nothing has died yet, or this is for the request itself to say
        done: dict[str, Any] = session.send("POST", f"{_letters(session)}/{what}", told, what=_what(session))
        return done
    there = (channel or {})["messages"]
    progress = ProgressLine(session, "dead letters", there)
    whole: dict[str, Any] = {"done": 0, "left": 0, "reasons": [], "elsewhere": [], "silent": []}
    after = 0
    while there > 0:  # what dies meanwhile is not pursued
        page = _page(session, after, min(there, _PAGE), told.get("queue"))
        if not page:
            break
        after, there = page[-1]["id"], there - len(page)
        given = {name: value for name, value in told.items() if name != "all"} | {"ids": [row["id"] for row in page]}
        done = session.send("POST", f"{_letters(session)}/{what}", given, what=_what(session))
        whole = done | {name: whole[name] + done[name] for name in ("done", "left", "reasons")}
        progress.advance(len(page))
    progress.end()
    return whole


def _page(session: CommandSession, after: int, limit: int, queue: str | None) -> list[dict[str, Any]]:
    query = {"after": str(after), "limit": str(limit)} | ({"queue": queue} if queue else {})
    found: list[dict[str, Any]] = session.send("GET", _letters(session), what=_what(session), **query)
    return found


def _would(session: CommandSession, action: str, told: dict[str, Any]) -> int:
    """Say what would be done with which dead letters, and which are not there."""
    queue = told.get("queue")
    if "all" in told:
        count = after = 0
        while page := _page(session, after, _PAGE, queue):
            count, after = count + len(page), page[-1]["id"]
        return session.tell_dry_run(f"{action} {count} dead letters")
    there = [each for each in told["ids"] if _is_there(session, each, queue)]
    missing = [f"{each}: there is no such dead letter" for each in told["ids"] if each not in there]
    return session.tell_dry_run(f"{action} {len(there)} dead letters", missing)


def _is_there(session: CommandSession, number: int, queue: str | None) -> bool:
    rows = _page(session, number - 1, 1, queue) if number > 0 else []
    return bool(rows) and rows[0]["id"] == number


def _report(session: CommandSession, found: dict[str, Any], done: str) -> int:
    if session.is_json:
        session.show_json(found)
    else:
        session.say(f"{found['done']} {done}" + (f", {found['left']} left" if found["left"] else ""))
        for each in found["reasons"]:
            click.echo(f"{each['id']}: {each['reason']}", err=True)
        for each in found["elsewhere"]:
            held = f"{each['unacknowledged']} with its clients"
            click.echo(f"node {each['node']} has {each['ready']} ready and {held}", err=True)
        for node in found["silent"]:
            click.echo(f"node {node} does not answer: what it has stays", err=True)
    return EX_PARTIAL if found["left"] else EX_OK


@command(
    "dlc ls",
    "list_dead_letters",
    "dlc list",
    example=("brokerctl dlc ls --queue orders", "brokerctl dlc ls --limit 10 --json"),
    of_vhost=True,
)
@click.option("--queue", help="only those that died in this queue")
@click.option("--after", type=int, default=0, metavar="ID", help="only those behind this one")
@click.option("--limit", type=int, default=100, show_default=True, help="how many")
def list_dead_letters(session: CommandSession, queue: str | None, after: int, limit: int) -> None:
    """List messages in the dead letter channel, and why they are there; of carbon without --vhost."""
    found = _page(session, after, limit, queue)
    session.show_rows(found, tuple(found[0]) if found else _COLUMNS)


@command("dlc show", "show_dead_letter", example="brokerctl dlc show 4711", of_vhost=True)
@click.argument("message_id", metavar="ID", type=click.IntRange(1))
def show_dead_letter(session: CommandSession, message_id: int) -> None:
    """Show a dead letter with its body, its properties and why it is there."""
    rows = _page(session, message_id - 1, 1, None)
    if not rows or rows[0]["id"] != message_id:
        raise CommandFailure(EX_DATAERR, f"there is no dead letter {message_id}: dlc ls tells which there are")
    path = f"/broker/messages/{escaped(session.given_vhost or _CARBON)}/deadletterchannel"
    found = session.send("GET", path, after=str(message_id - 1), limit="1", payload="true")["items"]
    whole = {**(found[0] if found else {}), **rows[0]}
    session.show(whole, sorted(whole.items()))


@command("dlc restore", "restore_dead_letters", example=("brokerctl dlc restore --all",), of_vhost=True)
@_chosen
def restore(session: CommandSession, ids: tuple[int, ...], all_of_them: bool, queue: str | None) -> int:
    """Put dead letters back into the queues in which they died."""
    told = _arguments(ids, all_of_them, queue)
    if session.is_dry_run:
        return _would(session, "restore", told)
    found = _do(session, "restore", told)
    return _report(session, found, "restored")


@command("dlc reroute", "reroute_dead_letters", example="brokerctl dlc reroute orders --all --queue old", of_vhost=True)
@click.argument("target")
@_chosen
def reroute(session: CommandSession, target: str, ids: tuple[int, ...], all_of_them: bool, queue: str | None) -> int:
    """Put dead letters into another queue."""
    told = {**_arguments(ids, all_of_them, queue), "target": target}
    if session.is_dry_run:
        vhost = session.given_vhost or _CARBON
        session.try_out(f"/queues/{escaped(vhost)}/{escaped(target)}", f"queue '{target}' in vhost '{vhost}'")
        return _would(session, "reroute", told)
    return _report(session, _do(session, "reroute", told), "rerouted")


@command("dlc delete", "delete_dead_letters", "dlc rm", example="brokerctl dlc delete --all --yes", of_vhost=True)
@_chosen
def delete(session: CommandSession, ids: tuple[int, ...], all_of_them: bool, queue: str | None) -> int:
    """Delete dead letters."""
    told = _arguments(ids, all_of_them, queue)
    session.confirm(f"delete {'all' if all_of_them else len(ids)} dead letters")
    if session.is_dry_run:
        return _would(session, "delete", told)
    return _report(session, _do(session, "delete", told), "deleted")


@command(
    "subscriptions ls",
    "list_subscriptions",
    "subscriptions list",
    example=("brokerctl subscriptions ls --kind durable", "brokerctl subscriptions ls --topic"),
    of_vhost=True,
)
@click.option("--kind", type=click.Choice(("queue", "topic", "durable")), help="only these")
@click.option("--topic", "kind", flag_value="topic", help="only subscribers of topics: --kind topic")
@click.option("--queue", help="only those of this queue")
@click.option("--after", metavar="ID", help="only those behind this one")
@click.option("--limit", type=int, default=100, show_default=True, help="how many")
def list_subscriptions(
    session: CommandSession, kind: str | None, queue: str | None, after: str | None, limit: int
) -> None:
    """List consumers of queues, subscribers of topics and durable subscriptions; of carbon without --vhost."""
    told = {"kind": kind, "queue": queue, "after": after, "limit": str(limit)}
    query = {name: value for name, value in told.items() if value is not None}
    found = session.send("GET", _subscriptions(session), what=_what(session), **query)
    session.show_rows(found, tuple(found[0]) if found else ("id",))


def _is_known(session: CommandSession, name: str) -> bool:
    """Is there a subscription with this id?"""
    query = {"limit": str(_PAGE)}
    while rows := session.send("GET", _subscriptions(session), what=_what(session), **query):
        if any(row["id"] == name for row in rows):
            return True
        query["after"] = rows[-1]["id"]
    return False


@command(
    "subscriptions close",
    "close_subscription",
    example="brokerctl subscriptions close SUBSCRIPTION --yes",
    of_vhost=True,
)
@click.argument("name", metavar="ID")
def close_subscription(session: CommandSession, name: str) -> None:
    """Take the consumer of a subscription away; a durable one stays."""
    session.confirm(f"close the subscription {name}")
    if session.is_dry_run and not _is_known(session, name):
        raise CommandFailure(EX_DATAERR, f"there is no subscription {name}: subscriptions ls lists them")
    session.send("DELETE", f"{_subscriptions(session)}/{escaped(name)}", what=_what(session))
    session.say("closed")


@command(
    "subscriptions delete",
    "delete_subscription",
    "subscriptions rm",
    example="brokerctl subscriptions delete carbon:news --yes",
    of_vhost=True,
)
@click.argument("name")
def delete_subscription(session: CommandSession, name: str) -> None:
    """Delete a durable subscription that nobody consumes: its queue, as subscriptions ls shows it."""
    session.confirm(f"delete the subscription {name} with its messages")
    vhost = session.given_vhost or _CARBON
    session.try_out(f"/queues/{escaped(vhost)}/{escaped(name)}", f"subscription '{name}' in vhost '{vhost}'")
    found = session.send("POST", f"{_subscriptions(session)}/delete", {"name": name}, what=_what(session))
    session.say(f"deleted, with {found['messages']} messages")


COMMANDS: Final = (
    list_dead_letters,
    show_dead_letter,
    restore,
    reroute,
    delete,
    list_subscriptions,
    close_subscription,
    delete_subscription,
)
