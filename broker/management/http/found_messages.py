"""Where a message is: found by its id, or by an identifier that its publisher gave it, in the store and in the memory
of this node and others (docs/finding-messages.md).

What is told of a message is its queue, how it came there, whether a client holds it, and where it has died before. The
store knows of messages that are in a queue, and of no others.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.codec.envelope import opened
from broker.codec.properties import BasicProperties, decode_properties
from broker.errors import AmqpError, CoordinationError
from broker.management.figures.connections import channel_details
from broker.management.figures.view import NodeView
from broker.management.http.messages import properties_row
from broker.message import STORED, Message, published_ms, routing_of, tail
from broker.ports.finding import MOST_FOUND, FoundRow
from broker.ports.names import SCHEDULE
from broker.ports.peer_calls import FiguresPage
from broker.queue.queue import Queue
from broker.topology.told_deaths import deaths_in
from broker.topology.vhost import VirtualHost

Row = dict[str, Any]

KIND: Final = "messages "
"""What the kind of these figures begins with, as nodes ask each other for them; JSON follows that says which."""
IDENTIFIERS: Final = ("id", "message_id", "correlation_id")
"""By what messages are found: our id, or a property."""
MOST_IN_MEMORY: Final = 500_000
"""Messages in the memory of a node that are looked at for one answer."""
_AT_ONCE: Final = 1000
"""Messages that are looked at in one turn of the loop: less than a millisecond."""
_LONGEST: Final = 255
_READY: Final = "ready"
_UNACKED: Final = "unacked"
_WAITS: Final = "waits for its next try"
_DYING: Final = "on its way to another queue"
_DELAYED: Final = "delayed"
_DAMAGED: Final = "damaged"


@dataclass(frozen=True, slots=True)
class WantedMessage:
    """Which messages of a virtual host: those with this id, or with a property that has this value."""

    vhost: str
    by: str
    value: str

    @classmethod
    def of(cls, vhost: str, by: str, value: str) -> WantedMessage:
        """Raises ValueError for what identifies no message."""
        if by not in IDENTIFIERS:
            raise ValueError(f"messages are found by {', '.join(IDENTIFIERS)}")
        if by == "id" and not (value.isascii() and value.isdecimal() and len(value) < 20 and int(value) < 1 << 63):
            raise ValueError("an id is a number of 63 bits, as lists of messages tell it")
        if not value or len(value.encode("utf-8", "surrogateescape")) > _LONGEST:
            raise ValueError(f"'{by}' is a text of 1 to {_LONGEST} octets")
        return cls(vhost, by, value)

    @property
    def message_id(self) -> int | None:
        """The only id that is meant; None if a property says which messages are."""
        return int(self.value) if self.by == "id" else None

    @property
    def octets(self) -> bytes:
        """What is somewhere in the header of each of these messages: as a short string is sent."""
        text = b"" if self.by == "id" else self.value.encode("utf-8", "surrogateescape")
        return bytes((len(text),)) + text if text else b""

    def has(self, message_id: int, properties: BasicProperties) -> bool:
        """Is this one of them?"""
        if self.by == "id":
            return message_id == self.message_id
        found: object = getattr(properties, self.by)
        return found == self.value


@dataclass(frozen=True, slots=True)
class SeenMessages:
    """What a node has told: messages that are in its memory alone, what it does with stored ones by their ids, and
    whether it has looked at all it has.
    """

    rows: list[Row]
    states: Mapping[int, Mapping[str, Any]]
    is_complete: bool


def queues_in(vhost: VirtualHost) -> dict[str, Queue]:
    """Return the queues of a virtual host by name, that of its delayed messages among them."""
    schedule = {} if vhost.schedule is None else {SCHEDULE: vhost.schedule}
    return {**vhost.queues, **schedule}


# What is told of one message


def row_of(wanted: WantedMessage, queue: Queue, message_id: int, routing: bytes, header: bytes) -> Row | None:
    """Return what is told of a message, if it is one of those; `header` is the payload of its content header."""
    due = 0
    try:
        if queue.name == SCHEDULE:
            envelope = opened(tail(header))
            due, header = envelope.due, envelope.header[4:-1]
        properties = decode_properties(header)
    except AmqpError:  # damaged: it is found by its id alone
        header, properties = b"", BasicProperties()
    if not wanted.has(message_id, properties):
        return None
    exchange, routing_key = routing_of(routing)
    row: Row = {
        "id": message_id,
        "vhost": queue.vhost,
        "queue": queue.name,
        "state": _DELAYED if due else _READY,
        "came_ms": published_ms(message_id),
        "deliveries": 0,
        "exchange": exchange,
        "routing_key": routing_key,
        "deaths": [death.row for death in deaths_in(header, properties)],
        "properties": (properties_row(header) or {}) if header else {},
    }
    return row | {"due_ms": due} if due else row


def stored_row(wanted: WantedMessage, queue: Queue, found: FoundRow) -> Row | None:
    """Return what is told of a message that is in the store, if it is one of those."""
    metadata = found.metadata
    end = metadata[0] + 1 if metadata else 1
    end += metadata[end] + 1 if end < len(metadata) else 1
    row = row_of(wanted, queue, found.message_id, metadata[:end], metadata[end:])
    if row is not None:
        row |= {"deliveries": found.redelivered, "persistent": not found.is_transient}
        if found.is_damaged:
            row["state"] = _DAMAGED
    return row


# What is in the memory of this node


async def seen_here(
    view: NodeView,
    wanted: WantedMessage,
    stored: Mapping[int, str],
    next_turn: Callable[[], Awaitable[None]],
    *,
    is_first: bool,
) -> SeenMessages:
    """Return what this node has: what becomes of `stored` messages, whose queues are named by their ids, and, unless
    this has been asked before (`is_first`), messages that are not stored.
    """
    seen = _Seen(view, wanted, next_turn)
    await seen.look_at_clients(stored, is_first=is_first)
    await seen.look_at_queues(stored, is_first=is_first)
    seen.look_at_waiting(stored)
    return SeenMessages(seen.rows, seen.states, seen.is_complete)


class _Seen:
    """One look at the memory of this node, which goes on in later turns of the loop."""

    def __init__(self, view: NodeView, wanted: WantedMessage, next_turn: Callable[[], Awaitable[None]]) -> None:
        self.rows: list[Row] = []
        self.states: dict[int, Mapping[str, Any]] = {}
        self.is_complete = True
        self._view = view
        self._wanted = wanted
        self._next_turn = next_turn
        self._left = MOST_IN_MEMORY
        vhost = view.vhosts.get(wanted.vhost)
        self._queues = {} if vhost is None else queues_in(vhost)

    async def _each(self, messages: Iterable[Message]) -> AsyncIterator[Message]:
        """Yield messages, as many as may be looked at."""
        for number, message in enumerate(list(messages), 1):
            if self._left <= 0:
                self.is_complete = False
                return
            self._left -= 1
            yield message
            if number % _AT_ONCE == 0:
                await self._next_turn()

    def _is_meant(self, message: Message) -> bool:
        """May this message, which is not stored, be one of those?"""
        named = self._wanted.message_id
        return self._wanted.octets in message.header if named is None else message.id == named

    def _add(self, message: Message, state: Mapping[str, Any]) -> None:
        row = row_of(self._wanted, message.queue.whole, message.id, message.routing, message.header_payload)  # type: ignore[attr-defined]
        if row is not None:
            if len(self.rows) >= MOST_FOUND:
                self.is_complete = False
                return
            self.rows.append(row | {"deliveries": message.redelivered, "persistent": message.is_persistent, **state})

    async def look_at_clients(self, stored: Mapping[int, str], *, is_first: bool) -> None:
        """Find what clients of this node hold."""
        for connection, channel in self._view.channels():
            if connection.vhost != self._wanted.vhost:
                continue
            details = channel_details(self._view, connection, channel)
            deliveries = channel.deliveries
            for messages in (deliveries.unacked, deliveries.held):
                async for message in self._each(messages.values()):
                    is_stored = message.id in stored
                    if not is_stored and not (is_first and self._is_meant(message)):
                        continue
                    consumer = getattr(message, "consumer", None)
                    tag = {} if consumer is None else {"consumer_tag": consumer.consumer_tag}
                    state = {
                        "state": _UNACKED,
                        "node": self._view.name,
                        "held_by": details | tag,
                        "deliveries": message.redelivered,
                    }
                    if is_stored:
                        self.states[message.id] = state
                    else:
                        self._add(message, state)

    async def look_at_queues(self, stored: Mapping[int, str], *, is_first: bool) -> None:
        """Find what waits in memory and is not stored, or not yet, if that is asked for the first time; and how often
        stored messages were delivered, which memory knows before the store does.
        """
        named = set(stored.values())
        for queue in list(self._queues.values()):
            if queue.is_stream or not (is_first or queue.name in named):
                continue
            for level in queue.levels:
                if not level.has_ready:
                    continue
                async for message in self._each(level.in_memory):
                    if message.id in stored:
                        self.states.setdefault(message.id, {"deliveries": message.redelivered})
                    elif is_first and message.state != STORED and self._is_meant(message):
                        self._add(message, {"node": self._view.name})

    def look_at_waiting(self, stored: Mapping[int, str]) -> None:
        """Find what is neither ready nor with a client."""
        for name in set(stored.values()):
            queue = self._queues.get(name)
            for level in () if queue is None else queue.levels:
                waiting = dict.fromkeys(level.deadlines.delayed_ids, _WAITS) | dict.fromkeys(level.dying, _DYING)
                for message_id in stored:
                    if message_id in waiting and "state" not in self.states.get(message_id, {}):
                        self.states[message_id] = {"state": waiting[message_id], "node": self._view.name}


# What other nodes have


def kind_of(wanted: WantedMessage, stored: Mapping[int, str], *, is_first: bool) -> str:
    """Return the kind of figures that is what another node has seen."""
    return KIND + json.dumps([wanted.vhost, wanted.by, wanted.value, list(stored.items()), is_first])


async def seen_page(view: NodeView, kind: str, next_turn: Callable[[], Awaitable[None]]) -> FiguresPage:
    """Return what this node has seen of the messages that another one looks for: rows of messages, of states, and one
    that says whether these are all. Raises `CoordinationError` if it does not say which are wanted.
    """
    try:
        vhost, by, value, stored, is_first = json.loads(kind.removeprefix(KIND))
        wanted = WantedMessage.of(str(vhost), str(by), str(value))
        named = {int(message_id): str(queue) for message_id, queue in stored}
    except (ValueError, TypeError) as error:
        raise CoordinationError(f"there are no figures of '{kind[:40]}'") from error
    seen = await seen_here(view, wanted, named, next_turn, is_first=bool(is_first))
    rows: list[Row] = [{"is_complete": seen.is_complete}]
    rows += [{"of": message_id, "told": told} for message_id, told in seen.states.items()]
    octets = len(json.dumps(rows))
    for row in seen.rows:
        octets += len(json.dumps(row))
        if octets > _MOST_OCTETS:
            rows[0]["is_complete"] = False
            break
        rows.append(row)
    return FiguresPage(json.dumps(rows).encode())


_MOST_OCTETS: Final = 512 * 1024
"""Octets of what a node tells: half of what a message between nodes may have."""


def told_by(rows: Collection[Row]) -> SeenMessages:
    """Return what another node has told."""
    return SeenMessages(
        [row for row in rows if "id" in row],
        {int(row["of"]): row["told"] for row in rows if "of" in row},
        all(row["is_complete"] for row in rows if "is_complete" in row),
    )
