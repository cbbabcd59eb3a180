"""Definitions: everything but messages, exported and imported."""

from __future__ import annotations

import json
from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.given import octets_of, write_private
from broker.cli.failure import EX_DATAERR, EX_OK, CommandFailure
from broker.cli.output import printable
from broker.cli.session import CommandSession
from broker.cli.ways import escaped


def _place(session: CommandSession) -> tuple[str, str]:
    if session.given_vhost is None:
        return "/definitions", ""
    return f"/definitions/{escaped(session.given_vhost)}", f"virtual host '{session.given_vhost}'"


@command(
    "export_definitions",
    "definitions export",
    example=("brokerctl definitions export backup.json", "brokerctl export_definitions - --vhost /"),
    of_vhost=True,
)
@click.argument("file", default="-")
def export_definitions(session: CommandSession, file: str) -> None:
    """Write everything but messages to a file as RabbitMQ exports it, with hashes of passwords; - for the output."""
    path, what = _place(session)
    found = session.send("GET", path, what=what)
    write_private(file, json.dumps(found, indent=2))
    if file != "-":
        session.say(f"written to {file}")


def _require_sections(given: object, file: str) -> None:
    """Raise `CommandFailure` for what holds nothing that could be made, under whatever name."""
    from broker.cli.difference import SECTIONS

    if not isinstance(given, dict) or not given or any(name in SECTIONS for name in given):
        return  # the node judges the rest
    raise CommandFailure(EX_DATAERR, f"{file} has no definitions but {next(iter(given))!r}: say {', '.join(SECTIONS)}")


@command(
    "import_definitions",
    "definitions import",
    example=(
        "brokerctl definitions import definitions.json --dry-run",
        "brokerctl definitions import definitions.json --diff",
        "brokerctl import_definitions definitions.json",
    ),
    of_vhost=True,
)
@click.argument("file", default="-")
@click.option("--dry-run", is_flag=True, help="only say what would be made or changed")
@click.option("--diff", is_flag=True, help="only show what would be made or changed, as diff -u does")
def import_definitions(session: CommandSession, file: str, dry_run: bool, diff: bool) -> int:
    """Make what definitions hold and is not there; nothing is deleted. - for the input."""
    octets = octets_of(file)
    try:
        given = json.loads(octets)
    except (ValueError, RecursionError):
        raise CommandFailure(
            EX_DATAERR, f"{file} is no JSON: give what definitions export or RabbitMQ has written"
        ) from None
    _require_sections(given, file)
    path, what = _place(session)
    if session.is_dry_run:  # said before the command
        dry_run, session.is_dry_run = True, False
    if not (dry_run or diff):
        session.send("POST", path, given, what=what or file)
        session.say(f"{file} imported")
        return EX_OK
    found: dict[str, Any] = session.send("POST", path, given, what=what or file, dry_run="true")
    if diff:
        from broker.cli.difference import difference

        found["diff"] = list(difference(session.send("GET", path, what=what), given))
    if session.is_json:
        session.show_json(found)
    else:
        lines = found["diff" if diff else "changes"]
        for line in lines:
            click.echo(printable(line))
        if not (lines or found["problems"] or session.is_quiet or session.is_silent):
            click.echo("nothing would change", err=True)
        for name, before in (("left_out", "left out: "), ("problems", "cannot be made: ")):
            for line in found[name]:
                click.echo(before + printable(line), err=True)
    return EX_DATAERR if found["problems"] else EX_OK


COMMANDS: Final = (export_definitions, import_definitions)
