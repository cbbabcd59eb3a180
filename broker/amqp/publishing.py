"""basic.publish on one channel, from complete content to queues.

This is the hot path of the broker. A route is found by the octets of the method's arguments; the header is looked at
only where its flags ask for it; nothing else is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from broker.amqp.confirms import Confirms
from broker.amqp.output import Output
from broker.amqp.transaction import Publication, Transaction
from broker.auth.access import Access, Permission
from broker.broker import Broker
from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicPublish, BasicReturn
from broker.codec.properties import (
    FLAG_EXPIRATION,
    FLAG_HEADERS,
    FLAG_USER_ID,
    PERSISTENT,
    BasicProperties,
    decode_properties,
    encode_header,
    walk_properties,
)
from broker.errors import AccessRefused, NotImplementedFault, PreconditionFailed, ReplyCode
from broker.message import COUNTER_MASK, PENDING, TRANSIENT, Message, MessageIdGenerator, tail
from broker.queue.queue import Queue
from broker.topology.routing import Route
from broker.topology.vhost import VirtualHost

_ASK: Final = FLAG_HEADERS | FLAG_EXPIRATION | FLAG_USER_ID
"""Flags of properties that the broker itself has to look at."""
_REMEMBERED_PROPERTIES: Final = 1024
"""Octets up to which a channel keeps the properties of its last message: larger ones are looked at each time."""
_CACHED_ROUTES: Final = 20_000
_SHARED_BODY: Final = 1024
"""Octets from which a body routed to several stored queues is stored once instead of once per queue."""


class Publisher:
    """Publishes for one channel."""

    __slots__ = (
        "_access",
        "_append",
        "_asks",
        "_channel_id",
        "_ids",
        "_is_persistent",
        "_output",
        "_properties",
        "_routes",
        "_touched",
        "_touched_confirms",
        "_vhost",
        "confirms",
        "transaction",
    )

    def __init__(self, channel_id: int, output: Output, broker: Broker, vhost: VirtualHost, access: Access) -> None:
        self._channel_id = channel_id
        self._output = output
        self._vhost = vhost
        self._access = access
        self._routes = vhost.routing.routes_for(access.permissions)
        self._append = broker.journal.append
        self._ids = broker.ids
        self._touched = broker.touched
        self._touched_confirms = broker.touched_confirms
        # The properties of the last message, and what they mean to us: publishers seldom change them.
        self._properties = b""
        self._asks = 0
        self._is_persistent = False
        self.confirms: Confirms | None = None
        self.transaction: Transaction | None = None

    def resolve(self, arguments: bytes) -> Route:
        """Return where a publish with these argument octets goes, or raise what refuses it."""
        return self._routes.get(arguments) or self._find_route(arguments)

    def publish(self, route: Route, header: bytes, body: bytes, chunks: list[bytes] | None = None) -> None:
        """Route one complete message: header and body are frame tails.

        Hot: no await, and no property is decoded unless a flag, a queue or an exchange asks.
        """
        properties = header[16:]
        if properties != self._properties:
            self._learn(properties)
        queue = route.queue
        if queue is None or self._asks or self.transaction is not None:
            self._publish_other(route, header, body, chunks)
            return
        ids = self._ids
        message_id = ids.last + 1
        if message_id & COUNTER_MASK:
            ids.last = message_id
        else:
            message_id = ids.next()
        confirms = self.confirms
        if confirms is not None:
            confirms.published += 1
        if self._is_persistent and queue.is_stored:
            message = Message(message_id, queue, route.routing, header, body, chunks, PENDING)
            self._append(message)
            if confirms is not None:
                message.confirms = confirms
                message.sequence = confirms.published
                confirms.waiting.append(message)
        else:
            message = Message(message_id, queue, route.routing, header, body, chunks, TRANSIENT)
            if confirms is not None:
                self._touched_confirms.add(confirms)
        queue.append(message)
        self._touched.add(queue)

    def _learn(self, properties: bytes) -> None:
        """Check properties that differ from the last message's, and note what of them matters here."""
        flags, mode = walk_properties(properties, len(properties) - 1)
        if flags & FLAG_HEADERS:
            decode_properties(bytes(12) + properties[:-1])  # refuses a table that consumers could not read
        self._properties = properties if len(properties) <= _REMEMBERED_PROPERTIES else b""
        self._asks = flags & _ASK
        self._is_persistent = mode == PERSISTENT

    def _publish_other(self, route: Route, header: bytes, body: bytes, chunks: list[bytes] | None) -> None:
        """Publish what has no queue or several, asks for a look at its properties, or is part of a transaction."""
        self._output.has_published = True
        queues: Sequence[Queue] = route.queues
        is_persistent = self._is_persistent
        if self._asks or route.dynamic:
            queues, header = self._inspect(route, header)
        if self.transaction is not None:
            publication = Publication(route, tuple(queues), header, body, chunks, is_persistent)
            self.transaction.add(publication)
            return
        confirms = self.confirms
        if confirms is not None:
            confirms.published += 1
            self._touched_confirms.add(confirms)
        if not queues:
            if route.mandatory:
                self.return_unroutable(route, header, body, chunks)
            return
        for message in clones(self._ids, route, queues, header, body, chunks, is_persistent):
            if message.state == PENDING:
                self._append(message)
                if confirms is not None:
                    confirms.expect(message)
            queue: Any = message.queue
            queue.append(message)
            self._touched.add(queue)

    def _find_route(self, arguments: bytes) -> Route:
        """Find and remember where messages with these arguments go, or raise what refuses them."""
        publish = BasicPublish.decode_arguments(arguments, 0, len(arguments))
        if publish.immediate:
            raise NotImplementedFault("immediate=true")  # contract B3
        self._access.require(Permission.WRITE, "exchange", publish.exchange)
        exchange = self._vhost.exchange(publish.exchange)
        if exchange.internal:
            raise AccessRefused(f"cannot publish to internal {self._vhost.phrase('exchange', publish.exchange)}")
        route = Route(arguments[2:-1], publish.exchange, publish.routing_key, publish.mandatory)
        route.dynamic = self._vhost.routing.depends_on_headers(publish.exchange)
        if not route.dynamic:
            route.queues = tuple(self._vhost.route(publish.exchange, publish.routing_key, dict))
            route.queue = route.queues[0] if len(route.queues) == 1 else None
        if len(self._routes) >= _CACHED_ROUTES:
            self._routes.clear()
        self._routes[arguments] = route
        return route

    def _inspect(self, route: Route, header: bytes) -> tuple[Sequence[Queue], bytes]:
        """Check the properties that the broker must answer for, and route by headers where they matter."""
        has_copies = bool(self._asks & FLAG_HEADERS) and b"CC" in header
        if not (route.dynamic or has_copies or self._asks & ~FLAG_HEADERS):
            return route.queues, header
        properties = decode_properties(header[4:-1])
        user = self._access.identity.user
        if properties.user_id is not None and properties.user_id != user:
            raise PreconditionFailed(
                f"user_id property set to '{properties.user_id}' but authenticated user was '{user}'"
            )
        if properties.expiration is not None:
            _check_expiration(properties.expiration)
        headers = properties.headers
        values: Callable[[], Mapping[str, Any]] = (lambda: headers.values) if headers is not None else dict
        queues = self._vhost.route(route.exchange, route.routing_key, values) if route.dynamic else list(route.queues)
        if has_copies and headers is not None:
            queues, header = self._route_copies(route, headers, properties, header, queues)
        return queues, header

    def _route_copies(
        self, route: Route, headers: FieldTable, properties: BasicProperties, header: bytes, queues: list[Queue]
    ) -> tuple[list[Queue], bytes]:
        """Add the routes of the CC and BCC headers; BCC does not travel on (contract B8)."""
        found = dict.fromkeys(queues)
        for name in ("CC", "BCC"):
            keys = headers.values.get(name)
            if keys is None:
                continue
            if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
                raise PreconditionFailed(f"invalid message: {{unacceptable_type_in_header,{name}}}")
            for key in keys:
                found |= dict.fromkeys(self._vhost.route(route.exchange, key, lambda: headers.values))
        if "BCC" in headers.values:
            size = int.from_bytes(header[8:16], "big")
            kept = {name: getattr(properties, name) for name in BasicProperties.__slots__}
            kept["headers"] = headers.without("BCC")
            header = tail(encode_header(size, BasicProperties(**kept)))
        return list(found), header

    def return_unroutable(self, route: Route, header: bytes, body: bytes, chunks: list[bytes] | None) -> None:
        """Send the message back (contract B2); its confirm follows."""
        method = BasicReturn(ReplyCode.NO_ROUTE, "NO_ROUTE", route.exchange, route.routing_key)
        self._output.send_content(self._channel_id, method, header, body, chunks)


def clones(
    ids: MessageIdGenerator,
    route: Route,
    queues: Sequence[Queue],
    header: bytes,
    body: bytes,
    chunks: list[bytes] | None,
    is_persistent: bool,
) -> list[Message]:
    """Return one message per queue, all with the same octets; stored bodies of some size are shared."""
    routing = route.routing
    messages = []
    stored = []
    for queue in queues:
        state = PENDING if is_persistent and queue.is_stored else TRANSIENT
        message = Message(ids.next(), queue, routing, header, body, chunks, state)
        messages.append(message)
        if state == PENDING:
            stored.append(message)
    if len(stored) > 1 and (len(body) > _SHARED_BODY or chunks is not None):
        for message in stored:
            message.content_id = stored[0].id
    return messages


def _check_expiration(expiration: str) -> None:
    if not (expiration.isascii() and expiration.isdigit()):
        raise PreconditionFailed(f"invalid expiration '{expiration}': expected a number of milliseconds")
