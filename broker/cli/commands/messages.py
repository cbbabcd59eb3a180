"""Messages: published and got, for looking at things and for scripts."""

from __future__ import annotations

import base64
import sys
from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.given import octets_of, pairs_of
from broker.cli.commands.properties import properties_of
from broker.cli.commands.queues import place, require_no_stream
from broker.cli.failure import EX_DATAERR, EX_FOUND, EX_OK, CommandFailure
from broker.cli.progress import ProgressLine
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_SCHEDULE: Final = "amq.delayed"
"""Where a delayed message is, as message find tells it."""
_MODES: Final = {"requeue": "ack_requeue_true", "ack": "ack_requeue_false", "reject": "reject_requeue_false"}


@command(
    "pub",
    "publish",
    "messages pub",
    example=(
        "brokerctl pub orders 'one order'",
        "brokerctl pub order.paid '{\"id\": 7}' --exchange events --property content_type=application/json",
        "brokerctl pub orders hi --header attempts=7 --header 'x-group-id=\"7\"'",
    ),
    of_vhost=True,
)
@click.argument("routing_key")
@click.argument("payload", required=False)
@click.option("--exchange", "-e", default="", help="the default exchange otherwise, where the key names a queue")
@click.option("--file", "path", metavar="FILE", help="the payload is in this file; - for the input")
@click.option(
    "--property", "properties", multiple=True, metavar="NAME=VALUE", help="content_type, message_id, expiration, …"
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME=VALUE",
    help="a header, any number of times: 7 is a number, true a boolean, an object a table; '\"7\"' is the text 7",
)
@click.option("--transient", is_flag=True, help="it need not outlive the node")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="publish it so many times")
def publish(
    session: CommandSession,
    routing_key: str,
    payload: str | None,
    exchange: str,
    path: str | None,
    properties: tuple[str, ...],
    headers: tuple[str, ...],
    transient: bool,
    count: int,
) -> int:
    """Publish a message, and wait until it is confirmed. Exit code 1 when no queue got it."""
    if payload is not None and path is not None:
        raise click.UsageError("say the payload or --file, not both")
    given = {"delivery_mode": 1 if transient else 2, **properties_of(properties)}
    if headers:
        given["headers"] = pairs_of(headers, "--header")
    octets = payload.encode("utf-8", "surrogateescape") if payload is not None else octets_of(path or "-")
    body = {
        "routing_key": routing_key,
        "payload": base64.b64encode(octets).decode(),
        "payload_encoding": "base64",
        "properties": given,
    }
    target = f"/exchanges/{escaped(session.vhost)}/{escaped(exchange or 'amq.default')}/publish"
    what = f"exchange '{exchange}' in vhost '{session.vhost}'" if exchange else f"virtual host '{session.vhost}'"
    routed = 0
    progress = ProgressLine(session, "messages published", count)
    for _ in range(count):
        routed += session.send("POST", target, body, what=what)["routed"]
        progress.advance(1)
    progress.end()
    if routed < count:
        session.say("published, but to no queue" if count == 1 else f"{count} published, {count - routed} to no queue")
        return EX_FOUND
    session.say("published" if count == 1 else f"{count} published")
    return EX_OK


@command(
    "get",
    "messages get",
    example=("brokerctl get orders --count 5", "brokerctl get orders --ack --payload"),
    of_vhost=True,
)
@click.argument("queue")
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="as many at most")
@click.option("--ack", "mode", flag_value="ack", help="take them out of the queue")
@click.option("--reject", "mode", flag_value="reject", help="take them out; what is dead-lettered goes there")
@click.option(
    "--requeue", "mode", flag_value="requeue", default="requeue", help="put them back, as redelivered: the default"
)
@click.option("--truncate", type=click.IntRange(0), help="show so many octets of each")
@click.option("--payload", "only_payload", is_flag=True, help="write the payloads as they are, and nothing else")
def get(session: CommandSession, queue: str, count: int, mode: str, truncate: int | None, only_payload: bool) -> None:
    """Get messages of a queue, and put them back unless something else is said."""
    body: dict[str, Any] = {"count": count, "ackmode": _MODES[mode], "encoding": "base64" if only_payload else "auto"}
    if truncate is not None:
        body["truncate"] = truncate
    found = session.send(
        "POST", f"{place(session, queue)}/get", body, what=f"queue '{queue}' in vhost '{session.vhost}'"
    )
    if not found and not (session.is_quiet or session.is_silent or session.is_json):
        click.echo(f"no message of {queue!r} is ready", err=True)
    if only_payload:
        for row in found:
            sys.stdout.buffer.write(base64.b64decode(row["payload"]) + b"\n")
        sys.stdout.buffer.flush()
        return
    session.show_rows(found, ("payload", "routing_key", "exchange", "redelivered", "message_count", "properties"))


@command(
    "browse",
    "messages browse",
    "messages ls",
    example=("brokerctl browse orders --limit 5", "brokerctl browse orders --payload --json"),
    of_vhost=True,
)
@click.argument("queue")
@click.option("--after", type=click.IntRange(0), default=0, metavar="ID", help="only those behind this one")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="how many")
@click.option("--payload", is_flag=True, help="with their bodies")
def browse(session: CommandSession, queue: str, after: int, limit: int, payload: bool) -> None:
    """Show messages as they lie in a queue: nobody takes them, and none is marked as redelivered."""
    query = {"after": str(after), "limit": str(limit)} | ({"payload": "true"} if payload else {})
    if queue == _SCHEDULE:
        raise CommandFailure(EX_DATAERR, f"{queue} is no queue but the schedule: brokerctl delayed ls shows what waits")
    path = f"/broker/messages/{escaped(session.vhost)}/{escaped(queue)}"
    found = session.send("GET", path, what=f"queue '{queue}' in vhost '{session.vhost}'", **query)
    if not found["items"]:
        require_no_stream(session, queue)
    usual = ("id", "published_ms", "deliveries", "routing_key", "payload_bytes", *(("payload",) if payload else ()))
    session.show_rows(found["items"], usual)


COMMANDS: Final = (publish, get, browse)
