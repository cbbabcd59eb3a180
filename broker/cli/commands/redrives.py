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


def _tell(session: CommandSession, found: dict[str, Any]) -> None:
    session.show(found, ((key, value) for key, value in found.items() if key != "reasons"))


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
@click.option("--limit", type=int, help="no more than so many")
@click.option("--rate", type=float, help="so many in a second")
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
    """Move messages of a queue back to where they died, or to another queue; the number that is told undoes it."""
    wish = {"target": target, "where": where, "limit": limit, "rate": rate, "dry_run": dry_run}
    path = f"/broker{place(session, name)}/redrive"
    _tell(session, session.send("POST", path, wish, what=f"queue '{name}' in vhost '{session.vhost}'"))


@command("show_redrive", "redrives show", example="brokerctl show_redrive 1", of_vhost=True)
@click.argument("number", type=int)
def show(session: CommandSession, number: int) -> None:
    """Show how far a redrive is."""
    _tell(session, session.send("GET", _place(session, number), what=f"redrive {number}"))


@command("undo_redrive", "redrives undo", example="brokerctl undo_redrive 1", of_vhost=True)
@click.argument("number", type=int)
def undo(session: CommandSession, number: int) -> None:
    """Put back what a redrive has moved, as far as it is still ready."""
    _tell(session, session.send("POST", f"{_place(session, number)}/undo", what=f"redrive {number}"))


COMMANDS: Final = (redrive, show, undo)
