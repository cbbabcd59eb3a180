"""Messages as they come: looked at where they lie, taken, or copied from an exchange."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.queues import place, require_no_stream
from broker.cli.duration import duration_in
from broker.cli.failure import EX_DATAERR, CommandFailure
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_AT_ONCE: Final = 100
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks at a queue in which nothing was found."""
_EXPIRES_MS: Final = 60_000
"""How long the queue of copies outlives its reader."""
_MOST_COPIES: Final = 10_000
_OFFSET: Final = "x-stream-offset"
"""The header in which a copy tells its place in the stream."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How messages are printed, and when that ends."""

    translate: str | None
    count: int
    seconds: float | None


@command(
    "sub",
    "subscribe",
    "messages sub",
    example=(
        "brokerctl sub orders --count 1",
        "brokerctl sub orders --ack --count 1 --json",
        "brokerctl sub --exchange events --key 'order.#' --seconds 30",
        "brokerctl sub STREAM --offset first --count 3",
    ),
    completes={"queue": "queues"},
    of_vhost=True,
)
@click.argument("queue", required=False)
@click.option("--ack", is_flag=True, help="take messages out of the queue")
@click.option("--exchange", "-e", help="copies of what is published there, in a queue of their own")
@click.option("--key", "-k", default="#", show_default=True, help="with --exchange: the key of the binding")
@click.option(
    "--offset", metavar="PLACE", help="of a stream: from first, last, next, an offset, an age such as 2h, or a time"
)
@click.option("--translate", metavar="COMMAND", help="print what this shell command makes of each payload")
@click.option("--count", type=click.IntRange(0), default=0, help="end after so many; 0 for never")
@click.option("--seconds", type=duration_in("s"), metavar="DURATION", help="end after so many seconds, or 5m")
def subscribe(
    session: CommandSession,
    queue: str | None,
    ack: bool,
    exchange: str | None,
    key: str,
    offset: str | None,
    translate: str | None,
    count: int,
    seconds: float | None,
) -> None:
    """Print messages as they come, until Ctrl-C: those that lie in a queue, each once and without taking it; with --ack
    those that are taken; with --exchange copies of what is published; with --offset those of a stream. --json prints a
    line for each."""
    if (queue is None) is (exchange is None):
        raise click.UsageError("name a queue or an --exchange")
    if offset is not None and (ack or queue is None):
        raise click.UsageError("--offset is for a stream, which keeps its messages: say neither --ack nor --exchange")
    shape = _Shape(translate, count, seconds)
    if queue is not None and offset is not None:
        _print_stream(session, queue, offset, shape)
        return
    if queue is not None:
        require_no_stream(session, queue)
        _print_all(session, _Taken(session, queue) if ack else _Looked(session, queue), shape)
        return
    copies = _tap(session, str(exchange), key)
    try:
        _print_all(session, _Taken(session, copies), shape)
    finally:
        session.ask("DELETE", place(session, copies))


class _Looked:
    """Messages as they lie in a queue."""

    def __init__(self, session: CommandSession, queue: str) -> None:
        self._session = session
        self._path = f"/broker/messages/{escaped(session.vhost)}/{escaped(queue)}"
        self._what = f"queue '{queue}' in vhost '{session.vhost}'"
        self._after = 0

    def next(self, limit: int) -> list[Row]:
        """Return what was not seen yet, the oldest first."""
        query = {"after": str(self._after), "limit": str(limit), "payload": "true"}
        found: list[Row] = self._session.send("GET", self._path, what=self._what, **query)["items"]
        self._after = max((row["id"] for row in found), default=self._after)
        return found


class _Taken:
    """Messages that are taken out of a queue."""

    def __init__(self, session: CommandSession, queue: str) -> None:
        self._session = session
        self._path = f"{place(session, queue)}/get"
        self._what = f"queue '{queue}' in vhost '{session.vhost}'"

    def next(self, limit: int) -> list[Row]:
        """Return the next messages: they are gone."""
        body = {"count": limit, "ackmode": "ack_requeue_false", "encoding": "auto"}
        found: list[Row] = self._session.send("POST", self._path, body, what=self._what)
        return found


class _Read:
    """Messages of a stream, as copies in a queue of their own: never more than one page of them waits there."""

    def __init__(self, session: CommandSession, stream: str, start: str | int | None, copies: str) -> None:
        """`start` is an offset, a time, or None for the first message."""
        self._session = session
        self._path = f"/broker/streams/{escaped(session.vhost)}/{escaped(stream)}/replay"
        self._what = f"stream '{stream}' in virtual host '{session.vhost}'"
        self._start = start
        self._copies = copies
        self._taken = _Taken(session, copies)

    def next(self, limit: int) -> list[Row]:
        """Return the next messages of the stream: their copies are gone, the stream keeps them."""
        body = {"destination": self._copies, "limit": limit}
        if self._start is not None:
            body["from"] = self._start
        count = self._session.send("POST", self._path, body, what=self._what)["messages"]
        found: list[Row] = []
        while len(found) < count and (page := self._taken.next(count - len(found))):
            found += page
        if found:
            self._start = int(found[-1]["properties"]["headers"][_OFFSET]) + 1
        return found


def _print_stream(session: CommandSession, stream: str, offset: str, shape: _Shape) -> None:
    path = f"/broker/streams/{escaped(session.vhost)}/{escaped(stream)}"
    there = session.send("GET", path, what=f"stream '{stream}' in virtual host '{session.vhost}'")
    last = max(there["next_offset"] - 1, there["first_offset"])
    named: dict[str, int | None] = {"first": None, "last": last, "next": there["next_offset"]}
    if offset not in named and not offset[:1].isdecimal():
        raise click.UsageError(
            f"--offset {offset} is none of first, last, next, an offset, an age such as 2h, or a time"
        )
    copies = _new_queue(session)
    try:
        _print_all(session, _Read(session, stream, named.get(offset, offset), copies), shape)
    finally:
        session.ask("DELETE", place(session, copies))


def _tap(session: CommandSession, exchange: str, key: str) -> str:
    """Make a queue that gets copies, and return its name. It goes by itself if this program cannot delete it."""
    name = _new_queue(session)
    path = f"/bindings/{escaped(session.vhost)}/e/{escaped(exchange)}/q/{escaped(name)}"
    status, value = session.ask("POST", path, {"routing_key": key, "arguments": {}})
    if status >= 400:
        session.ask("DELETE", place(session, name))
        raise session.refused(status, value, f"exchange '{exchange}' in vhost '{session.vhost}'")
    return name


def _new_queue(session: CommandSession) -> str:
    import secrets  # loads OpenSSL

    name = f"brokerctl.sub-{secrets.token_urlsafe(9)}"
    arguments = {"x-expires": _EXPIRES_MS, "x-max-length": _MOST_COPIES}
    body = {"durable": False, "auto_delete": False, "arguments": arguments}
    session.send("PUT", place(session, name), body, what=f"virtual host '{session.vhost}'")
    return name


def _print_all(session: CommandSession, source: _Looked | _Taken | _Read, shape: _Shape) -> None:
    for row in _rows(session, source, shape):
        if shape.translate is not None:
            code = session.shell.execute(["/bin/sh", "-c", shape.translate], _octets(row))
            if code:
                raise CommandFailure(EX_DATAERR, f"{shape.translate!r} has ended with {code}")
        elif session.is_json:
            click.echo(json.dumps(row))
        else:
            sys.stdout.buffer.write(_octets(row) + b"\n")
        sys.stdout.flush()


def _rows(session: CommandSession, source: _Looked | _Taken | _Read, shape: _Shape) -> Iterator[Row]:
    shell, seen, pause = session.shell, 0, _FIRST_PAUSE
    until = None if shape.seconds is None else shell.monotonic() + shape.seconds
    while True:
        limit = min(_AT_ONCE, shape.count - seen) if shape.count else _AT_ONCE
        found = source.next(limit)
        yield from found
        seen += len(found)
        if (shape.count and seen >= shape.count) or (until is not None and shell.monotonic() >= until):
            return
        if found:
            pause = _FIRST_PAUSE
        else:
            shell.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _octets(row: Row) -> bytes:
    payload = str(row["payload"])
    return base64.b64decode(payload) if row["payload_encoding"] == "base64" else payload.encode("utf-8", "replace")


COMMANDS: Final = (subscribe,)
