"""Redrives: messages moved back to where they died, or elsewhere, watched and taken back."""

from __future__ import annotations

from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.queues import place
from broker.cli.session import CommandSession
from broker.cli.ways import escaped


def _place(session: CommandSession, number: int) -> str:
    return f"/broker/redrives/{escaped(session.vhost)}/{number}"


_LONGEST_WAIT: Final = 2.0
"""Seconds that the end of a redrive is waited for."""
_PAUSE: Final = 0.1
_MOST: Final = 100_000


def _tell(session: CommandSession, found: dict[str, Any]) -> None:
    """Show a redrive, and of each reason why messages stay how many told it; then what can be done next."""
    lines = [(key, value) for key, value in found.items() if key != "reasons"]
    session.show(found, lines + [("stays", text) for text in _stays(found.get("reasons", []))])
    place = f"{found['id']}" + ("" if session.given_vhost is None else f" -p {session.given_vhost}")
    if found["state"] in ("running", "restoring"):
        session.say(f"it goes on: brokerctl show_redrive {place} tells how far it is")
    elif found["state"] == "done" and found["moved"]:
        session.say(f"brokerctl undo_redrive {place} takes it back")


def _stays(reasons: list[dict[str, Any]]) -> list[str]:
    ids: dict[str, list[int]] = {}
    for each in reasons:
        ids.setdefault(each["reason"], []).append(each["id"])
    return [f"{reason} ({len(ids[reason])} times, such as message {ids[reason][0]})" for reason in ids]


def _await_end(session: CommandSession, found: dict[str, Any]) -> dict[str, Any]:
    """Return how far a redrive is when it has ended, or after a while."""
    until = session.shell.monotonic() + _LONGEST_WAIT
    while found["state"] in ("running", "restoring") and session.shell.monotonic() < until:
        session.shell.sleep(_PAUSE)
        found = session.send("GET", _place(session, found["id"]), what=f"redrive {found['id']}")
    return found


def _hint(where: str) -> str:
    """Return what may be wrong with a selector that selects nothing; empty if that cannot be told."""
    from broker.selector.parser import parse
    from broker.selector.syntax import Compare, Identifier, Node
    from broker.selector.tokens import SelectorError

    try:
        nodes: list[Node] = [parse(where)]
    except SelectorError:
        return ""
    while nodes:
        node = nodes.pop()
        if isinstance(node, Compare) and isinstance(node.left, Identifier) and isinstance(node.right, Identifier):
            left, right = node.left.name, node.right.name
            return f"--where compares the headers {left} and {right}: the text is '{right}', in single quotes"
        nodes += node.parts
    return ""


@command(
    "redrive_queue",
    "queue redrive",
    example=(
        "brokerctl queue redrive orders --to old --dry-run",
        "brokerctl queue redrive orders --to old --where \"type = 'paid'\" --limit 100 --rate 50",
    ),
    of_vhost=True,
)
@click.argument("name")
@click.option("--to", "target", metavar="QUEUE", help="to this queue; without it to where each message died")
@click.option("--where", metavar="SELECTOR", help="only those that it selects (docs/selectors.md)")
@click.option("--limit", type=click.IntRange(1, _MOST), help="no more than so many")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="so many in a second")
@click.option("--dry-run", is_flag=True, help="tell how many there are, and move none")
def redrive(
    session: CommandSession,
    name: str,
    target: str | None,
    where: str | None,
    limit: int | None,
    rate: float | None,
    dry_run: bool,
) -> None:
    """Move messages of a queue back to where they died, or to another queue; the id that is told undoes it. Waits two
    seconds for the end; show_redrive tells what comes later."""
    if session.is_dry_run:  # said before the command: the node judges it, and moves nothing
        dry_run, session.is_dry_run = True, False
    wish = {"target": target, "where": where, "limit": limit, "rate": rate, "dry_run": dry_run}
    path = f"/broker{place(session, name)}/redrive"
    found = session.send("POST", path, wish, what=f"queue '{name}' in vhost '{session.vhost}'")
    if "would_move" in found:
        lines = [(key, value) for key, value in found.items() if key != "reasons"]
        session.show(found, lines + [("would stay", text) for text in _stays(found.get("reasons", []))])
    else:
        found = _await_end(session, found)
        _tell(session, found)
    selected = sum(found.get(name, 0) for name in ("would_move", "would_stay", "moved", "left"))
    if where and not selected and (hint := _hint(where)):
        click.echo(f"nothing is selected: {hint}", err=True)


@command("show_redrive", "redrives show", example="brokerctl show_redrive 1", of_vhost=True)
@click.argument("number", type=int)
def show(session: CommandSession, number: int) -> None:
    """Show how far a redrive is."""
    _tell(session, session.send("GET", _place(session, number), what=f"redrive {number}"))


@command("undo_redrive", "redrives undo", example="brokerctl undo_redrive 1", of_vhost=True)
@click.argument("number", type=int)
def undo(session: CommandSession, number: int) -> None:
    """Put back what a redrive has moved, as far as it is still ready."""
    session.try_out(_place(session, number), f"redrive {number}")
    found = session.send("POST", f"{_place(session, number)}/undo", what=f"redrive {number}")
    _tell(session, _await_end(session, found))


COMMANDS: Final = (redrive, show, undo)
