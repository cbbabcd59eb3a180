"""The consumers of a queue of which some select messages (docs/selectors.md): each gets what its selector selects.

A message that nobody selects stays where it is, for a consumer that will come. Each message is looked at once for each
selector, as long as it stays in memory; what is in slots is looked at when it is read. Consumers without a selector get
what the others leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from broker.message import Message
from broker.queue.dispatcher import Dispatcher, Dispatching, QueueConsumer
from broker.queue.pace import DeliveryAllowance
from broker.queue.ready_messages import ReadyMessages, insert_in_order
from broker.selector.message_view import MessageView
from broker.selector.selector import Selector

_STEPS_AT_ONCE: Final = 1000
"""What looking at messages may cost in one turn of the loop, in steps (`Selector.steps_for`)."""
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


class _Look:
    """A look at one message, which may take several turns."""

    __slots__ = ("found", "left", "message", "view")

    def __init__(self, message: Message, selections: Iterable[_Selection]) -> None:
        self.message = message
        self.view = MessageView.of(message)
        self.left = deque(selections)
        self.found: list[_Selection] = []

    def go_on(self, steps: int) -> int:
        """Ask one selector after the other; return what is left of `steps`: 0 or less when they were not enough."""
        while self.left and steps > 0:
            selection = self.left.popleft()
            steps -= selection.selector.steps_for(self.view)
            if selection.selector.matches(self.view):
                self.found.append(selection)
        return steps


class Selecting:
    """The consumers of one queue on this node, which take turns among those of their selector."""

    __slots__ = (
        "_changes",
        "_fresh",
        "_is_unordered",
        "_listed",
        "_look_under_way",
        "_of",
        "_selections",
        "_shared",
        "_taken",
        "_verdicts",
        "allowance",
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
        self.allowance: DeliveryAllowance | None = None
        """What the limits of deliveries leave, if the queue has any."""
        self.is_behind = False
        """Are there messages that have not been looked at, because a turn was used up?"""
        self._selections: dict[Selector, _Selection] = {}
        self._of: dict[QueueConsumer, _Selection] = {}
        self._verdicts: dict[int, tuple[_Selection, ...]] = {}  # of messages that were looked at, by id
        self._taken: set[int] = set()  # what was taken since `_changes`, and may be a candidate elsewhere
        self._shared: set[int] = set()  # of those what several had selected
        self._fresh: deque[Message] = deque()  # what has not been looked at
        self._listed = 0  # the last id in `ready` that is in its places as a candidate, or fresh
        self._look_under_way: _Look | None = None
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
            self._forget_all()
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
            self._forget_all()
        return False

    def _forget_all(self) -> None:
        """Other selectors are asked from now on: each message is looked at again."""
        self._verdicts.clear()
        self._look_under_way = None
        self._changes = -1

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

    def room(self, limit: int) -> int:
        return limit if self.wants_more else self.plain.room(limit)

    @property
    def priority(self) -> int:
        return self.plain.priority

    def share_out(self, ready: deque[Message]) -> bool:
        return self.plain.share_out(ready)

    # Who gets what

    @property
    def wants_more(self) -> bool:
        """Would a consumer take what its selector selects, if there was more of it?"""
        return any(not each.candidates and each.turns.has_credit() for each in self._selections.values())

    def forget(self, messages: Iterable[Message]) -> None:
        """These messages come back, and may be selected otherwise than before: what they say of themselves changes."""
        look = self._look_under_way
        for message in messages:
            self._verdicts.pop(message.id, None)
            if look is not None and look.message is message:
                self._look_under_way = None

    def bring_back(self, window: ReadyMessages, messages: Sequence[Message]) -> Sequence[Message]:
        """Put messages back that were taken from the middle, as far as their places are still there; return the others.

        So giving one back costs no look at all that nobody selects.
        """
        if window.changes != self._changes or window.is_unordered or window.late:
            return messages
        others: list[Message] = []
        for message in messages:
            is_known = message.id in self._taken and message.id not in self._shared
            if is_known and window.revive(message):
                self._taken.discard(message.id)
                self._fresh.appendleft(message)
            else:
                others.append(message)
        return others

    def serve(self, window: ReadyMessages) -> None:
        """Give what is in memory to those who select it and have credit."""
        if not self._selections:
            return
        self._look(window)
        for selection in self._selections.values():
            while selection.candidates and selection.turns.has_credit():
                room = _RUN if self.allowance is None else self.allowance.room(_RUN)
                run = self._run(selection, window.ready, room)
                if not run:
                    break
                offered = tuple(run)
                selection.turns.share_out(run)
                taken = offered[: len(offered) - len(run)]
                selection.candidates.extendleft(reversed(run))
                if self.allowance is not None:
                    self.allowance.spend(len(taken))
                if not taken:
                    break
                self._taken.update(message.id for message in taken)
                self._shared.update(each.id for each in taken if len(self._verdicts.get(each.id, ())) > 1)
                self.forget(taken)
                window.take_out(taken)
        if len(self._taken) > _GARBAGE:
            self._changes = -1

    def _run(self, selection: _Selection, ready: deque[Message], limit: int) -> deque[Message]:
        """Remove and return the first candidates that are still there: others take from the left of `ready`."""
        run: deque[Message] = deque()
        first = ready[0].id if ready and not self._is_unordered else 0
        while ready and selection.candidates and len(run) < limit:
            message = selection.candidates.popleft()
            if message.id >= first and message.id not in self._taken:
                run.append(message)
        return run

    def _look(self, window: ReadyMessages) -> None:
        """Find candidates among the messages that have come, or anew if more has changed than that."""
        if window.changes != self._changes or window.is_unordered:
            window.put_in_order()
            self._begin_anew(window)
        ready = window.ready
        if len(self._verdicts) > 2 * len(ready) + _GARBAGE:
            there = {message.id for message in ready}
            self._verdicts = {each: verdict for each, verdict in self._verdicts.items() if each in there}
        self._list_fresh(window)
        self._look_at_fresh(window.ready)

    def _list_fresh(self, window: ReadyMessages) -> None:
        """List what has come since the last time."""
        came: list[Message] = []
        for message in reversed(window.ready):
            if message.id <= self._listed and not window.is_unordered:
                break
            came.append(message)
        if came:
            self._fresh.extend(reversed(came))
            self._listed = came[0].id

    def _look_at_fresh(self, ready: deque[Message]) -> None:
        """Look at messages until the turn is used up. Those that others have taken from the left are passed over."""
        first = ready[0].id if ready and not self._is_unordered else 0
        fresh, steps = self._fresh, _STEPS_AT_ONCE
        while fresh and ready:
            message = fresh[0]
            verdict = self._verdicts.get(message.id) if message.id >= first else ()
            if verdict is None:
                look = self._look_under_way
                if look is None or look.message is not message:
                    look = _Look(message, self._selections.values())
                steps = look.go_on(steps)
                self._look_under_way = look if look.left else None
                if look.left:
                    break
                verdict = self._verdicts[message.id] = tuple(look.found)
            for selection in verdict:
                insert_in_order(selection.candidates, message)
            fresh.popleft()
        if not ready:
            fresh.clear()
        self.is_behind = bool(fresh)

    def _begin_anew(self, window: ReadyMessages) -> None:
        self._changes = window.changes
        self._is_unordered = window.is_unordered
        self._fresh.clear()
        self._listed = 0
        self._taken.clear()
        self._shared.clear()
        for selection in self._selections.values():
            selection.candidates.clear()
