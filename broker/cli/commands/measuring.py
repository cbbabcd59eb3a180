"""Looking on: a table that is drawn anew, and the benchmarks."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.duration import duration_in
from broker.cli.failure import EX_UNAVAILABLE, CommandFailure
from broker.cli.session import CommandSession

_CLEAR: Final = "\x1b[H\x1b[2J"
_VIEWS: Final[dict[str, tuple[str, tuple[str, ...], dict[str, str], str]]] = {
    "queues": (
        "/queues",
        ("vhost", "name", "messages", "ready", "unacked", "consumers", "in/s", "out/s"),
        {
            "ready": "messages_ready",
            "unacked": "messages_unacknowledged",
            "in/s": "message_stats.publish_details.rate",
            "out/s": "message_stats.deliver_get_details.rate",
        },
        "messages",
    ),
    "connections": (
        "/connections",
        ("name", "user", "state", "channels", "in/s", "out/s"),
        {"in/s": "recv_oct_details.rate", "out/s": "send_oct_details.rate"},
        "channels",
    ),
    "nodes": (
        "/nodes",
        ("name", "coordinator", "mem_used", "fd_used", "sockets_used", "uptime"),
        {"coordinator": "broker.coordinator"},
        "",
    ),
}


@command("top", "observer", example=("brokerctl top --count 1", "brokerctl top connections"))
@click.argument("view", type=click.Choice(tuple(_VIEWS)), default="queues")
@click.option(
    "--interval",
    type=duration_in("s", 0.1),
    metavar="DURATION",
    default=2.0,
    show_default=True,
    help="seconds between looks",
)
@click.option("--count", type=click.IntRange(1), help="as many looks; on a terminal until Ctrl-C, otherwise one")
@click.option("--limit", type=click.IntRange(1, 500), default=30, show_default=True, help="rows")
def top(session: CommandSession, view: str, interval: float, count: int | None, limit: int) -> None:
    """Show the busiest queues, connections or nodes, again and again."""
    is_terminal = sys.stdout.isatty() and not session.is_json
    left = count or (0 if is_terminal else 1)
    while True:
        rows = _look(session, view, limit)
        if is_terminal:
            click.echo(_CLEAR + _head(session))
        _, titles, paths, _ = _VIEWS[view]
        session.show_rows(rows, titles, (), paths)
        if left == 1:
            return
        left = max(left - 1, 0)
        sys.stdout.flush()
        session.shell.sleep(interval)


def _look(session: CommandSession, view: str, limit: int) -> list[dict[str, Any]]:
    path, _, _, sort = _VIEWS[view]
    query = {"page": "1", "page_size": str(limit)}
    if sort:
        query |= {"sort": sort, "sort_reverse": "true"}
    found: list[dict[str, Any]] = session.get(path, **query)["items"]
    return found


def _head(session: CommandSession) -> str:
    overview = session.get("/overview")
    totals, messages = overview["object_totals"], overview["queue_totals"].get("messages", 0)
    counts = f"{totals['connections']} connections, {totals['queues']} queues, {messages} messages"
    return f"{overview['node']}   {counts}   (Ctrl-C ends)"


@command("bench", example="brokerctl bench --help-of-benchmarks")
@click.option("--help-of-benchmarks", is_flag=True, help="list cases and options of the benchmarks")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(session: CommandSession, help_of_benchmarks: bool, arguments: tuple[str, ...]) -> int:
    """Measure a broker: hands everything behind -- to python -m benchmarks."""
    if find_spec("benchmarks") is None:
        raise CommandFailure(
            EX_UNAVAILABLE,
            "the benchmarks are not installed: run make bench in a copy of the source, or brokerctl bench there",
        )
    given = ["--help"] if help_of_benchmarks else list(arguments)
    return session.shell.execute([sys.executable, "-m", "benchmarks", *given])


COMMANDS: Final = (top, bench)
