"""The broker of one node: its virtual hosts, and the work that one batch of input leaves behind.

Everything that arrives in one read is parsed before queues dispatch and confirms go out (ADR 1): handlers only add
to `touched` and `touched_confirms`, and the edge calls `dispatch` once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Protocol

from broker.auth.identity import LoginCounts
from broker.cache_budget import CacheBudget
from broker.codec.expiration import note_due
from broker.errors import NotAllowed
from broker.message import PENDING, KeyedMessage, Message, MessageIdGenerator
from broker.ports.cluster import Cluster
from broker.ports.store import Journal
from broker.ports.streams import StreamAppend
from broker.queue.queue import Queue, state_of
from broker.queue.stream_queue import StreamQueue
from broker.selector.selector import CompiledSelectors
from broker.topology.counts import Churn, MessageCounts, MessageSizes
from broker.topology.exchange_types.recent_history import Kept
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget

PRODUCT: Final = "Cordillera"


class Confirmable(Protocol):
    """A channel that has confirms to send (an upward call)."""

    def flush(self) -> None:
        """Send what can be confirmed now."""
        ...


class Resumable(Protocol):
    """A channel whose consumers may have room for deliveries again (an upward call)."""

    def resume(self) -> None:
        """Deliver to those that wait for it."""
        ...


class OpenConnection(Protocol):
    """A client's connection (an upward call)."""

    def held_ids(self, queue: Queue) -> Iterable[int]:
        """Return the ids of all messages of `queue` that the client holds unsettled."""
        ...

    @property
    def address(self) -> str:
        """The client's address and port."""
        ...

    @property
    def user(self) -> str:
        """The name of the user who has logged in."""
        ...

    @property
    def vhost(self) -> str:
        """The virtual host that is open."""
        ...

    @property
    def channel_count(self) -> int:
        """How many channels it has."""
        ...

    def consumers(self) -> Iterable[tuple[int, str, Queue]]:
        """Return the channel, the tag and the queue of every consumer."""
        ...

    def end_consumer(self, channel_id: int, consumer_tag: str, reason: str) -> bool:
        """Take a consumer away, and tell the client; return whether there was one."""
        ...

    def on_permissions_changed(self) -> None:
        """The user may do something else from now on."""
        ...

    def force_close(self, reason: str) -> None:
        """Close it, and tell the client why."""
        ...


class LocalHolder(Protocol):
    """A client in the node's own process, which no limit of connections counts (an upward call)."""

    @property
    def user(self) -> str:
        """The user for whom it acts."""
        ...

    @property
    def vhost(self) -> str:
        """The virtual host in which it acts."""
        ...

    def held_ids(self, queue: Queue) -> Iterable[int]:
        """Return the ids of all messages of `queue` that it holds unsettled."""
        ...

    def force_close(self, reason: str) -> None:
        """Let it give back what it holds; what it waits for ends."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of what one client may ask for (docs/limits.md)."""

    channel_max: int = 2047
    frame_max: int = 131_072
    heartbeat: int = 30
    """Seconds proposed in connection.tune (`heartbeat/delay`)."""
    heartbeat_timeout_factor: float = 2.0
    handshake_timeout: float = 10.0
    max_message_size: int = 128 * 1024 * 1024
    max_consumers_per_channel: int = 0
    """0 for any number."""
    max_connections: int = 10_000
    max_channel_rate: int = 0
    """Channels that a connection may open at once, and in each second; 0 for any number."""
    max_uncommitted_bytes: int = 10 * 1024 * 1024
    max_dtx_channels: int = 20
    """Channels of the node with distributed transactions."""


def _queue_of(message: Message) -> Any:
    return message.queue


class Broker:
    """What every connection of this node shares."""

    def __init__(
        self,
        *,
        ids: MessageIdGenerator,
        journal: Journal,
        cluster: Cluster[Queue],
        await_read: Callable[[Queue], Awaitable[None]],
        touched_confirms: set[Confirmable],
        limits: Limits,
        vhosts: dict[str, VirtualHost],
        caches: CacheBudget,
        work: TurnBudget,
        churn: Churn | None = None,
    ) -> None:
        """`await_read` returns, never at once, when the current read of a queue's slots is done; the journal adds to
        `touched_confirms`. Virtual hosts count in the same `churn`.
        """
        self.churn = churn or Churn()
        self.message_sizes = MessageSizes()
        self.ended_channels = MessageCounts()
        """What the channels have counted that are closed."""
        self.ids = ids
        self.journal = journal
        self.limits = limits
        self.vhosts = vhosts
        self.refusal = ""
        """Why this node takes no clients at this moment; empty when it does."""
        self.selectors = CompiledSelectors(caches)
        """Those of clients of JMS."""
        self.caches = caches
        self.work = work
        self._cluster = cluster
        self._await_read = await_read
        self.open_connections: set[OpenConnection] = set()
        self.local_clients: set[LocalHolder] = set()
        self.connections_of: dict[str, set[OpenConnection]] = {}
        """The open connections of each user that has any."""
        self.logins = {"amqp091": LoginCounts(), "http": LoginCounts()}
        """By RabbitMQ's name of the protocol."""
        self.touched: set[Queue] = set()
        self.resumable: dict[Resumable, None] = {}  # in the order of their turns
        self.touched_confirms = touched_confirms

    def vhost(self, name: str) -> VirtualHost:
        """Return the virtual host a client opens; clients of WSO2 write a slash before its name (andes §1.4)."""
        vhost = self.vhosts.get(name) or self.vhosts.get(name.removeprefix("/"))
        if vhost is None:
            raise NotAllowed(f"vhost {name} not found")
        return vhost

    def dispatch(self) -> bool:
        """Do what the input since the last call has made possible: deliver, then confirm.

        Return whether consumers of a touched queue are behind, so that publishers should be slowed down.
        """
        touched, resumable = self.touched, self.resumable
        is_behind = False
        if not self._cluster.is_trusted():
            self.flush_confirms()
            return False
        while touched or resumable:
            if resumable:
                channels = tuple(resumable)
                resumable.clear()
                for channel in channels:
                    channel.resume()
            queues = tuple(touched)
            touched.clear()
            for queue in queues:
                if queue.dispatch():
                    is_behind = True
        self.flush_confirms()
        return is_behind

    def admit(self, keyed: Sequence[KeyedMessage]) -> None:
        """The store has decided which of these messages have got their keys."""
        for queue in dict.fromkeys(_queue_of(message) for message in keyed):
            queue.admit()
            self.touched.add(queue)
        self.dispatch()

    def on_appended(self, appends: Sequence[StreamAppend]) -> None:
        """The store has given messages their places in streams."""
        for append in appends:
            stream = _queue_of(append.messages[0]) if append.messages else None
            if isinstance(stream, StreamQueue):
                stream.on_appended(append)
                self.touched.add(stream)
        self.dispatch()

    def put_copy(self, queue: Queue, kept: Kept) -> None:
        """Put a message of an exchange's history into a queue that is new there (contract E8), if it has room."""
        state = state_of(queue, is_persistent=kept.is_persistent)
        message = Message(self.ids.next(), queue, kept.routing, kept.header, kept.body, kept.chunks, state)
        if queue.refuses(message.size):
            return
        if state == PENDING and not queue.is_stream:
            self.journal.append(message)
        queue.append(message)
        self.touched.add(queue)
        note_due(message)
        queue.expect_expiry((message,))

    # basic.get

    def get(self, queue: Queue) -> Message | None:
        """Remove and return the next message in memory; None when there is none, or this node may not deliver now.

        Consumers that have credit have waited longer than the get: they come first.
        """
        if not self._cluster.is_trusted():
            return None
        self.catch_up(queue)
        queue.use()
        return queue.pop()

    def catch_up(self, queue: Queue) -> None:
        """Do for `queue` what the input up to now has made possible: a request is about to see it."""
        if queue in self.touched and self._cluster.is_trusted():
            self.touched.discard(queue)
            queue.dispatch()

    def refuses(self, queue: Queue, octets: int) -> bool:
        """Has `queue` no room for one more message, although its consumers have taken what they can (contract F8)?"""
        if not queue.refuses(octets):
            return False
        self.catch_up(queue)
        return queue.refuses(octets)

    def may_get_later(self, queue: Queue) -> bool:
        """Can `get_later` find a message where `get` found none?"""
        return self._cluster.is_trusted() and (queue.may_be_got or self._cluster.shares(queue))

    async def get_later(self, queue: Queue, is_wanted: Callable[[], bool]) -> Message | None:
        """Remove and return the next message, from slots or other nodes if necessary; stop when `is_wanted` returns
        False.
        """
        message = queue.pop()
        while message is None and is_wanted():
            if queue.may_be_got:
                await self._await_read(queue)
            elif not await self._cluster.fetch(queue):
                break
            message = queue.pop()
        return message

    def held_ids(self, queue: Queue) -> list[int]:
        """Return the ids of all messages of `queue` that clients hold unsettled, or that wait on this node for another
        reason, ascending.
        """
        withheld = list(queue.withheld_ids)
        if not queue.unacked_count:
            return sorted(withheld)
        holders = chain(self.open_connections, self.local_clients)
        return sorted(chain(withheld, *(holder.held_ids(queue) for holder in holders)))

    def add_connection(self, connection: OpenConnection) -> None:
        """A client has opened a virtual host."""
        self.churn.connection_created += 1
        self.open_connections.add(connection)
        self.connections_of.setdefault(connection.user, set()).add(connection)

    def remove_connection(self, connection: OpenConnection) -> None:
        """A connection ends, or has ended before."""
        if connection not in self.open_connections:
            return
        self.churn.connection_closed += 1
        self.open_connections.discard(connection)
        of_user = self.connections_of.get(connection.user)
        if of_user is not None:
            of_user.discard(connection)
            if not of_user:
                del self.connections_of[connection.user]

    def end_channel(self, vhost: VirtualHost, counts: MessageCounts) -> None:
        """A channel is closed, which has counted this."""
        self.churn.channel_closed += 1
        self.ended_channels = self.ended_channels.plus(counts)
        vhost.ended_channels = vhost.ended_channels.plus(counts)

    def on_user_changed(self, user: str) -> None:
        """A user may do something else from now on."""
        for connection in list(self.connections_of.get(user, ())):
            connection.on_permissions_changed()

    def close_connections(self, reason: str, *, user: str = "", vhost: str = "") -> None:
        """Close the connections of a user, or to a virtual host, that is gone."""
        for connection in list(self.connections_of.get(user, ())) if user else list(self.open_connections):
            if not vhost or connection.vhost == vhost:
                connection.force_close(reason)
        for client in list(self.local_clients):
            if (user and client.user == user) or (vhost and client.vhost == vhost):
                client.force_close(reason)

    def refuse_clients(self, reason: str) -> None:
        """Take no clients from now on, and close the connections of those that are there; both are told the reason."""
        self.refusal = reason
        for client in (*self.open_connections, *self.local_clients):
            client.force_close(reason)

    def take_clients(self) -> None:
        """Take clients again."""
        self.refusal = ""

    def flush_confirms(self) -> None:
        """Send the confirms that commits and settled messages have made possible."""
        touched = self.touched_confirms
        if touched:
            for confirms in touched:
                confirms.flush()
            touched.clear()
