"""Maintenance of the node: taking its clients away, stopping it, letting it read its configuration again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.duration import duration_in
from broker.cli.failure import EX_OK, EX_TEMPFAIL, CommandFailure
from broker.cli.progress import ProgressLine
from broker.cli.session import CommandSession

_PATH: Final = "/broker/drain"
_LOOK: Final = 0.5
"""Seconds between two looks how far a drain is."""
_SECONDS: Final = duration_in("s", 0, 3600)


@command(
    "drain",
    "node drain",
    example=("brokerctl drain", "brokerctl drain --seconds 2m", "brokerctl drain --status"),
)
@click.option(
    "--seconds",
    type=_SECONDS,
    metavar="DURATION",
    default=10.0,
    show_default=True,
    help="over which connections are closed",
)
@click.option("--no-wait", is_flag=True, help="return at once")
@click.option("--status", "only_status", is_flag=True, help="only show how far it is")
def drain(session: CommandSession, seconds: float, no_wait: bool, only_status: bool) -> None:
    """Let the node take no more clients, close the connections there are at a pace, and hand messages over to the other
    nodes. It goes on and can be stopped then; resume lets clients come again."""
    if only_status:
        found = session.get(_PATH)
        session.show(found, found.items())
        return
    found = session.send("PUT", _PATH, {"seconds": seconds})
    if not no_wait:
        found = _until_drained(session, found)
    if session.is_json:
        session.show_json(found)
    session.say(f"{found['state']}: {found['closed']} connections closed, {found['connections']} are left")


def _until_drained(session: CommandSession, found: Mapping[str, Any]) -> Mapping[str, Any]:
    progress = ProgressLine(session, "connections closed", found["connections"] + found["closed"])
    while found["state"] == "draining":
        progress.reach(found["closed"])
        session.shell.sleep(_LOOK)
        found = session.get(_PATH)
    progress.end()
    return found


@command("resume", "undrain", "revive", "node resume", example="brokerctl resume")
def resume(session: CommandSession) -> None:
    """Let a node that was drained take clients again."""
    session.send("DELETE", _PATH)
    session.say("the node takes clients")


@command(
    "shutdown", "stop", "node shutdown", example=("brokerctl shutdown --yes", "brokerctl shutdown --drain 30 --yes")
)
@click.option(
    "--drain",
    "seconds",
    type=_SECONDS,
    metavar="DURATION",
    help="over which connections are closed; otherwise as configured",
)
@click.option(
    "--wait",
    type=duration_in("s"),
    metavar="DURATION",
    default=120.0,
    show_default=True,
    help="for its end: seconds, or 5m",
)
def shutdown(session: CommandSession, seconds: float | None, wait: float) -> int:
    """Stop the node on this machine in order, and return when its process has ended."""
    session.confirm("stop the node")
    told = session.command("shutdown", {} if seconds is None else {"seconds": seconds})
    if not session.shell.await_end(told["pid"], wait + (seconds or 0)):
        raise CommandFailure(EX_TEMPFAIL, f"process {told['pid']} still stops: its log says what it waits for")
    session.say("the node has stopped")
    return EX_OK


@command("reload", "node reload", example="brokerctl reload")
def reload(session: CommandSession) -> None:
    """Let the node on this machine read its configuration again: certificates, TLS, and levels of the log."""
    session.command("reload", {})
    session.say("the configuration was read again")


@command("set_log_level", "log level", example="brokerctl set_log_level debug")
@click.argument("level", type=click.Choice(("debug", "info", "warning", "error")))
def set_log_level(session: CommandSession, level: str) -> None:
    """Log at this level until the node reads its configuration again."""
    session.command("set_log_level", {"level": level})
    session.say(f"the node logs at {level}")


COMMANDS: Final = (drain, resume, shutdown, reload, set_log_level)
