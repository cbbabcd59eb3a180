"""The consumers of a queue of which some select messages (docs/selectors.md): each gets what its selector selects.

A message that nobody selects stays where it is, for a consumer that will come. Each message is looked at once for each
selector, as long as it stays in memory; what is in slots is looked at when it is read. Consumers without a selector get
what the others leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from broker.message import Message
from broker.queue.dispatcher import Dispatcher, Dispatching, QueueConsumer
from broker.queue.ready_messages import ReadyMessages
from broker.selector.message_view import MessageView
from broker.selector.selector import Selector

_LOOKS_AT_ONCE: Final = 1000
"""Messages that are looked at in one turn of the loop, counted once for each selector."""
_RUN: Final = 64
"""Messages that are offered at once to consumers, who may take fewer."""
_GARBAGE: Final = 1000


class _Selection:
    """The consumers that have one selector, and what is ready for them."""

    __slots__ = ("candidates", "selector", "turns")

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self.turns = Dispatcher()
        self.candidates: deque[Message] = deque()


class Selecting:
    """The consumers of one queue on this node, which take turns among those of their selector."""

    __slots__ = (
        "_changes",
        "_examined",
        "_is_unordered",
        "_of",
        "_selections",
        "_taken",
        "_verdicts",
        "consumers",
        "is_active",
        "is_behind",
        "plain",
        "was_used",
    )

    def __init__(self, plain: Dispatching) -> None:
        """`plain` has the consumers without a selector."""
        self.plain = plain
        self.consumers: dict[QueueConsumer, None] = dict.fromkeys(plain.consumers)
        self.is_active = True
        self.was_used = True
        self.is_behind = False
        """Are there messages that have not been looked at, because a turn was used up?"""
        self._selections: dict[Selector, _Selection] = {}
        self._of: dict[QueueConsumer, _Selection] = {}
        self._verdicts: dict[int, tuple[_Selection, ...]] = {}  # of messages that were looked at, by id
        self._taken: set[int] = set()  # what was taken since `_changes`, and may be a candidate elsewhere
        self._examined = 0  # the last id in `ready` that is in its places as a candidate
        self._changes = -1  # of the window when the candidates were found
        self._is_unordered = False

    # Who is there

    def add(self, consumer: QueueConsumer) -> None:
        self.consumers[consumer] = None
        self.plain.add(consumer)

    def add_selecting(self, consumer: QueueConsumer, selector: Selector) -> None:
        """Add a consumer that gets what this selector selects."""
        selection = self._selections.get(selector)
        if selection is None:
            selection = self._selections[selector] = _Selection(selector)
            self._verdicts.clear()
            self._changes = -1
        self.consumers[consumer] = None
        self._of[consumer] = selection
        selection.turns.add(consumer)

    def remove(self, consumer: QueueConsumer) -> bool:
        self.consumers.pop(consumer, None)
        selection = self._of.pop(consumer, None)
        if selection is None:
            return self.plain.remove(consumer)
        selection.turns.remove(consumer)
        if not selection.turns.consumers:
            del self._selections[selection.selector]
            self._verdicts.clear()
            self._changes = -1
        return False

    def remove_all(self) -> list[QueueConsumer]:
        consumers = list(self.consumers)
        for consumer in consumers:
            self.remove(consumer)
        return consumers

    def wake(self, consumer: QueueConsumer) -> None:
        self._turns_of(consumer).wake(consumer)

    def wake_next(self, consumer: QueueConsumer) -> None:
        self._turns_of(consumer).wake_next(consumer)

    def _turns_of(self, consumer: QueueConsumer) -> Dispatching:
        selection = self._of.get(consumer)
        return self.plain if selection is None else selection.turns

    @property
    def is_in_exclusive_use(self) -> bool:
        return len(self.consumers) == 1 and next(iter(self.consumers)).is_exclusive

    @property
    def has_takers(self) -> bool:
        return bool(self.consumers)

    @property
    def has_priorities(self) -> bool:
        return self.plain.has_priorities or any(each.turns.has_priorities for each in self._selections.values())

    def has_credit(self) -> bool:
        return self.plain.has_credit()

    def share_out(self, ready: deque[Message]) -> bool:
        return self.plain.share_out(ready)

    # Who gets what

    @property
    def wants_more(self) -> bool:
        """Would a consumer take what its selector selects, if there was more of it?"""
        return any(not each.candidates and each.turns.has_credit() for each in self._selections.values())

    def forget(self, messages: Iterable[Message]) -> None:
        """These messages come back, and may be selected otherwise than before: what they say of themselves changes."""
        for message in messages:
            self._verdicts.pop(message.id, None)

    def serve(self, window: ReadyMessages) -> None:
        """Give what is in memory to those who select it and have credit."""
        if not self._selections:
            return
        self._look(window)
        for selection in self._selections.values():
            while selection.candidates and selection.turns.has_credit():
                run = self._run(selection, window.ready)
                if not run:
                    break
                offered = tuple(run)
                selection.turns.share_out(run)
                taken = offered[: len(offered) - len(run)]
                selection.candidates.extendleft(reversed(run))
                if not taken:
                    break
                self._taken.update(message.id for message in taken)
                self.forget(taken)
                window.take_out(taken)
        if len(self._taken) > _GARBAGE:
            self._changes = -1

    def _run(self, selection: _Selection, ready: deque[Message]) -> deque[Message]:
        """Remove and return the first candidates that are still there: others take from the left of `ready`."""
        run: deque[Message] = deque()
        first = ready[0].id if ready and not self._is_unordered else 0
        while ready and selection.candidates and len(run) < _RUN:
            message = selection.candidates.popleft()
            if message.id >= first and message.id not in self._taken:
                run.append(message)
        return run

    def _look(self, window: ReadyMessages) -> None:
        """Find candidates among the messages that have come, or anew if more has changed than that."""
        window.put_in_order()
        ready = window.ready
        if window.changes != self._changes or window.is_unordered:
            self._begin_anew(window)
        if len(self._verdicts) > 2 * len(ready) + _GARBAGE:
            there = {message.id for message in ready}
            self._verdicts = {each: verdict for each, verdict in self._verdicts.items() if each in there}
        fresh: list[Message] = []
        for message in reversed(ready):
            if message.id <= self._examined and not window.is_unordered:
                break
            fresh.append(message)
        looks = 0
        self.is_behind = False
        for message in reversed(fresh):
            verdict = self._verdicts.get(message.id)
            if verdict is None:
                if looks >= _LOOKS_AT_ONCE:
                    self.is_behind = True
                    break
                looks += len(self._selections)
                verdict = self._verdicts[message.id] = self._verdict(message)
            for selection in verdict:
                selection.candidates.append(message)
            self._examined = message.id

    def _begin_anew(self, window: ReadyMessages) -> None:
        self._changes = window.changes
        self._is_unordered = window.is_unordered
        self._examined = 0
        self._taken.clear()
        for selection in self._selections.values():
            selection.candidates.clear()

    def _verdict(self, message: Message) -> tuple[_Selection, ...]:
        view = MessageView.of(message)
        return tuple([each for each in self._selections.values() if each.selector.matches(view)])
