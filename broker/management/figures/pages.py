"""Figures of this node for other nodes: lists in pages of JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, Final, TypeAlias

from pydantic_core import to_json

from broker.errors import CoordinationError
from broker.management.figures.connections import channel_figures, channel_name, connection_figures
from broker.management.figures.exchanges import exchange_figures
from broker.management.figures.history import NO_SAMPLES, SampleSpan, SampleSpans
from broker.management.figures.nodes import attempt_rows, node_figures
from broker.management.figures.overview import overview_figures, vhost_figures
from broker.management.figures.queues import (
    channel_with_consumers,
    consumer_and_delivery,
    consumer_figures,
    counts_of,
    queue_figures,
)
from broker.management.figures.view import NodeView
from broker.ports.peer_calls import FiguresPage
from broker.queue.queue import Queue

Row = dict[str, Any]
_List: TypeAlias = Callable[[NodeView], Iterator[Row]]
MAX_LINES: Final = 200
"""Lines of the log that are told at once."""
MAX_ROWS: Final = 200
MAX_OCTETS: Final = 512 * 1024
"""Octets after which a page ends: half of what a message between nodes may have."""
_AT_ONCE: Final = 25
"""Rows that are made without a pause: about a millisecond."""
_OF_EVERY_NODE: Final = (
    "arguments",
    "backing_queue_status",
    "effective_policy_definition",
    "garbage_collection",
    "operator_policy",
    "policy",
    "recoverable_slaves",
)
"""What of a queue every node knows by itself."""


def _queues(view: NodeView, queues: Iterable[Queue]) -> Iterator[Row]:
    for queue in queues:
        if _has_something(queue):
            figures = queue_figures(view, queue)
            yield {name: value for name, value in figures.items() if name not in _OF_EVERY_NODE}


def kind_of_queues(names: Iterable[tuple[str, str]]) -> str:
    """Return the kind of figures that are those of these queues, each named by its virtual host and its name."""
    return f"queues {json.dumps(list(names))}"


def kind_of_logs(level: str, before: int | None, limit: int, text: str) -> str:
    """Return the kind of figures that are the last lines of the log of a node (`ReadLogs`)."""
    return f"logs {json.dumps([level, before, limit, text])}"


def kind_of_connection(name: str, spans: SampleSpans = NO_SAMPLES) -> str:
    """Return the kind of figures that are the connection of this name."""
    return f"connection {json.dumps([name, asdict(spans)])}"


def kind_of_channels(connection: str) -> str:
    """Return the kind of figures that are the channels of the connection of this name."""
    return f"channels {json.dumps([connection])}"


def kind_of_consumers(vhost: str, queue: str) -> str:
    """Return the kind of figures that are what a queue tells of its consumers."""
    return f"queue_consumers {json.dumps([vhost, queue])}"


def kind_of_channel(name: str, spans: SampleSpans = NO_SAMPLES) -> str:
    """Return the kind of figures that are the channel of this name, with its consumers."""
    return f"channel {json.dumps([name, asdict(spans)])}"


def _list_of(kind: str) -> _List | None:
    what, space, told = kind.partition(" ")
    if not space:
        return _LISTS.get(kind)
    try:
        return _ASKED[what](*json.loads(told))
    except (ValueError, TypeError, LookupError):
        return None


def _some_queues(*given: Sequence[Any]) -> _List:
    names = [(vhost, name) for vhost, name in given]
    return lambda view: _queues(view, (queue for each in names for queue in view.queues_named(*each)))


def _lines(level: object, before: int | None, limit: int, text: object) -> _List:
    if not isinstance(limit, int) or not 0 < limit <= MAX_LINES:
        raise ValueError("too many lines")
    return lambda view: iter(view.logs(str(level), None if before is None else int(before), limit, str(text)))


def _one_connection(name: object, spans: Mapping[str, Any]) -> _List:
    read = _spans(spans)
    return lambda view: (connection_figures(view, each, read) for each in view.connections_named(name))


def _channels_of(name: object) -> _List:
    return lambda view: (
        channel_figures(view, connection, channel)
        for connection in view.connections_named(name)
        for _, channel in sorted(connection.channels.items())
    )


def _consumers_of(vhost: object, name: object) -> _List:
    return lambda view: (
        consumer_and_delivery(view, connection, channel, consumer)
        for queue in view.queues_named(vhost, name)
        for connection, channel in view.channels()
        for consumer in list(channel.consumers.values())
        if consumer.queue.whole is queue
    )


def _one_channel(name: object, spans: Mapping[str, Any]) -> _List:
    read = _spans(spans)
    return lambda view: (
        channel_with_consumers(view, *each, read) for each in view.channels() if channel_name(*each) == name
    )


def _spans(given: Mapping[str, Any]) -> SampleSpans:
    return SampleSpans(**{kind: None if span is None else SampleSpan(**span) for kind, span in given.items()})


def _has_something(queue: Queue) -> bool:
    counts = counts_of(queue)
    return bool(
        queue.ready_count
        or queue.unacked_count
        or queue.consumers
        or counts.published
        or counts.taken
        or counts.got
        or counts.got_no_ack
        or counts.got_nothing
    )


def slot_rows(view: NodeView, vhost: str | None = None) -> Iterator[Row]:
    """Yield the slots that this node serves: parts of queues that lie in the store alone."""
    for queue in list(view.queues(vhost)):
        for level in queue.levels:
            for slot in level.slots.paged:
                yield {
                    "vhost": queue.vhost,
                    "queue": queue.name,
                    "queue_id": level.queue_id,
                    "lane": slot.lane,
                    "start": slot.start,
                    "end": slot.end,
                    "messages": slot.count,
                    "node": view.name,
                }


def _consumers(view: NodeView) -> Iterator[Row]:
    for connection, channel in view.channels():
        for consumer in list(channel.consumers.values()):
            yield consumer_figures(view, connection, channel, consumer)


_ASKED: Final[dict[str, Callable[..., _List]]] = {
    "channel": _one_channel,
    "channels": _channels_of,
    "connection": _one_connection,
    "queue_consumers": _consumers_of,
    "logs": _lines,
    "queues": _some_queues,
}
"""What the values of JSON behind a kind choose."""
_LISTS: Final[dict[str, _List]] = {
    "overview": lambda view: iter([overview_figures(view)]),
    "nodes": lambda view: iter([node_figures(view)]),
    "attempts": attempt_rows,
    "connections": lambda view: (connection_figures(view, each) for each in view.connections()),
    "channels": lambda view: (channel_figures(view, *each) for each in view.channels()),
    "consumers": _consumers,
    "queues": lambda view: _queues(view, list(view.queues())),
    "exchanges": lambda view: (
        exchange_figures(view, *each) for each in list(view.exchanges()) if each[1].published_in
    ),
    "slots": slot_rows,
    "vhosts": lambda view: ({"name": vhost.name, **vhost_figures(view, vhost)} for vhost in list(view.vhosts.values())),
}
_TOLD_BY_CHANNELS: Final = ("exchanges", "queues")
"""What hears of publishes by their channels."""
_CHANNELS_AT_ONCE: Final = 500
KINDS: Final = frozenset(_LISTS)
"""What other nodes may ask for. Of queues and exchanges a list has those of which this node has something to tell."""


async def page(view: NodeView, kind: str, start: int, next_turn: Callable[[], Awaitable[None]]) -> FiguresPage:
    """Return a page of a list; `next_turn` returns in a later turn of the loop. Raises `CoordinationError` for what
    there is no list of.

    Between two pages objects come and go: a row may come twice, or be missing.
    """
    find = _list_of(kind)
    if find is None or start < 0:
        raise CoordinationError(f"there are no figures of '{kind[:40]}' from {start} on")
    if not start and kind.startswith(_TOLD_BY_CHANNELS):
        for number, (_, channel) in enumerate(list(view.channels()), 1):
            channel.publisher.count_all()
            if number % _CHANNELS_AT_ONCE == 0:
                await next_turn()
    rows: list[bytes] = []
    octets = 0
    found = islice(find(view), start, None)
    for row in found:
        rows.append(to_json(row, inf_nan_mode="null"))
        octets += len(rows[-1])
        if len(rows) >= MAX_ROWS or octets >= MAX_OCTETS:
            return FiguresPage(_array(rows), start + len(rows))
        if len(rows) % _AT_ONCE == 0:
            await next_turn()
    return FiguresPage(_array(rows))


def _array(rows: list[bytes]) -> bytes:
    return b"[" + b",".join(rows) + b"]"
