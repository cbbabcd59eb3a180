"""One message of a channel and its several queues: who admits it, who holds it for its key, who gets a copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from broker.amqp.confirms import Confirms
from broker.amqp.copies import COPIES_AT_ONCE, COPY_STEPS, Content, clones, keyed_clones
from broker.broker import Broker
from broker.codec.expiration import ABSOLUTE_LIFETIME, EXPIRES, FLAGS, note_due
from broker.message import COUNTER_MASK, PENDING, TRANSIENT, Message, published_ms, share_body
from broker.queue.outcome import OVER_LENGTH
from broker.queue.queue import Queue
from broker.topology.keys import KeyRules, keyed_among
from broker.topology.routing import Route

_SPREAD_STEPS: Final = 2
"""What a copy costs more, in steps of work, when each goes to another queue of many."""


class FanOut:
    """Puts messages of one channel into their queues."""

    __slots__ = (
        "_append",
        "_append_keyed",
        "_ids",
        "_refuses",
        "_touched",
        "_touched_confirms",
        "_work",
        "confirms",
        "lifetime",
    )

    def __init__(self, broker: Broker) -> None:
        self._append = broker.journal.append
        self._append_keyed = broker.journal.append_keyed
        self._ids = broker.ids
        self._refuses = broker.refuses
        self._touched = broker.touched
        self._touched_confirms = broker.touched_confirms
        self._work = broker.work
        self.confirms: Confirms | None = None
        """Those of the channel, when it has asked for them."""
        self.lifetime = ABSOLUTE_LIFETIME
        """In ms, of the next message, if it asks for nothing but its expiration."""

    def admitting(self, route: Route, queues: Sequence[Queue], content: Content) -> Sequence[Queue]:
        """Return those of `queues` that have room for a message; the others refuse it (contract F8)."""
        if not any(queue.refuses_publishers for queue in queues):
            return queues
        size = int.from_bytes(content[0][8:16], "big")
        self._work.done += len(queues)
        refusing = dict.fromkeys(queue for queue in queues if queue.refuses_publishers and self._refuses(queue, size))
        for queue in refusing:
            queue.counts.refused += 1
        letters = [queue for queue in refusing if queue.dead_letters_refused]
        for queue, message in zip(letters, clones(self._ids, route, letters, *content, False), strict=True):
            queue.settle((message,), OVER_LENGTH)
        return [queue for queue in queues if queue not in refusing]

    def hold(
        self, route: Route, queues: Sequence[Queue], content: Content, is_persistent: bool, rules: KeyRules
    ) -> Sequence[Queue]:
        """Put the message into those queues where it asks for keys, which hold it until the store has decided; return
        the others.
        """
        asking = [queue for queue in queues if queue in rules]
        if not asking:
            return queues
        messages = keyed_clones(self._ids, route, asking, content, rules, is_persistent=is_persistent)
        keyed = keyed_among(messages)
        for message in keyed:
            _level_of(message).hold(message)
            if message.state == PENDING and self.confirms is not None:
                self.confirms.expect(message)
        self._append_keyed(keyed)
        self._work.done += COPY_STEPS * len(keyed)
        return [queue for queue in queues if queue not in rules]

    def append_to_streams(self, route: Route, queues: Sequence[Queue], content: Content) -> Sequence[Queue]:
        """Append the message to those queues that are streams; return the others."""
        streams = [queue for queue in queues if queue.is_stream]
        if not streams:
            return queues
        for stream in streams:
            self.append_to_stream(stream, route, content)
        return [queue for queue in queues if not queue.is_stream]

    def append_to_stream(self, stream: Queue, route: Route, content: Content) -> None:
        """Append the message to one stream."""
        message = Message(self._ids.next(), stream, route.routing, *content, PENDING)
        stream.append(message)
        if self.confirms is not None:
            self.confirms.expect(message)
        self._work.done += COPY_STEPS

    def copy(
        self,
        route: Route,
        queues: Sequence[Queue],
        content: Content,
        is_persistent: bool,
        due: int = 0,
    ) -> None:
        """Put a message into some of its queues. Hot: what `clones` would return is not collected.

        `due` is when it leaves them by itself, in milliseconds since 1970, if that is known, and not by its header.
        """
        header, body, chunks = content
        ids, touched, routing = self._ids, self._touched, route.routing
        expires, lifetime = header[FLAGS] & EXPIRES, self.lifetime
        stored = []
        for queue in queues:
            message_id = ids.last + 1
            if message_id & COUNTER_MASK:
                ids.last = message_id
            else:
                message_id = ids.next()
            if is_persistent and queue.is_stored:
                message = Message(message_id, queue, routing, header, body, chunks, PENDING)
                stored.append(message)
            else:
                message = Message(message_id, queue, routing, header, body, chunks, TRANSIENT)
            queue.append(message)
            touched.add(queue)
            if expires:
                if due:
                    message.due = due
                elif lifetime >= 0:
                    message.due = published_ms(message_id) + lifetime
                else:
                    note_due(message)
                queue.expect_expiry((message,))
        self._work.done += COPY_STEPS * len(queues)
        if stored:
            share_body(stored)
            for message in stored:
                self._append(message)
                if self.confirms is not None:
                    self.confirms.expect(message)

    def copy_in_turns(
        self,
        route: Route,
        queues: Sequence[Queue],
        content: Content,
        is_persistent: bool,
        is_refused: bool,
    ) -> Iterator[None]:
        """Put a message into its many queues and count it; pauses when a turn is used up. `is_refused`: others had no
        room.
        """
        for start in range(0, len(queues), COPIES_AT_ONCE):
            if self._work.is_over:
                yield
            part = [queue for queue in queues[start : start + COPIES_AT_ONCE] if not queue.is_deleted]
            self.copy(route, part, content, is_persistent)
            self._work.done += _SPREAD_STEPS * len(part)
        self.count(is_refused=is_refused)

    def count(self, *, is_refused: bool = False) -> None:
        """A publish is done: it is confirmed when its messages are safe, or the client is told that it was refused."""
        confirms = self.confirms
        if confirms is None:
            return
        if is_refused:
            confirms.refuse()
        else:
            confirms.published += 1
        self._touched_confirms.add(confirms)


def _level_of(message: Message) -> Any:
    return message.queue
