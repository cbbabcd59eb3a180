"""Shows a client what is in a queue, without taking or marking any of it (docs/jms.md).

What is shown was ready when the browser began: what lies in this node's memory, and in the store for all nodes. What
clients of other nodes hold is shown, too; what left the queue meanwhile may be.

The browsers of a connection take turns, so that no more than one of them holds messages for a socket: the first shows
until it is done, or has no room, or its channel is stopped.
"""

from __future__ import annotations

from collections import OrderedDict, deque
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
_LISTED_A_STEP: Final = 50
"""Messages in memory that are listed in the time of a step of work."""
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
        "_turns",
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
        turns: OrderedDict[Browser, None],
    ) -> None:
        """With a `selector` only what passes it is shown. `on_end` is called when the client has seen everything.
        `turns` are the browsers of the connection that would show something, the one whose turn it is before all.
        """
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
        self._turns = turns
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
        self._give_way()

    def go_on(self) -> None:
        """Show more, if there is room: call it when there may be some."""
        if not (self._is_running or self._is_over):
            self._is_running = True
            self._spawn(self._run())

    async def _run(self) -> None:
        try:
            while not self._is_over and not self._output.has_sent_close:
                if not (self._buffer or self._parts):
                    self._give_way()
                    await self._end()
                elif self._output.is_blocked or not self._deliveries.is_flowing or not self._has_turn():
                    return
                elif self._buffer:
                    self._show_some()
                else:
                    await self._fill(self._parts[0])
        finally:
            self._is_running = False
            if self._output.is_blocked or not self._deliveries.is_flowing:
                self._give_way()

    def _has_turn(self) -> bool:
        """Is it this one's turn? If not, it is woken when it is."""
        self._turns[self] = None
        return next(iter(self._turns)) is self

    def _give_way(self) -> None:
        """Let the next one show, if it was this one's turn."""
        if self not in self._turns:
            return
        was_first = next(iter(self._turns)) is self
        del self._turns[self]
        if was_first and self._turns:
            next(iter(self._turns)).go_on()

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
        self._broker.work.done += part.begin() // _LISTED_A_STEP
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

    __slots__ = ("_has_begun", "_in_memory", "after", "last", "queue")

    def __init__(self, queue: Queue, last: int) -> None:
        self.queue = queue
        self.last = last
        self.after = 0
        """All up to this id have been read."""
        self._in_memory: deque[Message] = deque()
        self._has_begun = False

    def begin(self) -> int:
        """List what is in memory, the first time; return how much that was."""
        if self._has_begun:
            return 0
        self._has_begun = True
        self._in_memory.extend(sorted((each for each in self.queue.in_memory if each.id <= self.last), key=_id_of))
        return len(self._in_memory)

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
