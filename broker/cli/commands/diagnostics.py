"""What RabbitMQ's programs are asked before and after a node is touched: versions, a start, listeners, the log."""

from __future__ import annotations

from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.failure import EX_DATAERR, EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE, CommandFailure
from broker.cli.session import CommandSession

_START: Final = 300.0
"""Seconds that a start is waited for."""
_LOOK: Final = 0.5
"""Seconds between two looks."""
_NOT_YET: Final = (EX_UNAVAILABLE, EX_TEMPFAIL)


@command("server_version", "version", example="brokerctl server_version")
def server_version(session: CommandSession) -> None:
    """Print the version of the node; by the name rabbitmqctl that of RabbitMQ which programs are told."""
    overview = session.get("/overview")
    if session.as_rabbitmqctl:
        click.echo(overview["rabbitmq_version"])
        return
    found = {"product": overview["product_name"], "version": overview["product_version"]}
    session.show({**found, "rabbitmq_version": overview["rabbitmq_version"]}, found.items())


@command("await_startup", "node await", example="brokerctl await_startup --timeout 2m")
def await_startup(session: CommandSession) -> None:
    """Wait until the node answers, five minutes or as long as --timeout says; exit code 75 when it has not by then."""
    seconds = session.wanted.timeout or _START
    until = session.shell.monotonic() + seconds
    while True:
        try:
            session.get("/whoami")
        except CommandFailure as failure:
            if failure.code not in _NOT_YET:
                raise
            if session.shell.monotonic() >= until:
                raise CommandFailure(EX_TEMPFAIL, f"for {seconds:g} seconds {failure}") from None
        else:
            break
        session.shell.sleep(_LOOK)
    session.say(f"{session.way.name} answers")


@command(
    "check_port_connectivity",
    example=("brokerctl check_port_connectivity", "brokerctl check_port_connectivity --address 127.0.0.1"),
)
@click.option("--address", metavar="HOST", help="connect to this host; otherwise to where each listener is")
def check_port_connectivity(session: CommandSession, address: str | None) -> int:
    """Check that all ports on which the node listens take connections from this machine."""
    rows = []
    for each in session.get("/overview")["listeners"]:
        host = address or _reached(each["ip_address"])
        reason = session.shell.reach(host, each["port"])
        rows.append({"check": f"{each['protocol']} {host}:{each['port']}", "ok": not reason, "reason": reason})
    session.show_rows(rows, ("check", "ok", "reason"))
    return EX_OK if all(row["ok"] for row in rows) else EX_UNAVAILABLE


def _reached(address: str) -> str:
    """Return where something is reached that listens on an address, which may be all of them."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


@command("list_feature_flags", example="brokerctl list_feature_flags name state")
@click.argument("columns", nargs=-1)
def list_feature_flags(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List the feature flags of RabbitMQ that programs ask for: all are enabled."""
    session.show_rows(session.rows("/feature-flags"), ("name", "state"), columns, title="Listing feature flags")


@command("enable_feature_flag", example="brokerctl enable_feature_flag all")
@click.argument("name")
def enable_feature_flag(session: CommandSession, name: str) -> None:
    """Succeed if there is such a feature flag, or for all: they are enabled anyhow."""
    known = [each["name"] for each in session.rows("/feature-flags")]
    if name not in ("all", *known):
        raise CommandFailure(EX_DATAERR, f"there is no feature flag '{name}': list_feature_flags lists them")
    session.say("enabled, as all feature flags are")


@command("log_tail", "logs", example="brokerctl log_tail --number 20")
@click.option("--number", "-N", type=click.IntRange(1, 1000), default=50, show_default=True, help="how many lines")
def log_tail(session: CommandSession, number: int) -> None:
    """Show the last lines of the node's log, the oldest first."""
    lines = session.send("GET", "/broker/logs", limit=str(number))["items"][::-1]
    if session.is_json:
        session.show_json(lines)
        return
    session.show_rows([_line(each) for each in lines], ("time", "level", "event", "fields"))


def _line(entry: dict[str, Any]) -> dict[str, Any]:
    fields = ", ".join(f"{name}={value}" for name, value in entry["fields"].items())
    return {**entry, "fields": fields}


COMMANDS: Final = (
    server_version,
    await_startup,
    check_port_connectivity,
    list_feature_flags,
    enable_feature_flag,
    log_tail,
)
