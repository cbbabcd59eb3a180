"""Asks clients of JMS that publish too fast to wait, by channel.flow: they do not know connection.blocked.

Andes' limits say when (`flowControl` in broker.xml): how many messages of one channel, and of all of the node, may wait
for the store. A client is also asked while there is an alarm. It need not answer, and WSO2's and Qpid's clients do not;
who does not obey is held back by its socket, as every publisher (contract U11). Channels of other clients have no
`FlowedPublisher` and are not looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final, Protocol

from broker.amqp.publishing import Publisher
from broker.codec.methods import ChannelFlow
from broker.message import MessageIdGenerator
from broker.topology.routing import Route

UNDER_WAY: Final = 1024 * 1024
"""Octets that a client may have sent before it learned that it is to wait."""


class Cause(IntFlag):
    """Why a publisher waits."""

    OWN = 1
    """Too much of its channel waits for the store."""
    NODE = 2
    """Too much of the node does."""
    ALARM = 4
    """Something is short."""


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """How many messages may wait for the store: from the high limit on publishers are asked to wait, until the low one
    is reached.
    """

    channel_low: int = 100
    channel_high: int = 1000
    node_low: int = 800
    node_high: int = 8000


class Backlog(Protocol):
    """What waits for the store."""

    @property
    def oldest_waiting(self) -> int | None:
        """The id of the oldest message that waits to be inserted, or is being inserted; what is published later has
        higher ones.
        """
        ...


class PublisherFlow:
    """All channels of a node that are asked to wait by channel.flow."""

    __slots__ = ("_backlog", "_ids", "_is_behind", "_watched", "limits", "touched", "waiting")

    def __init__(self, limits: FlowLimits, backlog: Backlog, ids: MessageIdGenerator, touched: set[Any]) -> None:
        """`touched` collects what is flushed at the end of a batch of input."""
        self.limits = limits
        self.touched = touched
        self.waiting = 0
        """Messages of all these channels that wait for the store."""
        self._backlog = backlog
        self._ids = ids
        self._is_behind = False
        self._watched: set[FlowedPublisher] = set()

    def note(self, channel: FlowedPublisher, messages: int) -> None:
        """Count persistent messages that a channel has published up to now."""
        channel.add(self._ids.last, messages)
        self._watched.add(channel)

    def catch_up(self, channel: FlowedPublisher) -> None:
        """Count off what of a channel is stored, or settled, by now."""
        channel.settle(self._backlog.oldest_waiting)

    def is_behind(self) -> bool:
        """Does more wait for the store than may? Then something is going to be stored, and `on_stored` called."""
        if self.waiting >= self.limits.node_high and not self._is_behind:
            for channel in self._watched:
                self.catch_up(channel)
            self._is_behind = self.waiting >= self.limits.node_high
        return self._is_behind

    def on_stored(self) -> None:
        """A batch is committed: let those go on that have waited for it."""
        if not self._watched:
            return
        oldest = self._backlog.oldest_waiting
        for channel in self._watched:
            channel.settle(oldest)
        if self.waiting <= self.limits.node_low:
            self._is_behind = False
        for channel in list(self._watched):
            if not self._is_behind:
                channel.go_on(Cause.NODE)
            if channel.waiting <= self.limits.channel_low:
                channel.go_on(Cause.OWN)
            if not (channel.waiting or channel.causes & (Cause.OWN | Cause.NODE)):
                self._watched.discard(channel)

    def forget(self, channel: FlowedPublisher) -> None:
        """A channel is gone."""
        self._watched.discard(channel)


class FlowedPublisher:
    """What of one channel waits for the store, and whether its client is asked to wait."""

    __slots__ = (
        "_flow",
        "_is_answered",
        "_marks",
        "_new",
        "_publish",
        "_publisher",
        "_send",
        "_touched",
        "causes",
        "has_published",
        "is_deaf",
        "late_octets",
        "waiting",
    )

    def __init__(self, flow: PublisherFlow, publisher: Publisher, send: Callable[[ChannelFlow], None]) -> None:
        self._flow = flow
        self._touched = flow.touched
        self._publisher = publisher
        self._publish = publisher.publish
        self._send = send
        self._new = 0  # persistent messages of this batch of input
        self._marks: deque[tuple[int, int]] = deque()  # the last id of a batch, and how many of it may wait
        self.waiting = 0
        """Messages of this channel that wait for the store."""
        self.causes = Cause(0)
        """Why the client is asked to wait; nothing if it is not."""
        self.late_octets = 0
        """What it has published since it was asked."""
        self.is_deaf = False
        """Has it published although it had answered that it would not?"""
        self.has_published = False
        self._is_answered = False

    def publish(self, route: Route, header: bytes, body: bytes, chunks: list[bytes] | None = None) -> bool:
        """As `Publisher.publish`. Hot for clients of JMS."""
        is_put_off = self._publish(route, header, body, chunks)
        publisher = self._publisher
        if publisher.is_persistent and publisher.transaction is None:
            self._new += 1
        if self.causes:
            self.late_octets += len(header) + (len(body) if chunks is None else sum(map(len, chunks)))
            self.is_deaf = self._is_answered
        self.has_published = True
        self._touched.add(self)
        return is_put_off

    def flush(self) -> None:
        """The batch of input is over, in which something was published: ask the client to wait, if it is too much."""
        flow = self._flow
        if self._new:
            flow.note(self, self._new)
            self._new = 0
        if self.waiting >= flow.limits.channel_high:
            flow.catch_up(self)
            if self.waiting >= flow.limits.channel_high:
                self.stop(Cause.OWN)
        if flow.is_behind() and self.waiting:
            self.stop(Cause.NODE)

    def add(self, last_id: int, messages: int) -> None:
        """So many messages more wait for the store, with ids up to `last_id`."""
        self._marks.append((last_id, messages))
        self.waiting += messages
        self._flow.waiting += messages

    def settle(self, oldest: int | None) -> None:
        """Of what waits for the store, `oldest` is the oldest message; None when nothing waits."""
        marks = self._marks
        while marks and (oldest is None or marks[0][0] < oldest):
            stored = marks.popleft()[1]
            self.waiting -= stored
            self._flow.waiting -= stored

    def stop(self, cause: Cause) -> None:
        """Ask the client to publish nothing."""
        if not self.causes:
            self.late_octets, self.is_deaf, self._is_answered = 0, False, False
            self._send(ChannelFlow(False))
        self.causes |= cause

    def go_on(self, cause: Cause) -> None:
        """A cause to wait is gone."""
        if self.causes & cause:
            self.causes &= ~cause
            if not self.causes:
                self._send(ChannelFlow(True))

    def on_answer(self, is_active: bool) -> None:
        """The client has answered: what it publishes now it has not published before it knew."""
        if not is_active and self.causes:
            self._is_answered = True

    def close(self) -> None:
        """The channel is gone."""
        self.settle(None)
        self._flow.forget(self)
        self._touched.discard(self)
        self.causes = Cause(0)
