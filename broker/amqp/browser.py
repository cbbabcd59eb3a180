"""Shows a client what is in a queue, without taking or marking any of it (docs/jms.md).

What is shown was ready when the browser began: what lies in this node's memory, and in the store for all nodes. What
clients of other nodes hold is shown, too; what left the queue meanwhile may be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias

from broker.amqp.deliveries import Deliveries
from broker.amqp.output import Output
from broker.broker import Broker
from broker.codec.methods import BasicCancelOk, BasicDeliver
from broker.message import Message
from broker.ports.slot import ALL_LANES, Slot
from broker.queue.queue import Queue
from broker.selector.message_view import MessageView
from broker.selector.selector import Selector

Read: TypeAlias = Callable[[Queue, Slot, int, int], Awaitable[Sequence[Message]]]
"""Reads stored messages as `MessageStore.read` does, after all that the journal has taken before."""

_AT_ONCE: Final = 500
_OCTETS_AT_ONCE: Final = 1 << 20
"""Messages, and octets of them, that are read or sent at once."""
_LOOK: Final = 0.1
"""Seconds before a client is told that it has seen everything: WSO2's forgets what it is about to show then."""


class Browser:
    """One look through a queue."""

    __slots__ = (
        "_broker",
        "_buffer",
        "_channel_id",
        "_deliveries",
        "_is_over",
        "_is_running",
        "_next_turn",
        "_on_end",
        "_output",
        "_parts",
        "_pause",
        "_read",
        "_selector",
        "_shown",
        "_spawn",
        "tag",
    )

    def __init__(
        self,
        channel_id: int,
        output: Output,
        deliveries: Deliveries,
        broker: Broker,
        queue: Queue,
        tag: str,
        *,
        selector: Selector | None,
        read: Read,
        pause: Callable[[float], Awaitable[None]],
        next_turn: Callable[[], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        on_end: Callable[[Browser], None],
    ) -> None:
        """With a `selector` only what passes it is shown. `on_end` is called when the client has seen everything."""
        self._channel_id = channel_id
        self._output = output
        self._deliveries = deliveries
        self._broker = broker
        self._selector = selector
        self._read = read
        self._pause = pause
        self._next_turn = next_turn
        self._spawn = spawn
        self._on_end = on_end
        self._buffer: deque[Message] = deque()
        self._parts = deque(_Part(level, broker.ids.last) for level in reversed(queue.levels))
        self._is_over = self._is_running = False
        self._shown = 0
        self.tag = tag

    def close(self) -> None:
        """The client does not want to see more."""
        self._is_over = True
        self._buffer.clear()
        self._parts.clear()

    def go_on(self) -> None:
        """Show more, if there is room: call it when there may be some."""
        if not (self._is_running or self._is_over):
            self._is_running = True
            self._spawn(self._run())

    async def _run(self) -> None:
        try:
            while not self._is_over and not self._output.has_sent_close:
                if self._buffer:
                    if self._output.is_blocked or not self._deliveries.is_flowing:
                        return
                    self._show_some()
                elif self._parts:
                    await self._fill(self._parts[0])
                else:
                    await self._end()
        finally:
            self._is_running = False

    async def _end(self) -> None:
        """Tell the client that it has seen everything, when it has had the time to see it."""
        if self._shown:
            await self._pause(_LOOK)
        if not self._is_over:
            self.close()
            self._on_end(self)
            self._output.send_method(self._channel_id, BasicCancelOk(self.tag))

    def _show_some(self) -> None:
        octets = shown = 0
        while self._buffer and octets < _OCTETS_AT_ONCE:
            message = self._buffer.popleft()
            if not message.header:  # it is settled
                continue
            self._show(message)
            octets += message.weight
            shown += 1
        self._broker.work.done += shown
        self._shown += shown
        if octets >= _OCTETS_AT_ONCE:
            self._output.block()

    def _show(self, message: Message) -> None:
        deliveries = self._deliveries
        routing = deliveries.told(message.routing)
        exchange_size = routing[0]
        deliveries.last_tag += 1
        method = BasicDeliver(
            self.tag,
            deliveries.last_tag,
            message.redelivered > 0,
            routing[1 : exchange_size + 1].decode(),
            routing[exchange_size + 2 :].decode(),
        )
        self._output.send_content(self._channel_id, method, message.header, message.body, message.chunks)

    async def _fill(self, part: _Part) -> None:
        """Read the next messages of a part; without any it is over."""
        slot = Slot(part.queue.queue_id, ALL_LANES, part.after + 1, part.last, 0, transient=True)
        stored = await self._read(part.queue, slot, _AT_ONCE, _OCTETS_AT_ONCE)
        if self._is_over:
            return
        held = set(self._broker.held_ids(part.queue))
        in_memory, end = part.take_from_memory(stored[-1].id if stored else part.last)
        found = {message.id: message for message in stored if message.id <= end and message.id not in held}
        found |= in_memory
        part.after = end
        if end == part.last:
            self._parts.popleft()
        there = [found[each] for each in sorted(found) if not part.queue.has_expired(found[each])]
        self._buffer.extend(there if self._selector is None else await self._selected(self._selector, there))

    async def _selected(self, selector: Selector, messages: list[Message]) -> list[Message]:
        """Return what passes the selector, in as many turns as that takes."""
        work, selected = self._broker.work, []
        for message in messages:
            if work.is_over:
                await self._next_turn()
            if self._is_over:
                return []
            view = MessageView.of(message)
            work.done += selector.steps_for(view)
            if selector.matches(view):
                selected.append(message)
        return selected


class _Part:
    """The messages of a queue, or of a level of it, up to an id."""

    __slots__ = ("_in_memory", "after", "last", "queue")

    def __init__(self, queue: Queue, last: int) -> None:
        self.queue = queue
        self.last = last
        self.after = 0
        """All up to this id have been read."""
        self._in_memory = deque(sorted(queue.in_memory, key=_id_of))

    def take_from_memory(self, end: int) -> tuple[dict[int, Message], int]:
        """Remove the messages in memory with ids up to `end`, or the first ones if those are too many at once; return
        them, and the id up to which they are all.
        """
        taken: dict[int, Message] = {}
        while self._in_memory and self._in_memory[0].id <= end:
            message = self._in_memory.popleft()
            taken[message.id] = message
            if len(taken) >= _AT_ONCE:
                return taken, message.id
        return taken, end


def _id_of(message: Message) -> int:
    return message.id
