"""basic.publish on one channel, from complete content to queues.

This is the hot path of the broker. A route is found by the octets of the method's arguments; the header is looked at
only where its flags ask for it; nothing else is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from broker.amqp.confirms import Confirms
from broker.amqp.continuation import Continuation
from broker.amqp.copies import COPIES_AT_ONCE, Content
from broker.amqp.direct_reply import REPLY_TO_OCTETS, DirectReplies
from broker.amqp.fan_out import FanOut
from broker.amqp.inspection import inspect, read_lifetime
from broker.amqp.output import Output
from broker.amqp.publish_counts import PublishCounts
from broker.amqp.replier import Replier, with_replies
from broker.amqp.route_finder import RouteFinder
from broker.amqp.scheduling import NOT_LATE, TIMES, Late, due_in, late_queues
from broker.amqp.transaction import Publication, Transaction
from broker.auth.access import Access
from broker.broker import Broker
from broker.codec.envelope import sealed
from broker.codec.expiration import ABSOLUTE_LIFETIME
from broker.codec.methods import BasicReturn
from broker.codec.properties import (
    FLAG_EXPIRATION,
    FLAG_HEADERS,
    FLAG_REPLY_TO,
    FLAG_USER_ID,
    PERSISTENT,
    BasicProperties,
    decode_properties,
    walk_properties,
)
from broker.errors import PreconditionFailed, ReplyCode
from broker.message import (
    COUNTER_MASK,
    PENDING,
    TRANSIENT,
    Message,
    ids_between,
)
from broker.queue.queue import Queue
from broker.topology.keys import NO_KEYS, KeyRules, key_rules
from broker.topology.routed_message import RoutedMessage
from broker.topology.routing import Route, Search
from broker.topology.vhost import VirtualHost

_ASK: Final = FLAG_HEADERS | FLAG_EXPIRATION | FLAG_USER_ID
"""Flags of properties that the broker itself has to look at."""
_TIMED: Final = 1
"""Beside these flags: a header says when to deliver."""
_REMEMBERED_PROPERTIES: Final = 1024
"""Octets up to which a channel keeps the properties of its last message: larger ones are looked at each time."""

# What a publish costs beside its octets, in steps of work.
_OCTETS_A_STEP: Final = 16
"""Octets of properties that are decoded in one step."""

_SIZES_APART: Final = 31
"""Of so many messages of a channel and one more, the size of one stands for theirs."""


class Publisher:
    """Publishes for one channel."""

    __slots__ = (
        "_access",
        "_append",
        "_asks",
        "_channel_id",
        "_connection",
        "_continuation",
        "_counted_id",
        "_decoded",
        "_fan_out",
        "_finder",
        "_ids",
        "_is_persistent",
        "_last_header",
        "_last_id",
        "_output",
        "_properties",
        "_routes",
        "_touched",
        "_touched_confirms",
        "_vhost",
        "_work",
        "confirms",
        "counts",
        "replier",
        "transaction",
    )

    def __init__(
        self,
        channel_id: int,
        output: Output,
        broker: Broker,
        vhost: VirtualHost,
        access: Access,
        continuation: Continuation,
        replies: DirectReplies,
        connection: object,
    ) -> None:
        """`continuation` takes what has to wait for a later turn of the loop; `connection` is who publishes."""
        self._channel_id = channel_id
        self._continuation = continuation
        self._connection = connection
        self._work = broker.work
        self._output = output
        self._vhost = vhost
        self._access = access
        self._finder = RouteFinder(vhost, access, broker.caches, broker.work)
        self._routes = self._finder.remembered
        self._append = broker.journal.append
        self._ids = broker.ids
        self._touched = broker.touched
        self._touched_confirms = broker.touched_confirms
        # The properties of the last message, and what they mean to us: publishers seldom change them.
        self._properties = b""
        self._asks = 0
        self._decoded: BasicProperties | None = None  # if they have headers
        self._is_persistent = False
        self._fan_out = FanOut(broker)
        self.replier = Replier(
            replies, vhost.name, access, broker.work, broker.touched_confirms, self.return_unroutable
        )
        self.counts = PublishCounts(vhost.exchanges, broker.message_sizes)
        self._last_header = b""
        """That of a late message whose properties are small."""
        self._last_id = 0
        """That of the last message with a queue of its own."""
        self._counted_id = 0
        """All ids of this channel's messages up to here are counted."""
        self.confirms: Confirms | None = None  # by `begin_confirms`
        self.transaction: Transaction | None = None

    @property
    def is_persistent(self) -> bool:
        """Is the last message to be stored?"""
        return self._is_persistent

    def on_permissions_changed(self) -> None:
        """Ask anew before each next publish: the client may do something else from now on."""
        self._finder.on_permissions_changed()
        self._routes = self._finder.remembered

    def begin_confirms(self, confirms: Confirms) -> None:
        """Confirm, by `confirms`, what is published from now on."""
        self.confirms = self._fan_out.confirms = confirms

    def resolve(self, arguments: bytes) -> Route:
        """Return where a publish with these argument octets goes, or raise what refuses it."""
        route = self._routes.get(arguments) or self._find_route(arguments)
        counts = self.counts
        count = self._last_id - self._counted_id
        if 0 < count <= COUNTER_MASK:  # `count_run` at short: a client may publish single messages
            counts.published = published = counts.published + count
            self._counted_id = self._ids.last
            if published & _SIZES_APART < count:
                counts.measure(self._last_header)
        else:
            self.count_run()
        if route is not counts.run:
            counts.begin_run(route)
        return route

    def count_run(self) -> None:
        """Count what was published since the last call: between two calls nobody else takes ids."""
        count = self._last_id - self._counted_id
        if count > 0:
            if count > COUNTER_MASK:
                count = ids_between(self._counted_id, self._last_id)
            self.counts.published += count
            self.counts.measure(self._last_header)
        self._counted_id = self._ids.last

    def count_all(self) -> None:
        """Count what was published up to now, and tell exchange, queues and the node of it."""
        self.count_run()
        self.counts.measure(self._last_header)
        self.counts.add_up()

    def publish(self, route: Route, header: bytes, body: bytes, chunks: list[bytes] | None = None) -> bool:
        """Route one complete message: header and body are frame tails. Return whether the connection's further input
        has to wait for a later turn of the loop.

        Hot: no await, and no property is decoded unless a flag, a queue or an exchange asks.
        """
        properties = header[16:]
        if properties != self._properties:
            self._learn(properties)
        queue = route.queue
        if queue is None or self._asks or self.transaction is not None:
            self.count_run()
            if self._properties:
                self._last_header = header
            has_to_wait = self._publish_other(route, (header, body, chunks))
            self._counted_id = self._ids.last
            return has_to_wait
        ids = self._ids
        message_id = ids.last + 1
        if message_id & COUNTER_MASK:
            ids.last = message_id
        else:
            message_id = ids.next()
        self._last_id = message_id
        if self._properties:  # then they are small
            self._last_header = header
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
        return False

    def _learn(self, properties: bytes) -> None:
        """Check properties that differ from the last message's, and note what of them matters here."""
        flags, mode, reply_to = walk_properties(properties, len(properties) - 1)
        decoded = None
        if flags & FLAG_HEADERS:
            decoded = decode_properties(bytes(12) + properties[:-1])  # refuses a table that consumers could not read
            self._work.done += len(properties) // _OCTETS_A_STEP
        if len(properties) <= _REMEMBERED_PROPERTIES:
            self._properties, self._decoded = properties, decoded
        else:
            self._properties, self._decoded = b"", None
        self._asks = flags & _ASK
        if decoded is not None and decoded.headers is not None and not TIMES.isdisjoint(decoded.headers.values):
            self._asks |= _TIMED
        if reply_to and properties[reply_to] == REPLY_TO_OCTETS[0] and properties.startswith(REPLY_TO_OCTETS, reply_to):
            self._asks |= FLAG_REPLY_TO
            self.replier.reply_to_at = reply_to
        self._is_persistent = mode == PERSISTENT
        self._fan_out.lifetime = ABSOLUTE_LIFETIME

    def _publish_other(self, route: Route, content: Content) -> bool:
        """Publish what has no queue or several, asks for a look at its properties, or is part of a transaction."""
        self._output.has_published = True
        if route.stream is not None and not self._asks and self.transaction is None and not route.replies:
            return self._append_to_only(route.stream, route, content)
        if self._asks & _TIMED and (due := self._due(route, content)):
            return self._schedule(route, content, due)
        queues, guards, message, sent = route.queues, None, None, content
        is_refusable = route.is_refusable
        is_persistent = self._is_persistent
        if (self._asks and self._fan_out.lifetime < 0) or route.dynamic or route.search is not None:
            message, keys, content = self._inspect(route, content)
            if message is not None:
                if keys is not None and not route.exchange:
                    route = with_replies(route, keys)
                search = self._finder.search(route, message, keys)
                found = _advance(search)
                if found is None:
                    rest = self._publish_later(search, route, message, sent)
                    self._continuation.put_off(self._channel_id, rest)
                    return True
                queues = found
                is_refusable = True  # nobody has looked yet
                guards = message.guards
        late: Late = NOT_LATE
        is_looked_at = is_refusable and any(queue.looks_at_publishers for queue in queues)
        if is_looked_at:
            late = late_queues(queues, content[0], self._arrived_ms, self._decoded)
            if late:
                if self._vhost.schedule is None:
                    return self._wait_for_schedule(route, sent)
                queues = [queue for queue in queues if queue not in late]
                self._put_into_schedule(route, content, late)
        if message is not None and message.keepers:
            self._keep_copies(route, message)
        if route.replies and self.transaction is None:
            self.replier.reply(route, *content, self.confirms, is_routed=bool(queues))
        is_refused, rules = False, NO_KEYS
        if is_looked_at or guards is not None:
            rules = key_rules(queues, content[0], guards, properties=self._decoded, is_strict=True)
            if self.transaction is None:
                asked, queues = queues, self._fan_out.admitting(route, queues, content)
                is_refused = len(queues) < len(asked)
        if late and not queues:
            return self._end_late(route)
        if self.transaction is not None or not (queues or is_refused):
            self._carry_out(route, queues, content, is_persistent, rules)
            return self._is_turn_over()
        if queues is route.queues and route is self.counts.run:
            self.counts.published += 1
        else:
            self.counts.note(route, queues)
        if rules:
            queues = self._fan_out.hold(route, queues, content, is_persistent, rules)
        if is_looked_at:
            queues = self._fan_out.append_to_streams(route, queues, content)
        if len(queues) <= COPIES_AT_ONCE:
            self._fan_out.copy(route, queues, content, is_persistent)
            self._fan_out.count(is_refused=is_refused)
        else:
            rest = self._fan_out.copy_in_turns(route, queues, content, is_persistent, is_refused)
            for _ in rest:
                self._continuation.put_off(self._channel_id, rest)
                return True
        return self._is_turn_over()

    def _is_turn_over(self) -> bool:
        """Has the connection's further input to wait for a later turn? It is put off then."""
        work = self._work
        if work.done >= work.limit:
            self._continuation.put_off(self._channel_id)
            return True
        return False

    def _publish_later(self, search: Search, route: Route, message: RoutedMessage, sent: Content) -> Iterator[None]:
        """Find the rest of the queues first; pauses when a turn is used up. `sent` is the content as it came."""
        queues = (yield from search) or []
        content, is_persistent = (message.header, message.body, message.chunks), message.is_persistent
        late = late_queues(queues, message.header, self._arrived_ms)
        if late:
            if self._vhost.schedule is None:
                self._wait_for_schedule(route, sent)
                return
            queues = [queue for queue in queues if queue not in late]
            self._put_into_schedule(route, content, late)
        if message.keepers:
            self._keep_copies(route, message)
        if route.replies and self.transaction is None:
            self.replier.reply(route, *content, self.confirms, is_routed=bool(queues))
        rules = key_rules(queues, message.header, message.guards, is_strict=True)
        if late and not queues:
            self._end_late(route)
            return
        if self.transaction is not None or not queues:
            self._carry_out(route, queues, content, is_persistent, rules)
            return
        admitting = self._fan_out.admitting(route, queues, content)
        self.counts.note(route, admitting)
        others = self._fan_out.hold(route, admitting, content, is_persistent, rules)
        others = self._fan_out.append_to_streams(route, others, content)
        yield from self._fan_out.copy_in_turns(route, others, content, is_persistent, len(admitting) < len(queues))

    # What is delivered later

    @property
    def _arrived_ms(self) -> int:
        """When what is being published has come, in milliseconds since 1970. Ids may be ahead of that."""
        return self._ids.now_ms

    def _due(self, route: Route, content: Content) -> int:
        """Return when a message whose headers may say so is to be routed; 0 for at once."""
        properties = self._decoded or decode_properties(content[0][4:-1])
        exchange = self._vhost.exchanges.get(route.exchange)
        kind = "" if exchange is None else exchange.type
        return due_in(properties, kind, self._vhost.dialect, self._arrived_ms)

    def _schedule(self, route: Route, content: Content, due: int) -> bool:
        """Let a message wait until its exchange routes it; a mandatory one must have a queue now (contract E9)."""
        if route.replies:
            raise PreconditionFailed("a direct reply is delivered at once: it has no schedule")
        if self._vhost.schedule is None:
            return self._wait_for_schedule(route, content)
        if self._asks & FLAG_REPLY_TO:
            content = self.replier.readdressed(content[0]), *content[1:]
        if not (self._asks & ~(FLAG_HEADERS | FLAG_REPLY_TO | _TIMED) or route.mandatory or b"CC" in content[0]):
            self._put_into_schedule(route, content, {None: due})  # nothing else in it is the broker's business now
            return self._end_late(route)
        self._work.done += len(content[0]) // _OCTETS_A_STEP
        inspected = inspect(route.routing_key, content[0], self._access, self._vhost.dialect)
        self._require_copies(route, inspected.keys)
        if route.mandatory and not route.queues:
            message = RoutedMessage(inspected.header, *content[1:], self._is_persistent, inspected.properties)
            rest = self._schedule_if_routed(self._finder.search(route, message, inspected.keys), route, content, due)
            for _ in rest:
                self._continuation.put_off(self._channel_id, rest)
                return True
            return self._is_turn_over()
        self._put_into_schedule(route, content, {None: due})
        return self._end_late(route)

    def _schedule_if_routed(self, search: Search, route: Route, content: Content, due: int) -> Iterator[None]:
        """Let a message wait if it has a queue now; pauses when a turn is used up."""
        queues = yield from search
        if queues:
            self._put_into_schedule(route, content, {None: due})
            self._end_late(route)
        else:
            self._carry_out(route, (), content, self._is_persistent, NO_KEYS)

    def _put_into_schedule(
        self, route: Route, content: Content, late: Mapping[Queue, int] | Mapping[None, int]
    ) -> None:
        """Let a message wait, once for each queue that it is for; without one, its exchange decides when it is due. It
        is stored, whatever its delivery mode.
        """
        schedule = self._vhost.schedule
        assert schedule is not None
        for queue, due in late.items():
            held = (sealed(content[0], due, "" if queue is None else queue.name), *content[1:])
            if self.transaction is not None:
                self.transaction.add(Publication(route, (schedule,), *held, is_persistent=True))
            else:
                self._fan_out.copy(route, (schedule,), held, True, due)

    def _end_late(self, route: Route) -> bool:
        """All of a publish waits in the schedule: it is confirmed when it is stored."""
        if self.transaction is None:
            self.counts.note(route, ())
            self._fan_out.count()
        return self._is_turn_over()

    def _wait_for_schedule(self, route: Route, content: Content) -> bool:
        """Publish when there is a schedule: this is the first message of the virtual host that is to wait."""
        self._continuation.put_off(self._channel_id)
        self._continuation.wait(self._channel_id, self._open_schedule(route.arguments, content))
        return True

    async def _open_schedule(self, arguments: bytes, content: Content) -> None:
        await self._vhost.open_schedule()
        self.publish(self.resolve(arguments), *content)

    def _require_copies(self, route: Route, keys: Sequence[str]) -> None:
        """Require that the client may publish by the keys of CC and BCC, too: the first one is that of the route."""
        if self._access.asks_for_purpose:
            for key in keys[1:]:
                self._access.require_publish(route.exchange, key)

    def _carry_out(
        self, route: Route, queues: Sequence[Queue], content: Content, is_persistent: bool, rules: KeyRules
    ) -> None:
        """Add a message to the transaction, or send back one that has no queue."""
        if self.transaction is not None:
            self.transaction.add(Publication(route, tuple(queues), *content, is_persistent, rules))
            return
        self.counts.note(route, ())
        if not route.replies:
            self.note_unroutable(route, *content)
        self._fan_out.count()

    def _append_to_only(self, stream: Queue, route: Route, content: Content) -> bool:
        """Append the message to a stream, which is its only queue; return whether this turn is used up."""
        if route is self.counts.run:
            self.counts.published += 1
        else:
            self.counts.note(route, route.queues)
        self._fan_out.append_to_stream(stream, route, content)
        if self.confirms is not None:
            self.confirms.published += 1
        return self._is_turn_over()

    # Where a message goes

    def _find_route(self, arguments: bytes) -> Route:
        """Find and remember where messages with these arguments go, or raise what refuses them."""
        route = self.replier.find_route(arguments)
        if route is None:
            route = self._finder.find(arguments)
            if self._work.is_over:
                self._continuation.put_off(self._channel_id)
        return route

    def _inspect(self, route: Route, content: Content) -> tuple[RoutedMessage | None, tuple[str, ...] | None, Content]:
        """Check the properties that the broker must answer for; return the message, if its queues are to be searched
        for, with its keys when they were looked at, and the content as it travels on.
        """
        header, body, chunks = content
        asks = self._asks
        if asks & FLAG_REPLY_TO:
            asks -= FLAG_REPLY_TO
            header = self.replier.readdressed(header)
            content = header, body, chunks
        if asks == FLAG_EXPIRATION and not route.dynamic and route.search is None:
            self._fan_out.lifetime = read_lifetime(header, self._vhost.dialect)
            return None, None, content
        has_headers = bool(asks & FLAG_HEADERS)
        is_open = route.dynamic or route.search is not None
        if not (has_headers and (is_open or b"CC" in header)) and not asks & ~FLAG_HEADERS:
            message = RoutedMessage(*content, self._is_persistent, None, self._connection) if is_open else None
            return message, None, content
        self._work.done += len(header) // _OCTETS_A_STEP
        inspected = inspect(route.routing_key, header, self._access, self._vhost.dialect)
        content = inspected.header, body, chunks
        self._require_copies(route, inspected.keys)
        if is_open or len(inspected.keys) > 1:
            properties = inspected.properties
            message = RoutedMessage(inspected.header, body, chunks, self._is_persistent, properties, self._connection)
            return message, inspected.keys, content
        return None, None, content

    def _keep_copies(self, route: Route, message: RoutedMessage) -> None:
        """Let exchanges keep their copies of a message (contract E8); in a transaction when it is committed."""
        if self.transaction is not None:
            message.forget_properties()
            self.transaction.kept.append((route.routing, message))
        else:
            for keeper in message.keepers:
                keeper.keep(route.routing, message)

    # What is sent back

    def note_unroutable(self, route: Route, header: bytes, body: bytes, chunks: list[bytes] | None) -> None:
        """A message has no queue: send it back, if its publisher wants that."""
        if route.mandatory:
            self.return_unroutable(route, header, body, chunks)
        else:
            self.counts.dropped += 1

    def return_unroutable(self, route: Route, header: bytes, body: bytes, chunks: list[bytes] | None) -> None:
        """Send the message back (contract B2); its confirm follows."""
        self.counts.returned += 1
        method = BasicReturn(ReplyCode.NO_ROUTE, "NO_ROUTE", route.exchange, route.routing_key)
        self._output.send_content(self._channel_id, method, header, body, chunks)


def _advance(search: Search) -> list[Queue] | None:
    """Search on; return the queues, None when the turn is used up before."""
    try:
        next(search)
    except StopIteration as done:
        return done.value or []
    return None
