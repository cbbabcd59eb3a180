"""Streams: what they have, replaying into a queue, and the places of consumers."""

from __future__ import annotations

from typing import Any, Final

import click

from broker.cli.command import command
from broker.cli.commands.queues import place as queue_place
from broker.cli.failure import EX_DATAERR, CommandFailure
from broker.cli.session import CommandSession
from broker.cli.ways import escaped


def _place(session: CommandSession, stream: str) -> str:
    return f"/broker/streams/{escaped(session.vhost)}/{escaped(stream)}"


def _what(session: CommandSession, stream: str) -> str:
    return f"stream '{stream}' in virtual host '{session.vhost}'"


@command("streams show", "stream_status", example="brokerctl streams show STREAM", of_vhost=True)
@click.argument("stream")
def show(session: CommandSession, stream: str) -> None:
    """Show which offsets a stream has, and where the consumers are whose places are kept."""
    found = session.send("GET", _place(session, stream), what=_what(session, stream))
    if session.is_json:
        session.show_json(found)
        return
    session.show_rows([found], ("name", "first_offset", "next_offset", "messages", "octets"))
    if found["places"]:
        session.show_rows(found["places"], ("consumer", "next_offset"))


@command(
    "streams replay",
    "replay_stream",
    example=(
        "brokerctl streams replay STREAM orders --from 0 --to 3",
        "brokerctl streams replay STREAM orders --from 2h",
    ),
    of_vhost=True,
)
@click.argument("stream")
@click.argument("destination", metavar="QUEUE")
@click.option("--from", "start", metavar="PLACE", help="an offset, an age such as 2h, or a time of ISO 8601")
@click.option("--to", "until", metavar="PLACE", help="up to there; what has this offset or time is not meant")
@click.option("--filter", "value", help="only those with this value of x-stream-filter-value")
@click.option("--limit", type=click.IntRange(1), help="how many at most")
def replay(
    session: CommandSession,
    stream: str,
    destination: str,
    start: str | None,
    until: str | None,
    value: str | None,
    limit: int | None,
) -> None:
    """Put copies of a stream's messages into a queue: all, or those from one offset or time up to another."""
    session.try_out(queue_place(session, destination), f"queue '{destination}' in vhost '{session.vhost}'")
    place: Any = start
    count = 0
    while True:
        told = {"from": place, "to": until, "filter": value}
        if limit is not None:
            told["limit"] = min(limit - count, _AT_ONCE)
        body = {"destination": destination, **{name: each for name, each in told.items() if each is not None}}
        found = session.send("POST", f"{_place(session, stream)}/replay", body, what=_what(session, stream))
        count += found["messages"]
        place = found["next"]
        if place is None or not found["messages"] or (limit is not None and count >= limit):
            break
    if session.is_json:
        session.show_json({"messages": count, "next": place})
    else:
        session.say(f"{count} messages of {stream} are in {destination}")


@command("streams forget", "forget_stream_place", example="brokerctl streams forget STREAM reader --yes", of_vhost=True)
@click.argument("stream")
@click.argument("consumer")
def forget(session: CommandSession, stream: str, consumer: str) -> None:
    """Forget the place of a consumer: its next one begins where it says."""
    session.confirm(f"forget the place of '{consumer}' in stream '{stream}'")
    path = f"{_place(session, stream)}/places/{escaped(consumer)}"
    status, value = session.ask("DELETE", path, what=_what(session, stream))
    if status == 404 and "keeps no place" in (reason := str(value.get("reason", ""))):
        raise CommandFailure(EX_DATAERR, f"{reason}: brokerctl streams show {stream} lists them")
    if status >= 400:
        raise session.refused(status, value, _what(session, stream))
    session.say(f"the place of {consumer} is forgotten")


_AT_ONCE: Final = 10_000
COMMANDS: Final = (show, replay, forget)
