"""The consumers of one queue on this node, and who decides which of them gets the next message.

Mostly that is the `Dispatcher`, or `SingleActive`. Around it lies `Selecting` while some of them select messages,
`Yielding` while those of other nodes may come before them, `Metered` when the queue limits its deliveries, or one node
gives out its message groups.
"""

from __future__ import annotations

from collections.abc import Collection

from broker.queue.dispatcher import Dispatcher, Dispatching, QueueConsumer
from broker.queue.group_turns import GroupTurns
from broker.queue.metered import Metered
from broker.queue.pace import UNLIMITED, DeliveryAllowance
from broker.queue.selecting import Selecting
from broker.queue.settings import QueueSettings
from broker.queue.single_active import SingleActive
from broker.queue.yielding import Yielding
from broker.selector.selector import Selector


class QueueTurns:
    """The consumers of one queue on this node. The levels of a queue with priorities have the same ones."""

    __slots__ = ("_decider", "_metered", "_settings", "_yielding", "dispatcher", "selection")

    def __init__(self, settings: QueueSettings) -> None:
        self.dispatcher: Dispatching = _decider(settings)
        """Who decides. Hot: a dispatch asks it without a detour."""
        self._decider = self.dispatcher
        """The innermost one, around which the others lie."""
        self._settings = settings
        self.selection: Selecting | None = None
        """The same consumers, when there is one that selects messages."""
        self._yielding: Yielding | None = None
        self._metered: Metered | None = None

    def set(self, settings: QueueSettings) -> None:
        """This is what the queue is set to do from now on: all consumers stay, whether one of them or each may have
        messages. What they hold they keep.
        """
        if _rule(settings) == _rule(self._settings):
            return
        self._settings = settings
        if settings.single_active_consumer:
            self.unrank()
        before, after = self._decider, _decider(settings)
        for consumer in before.consumers:
            after.add(consumer)
        after.is_active, after.was_used = before.is_active, before.was_used
        self._decider = after
        if self.dispatcher is before:
            self.dispatcher = after
        if self._metered is not None and self._metered.turns is before:
            self._metered.turns = after
        if self._yielding is not None:
            self._yielding.lie_around(after)
        if self.selection is not None and self.selection.plain is before:
            self.selection.plain = after

    # Who is there

    @property
    def consumers(self) -> Collection[QueueConsumer]:
        """All of them, in the order in which they came."""
        return self.dispatcher.consumers

    @property
    def was_used(self) -> bool:
        """Has there ever been a consumer on this node?"""
        return self.dispatcher.was_used

    @property
    def is_in_exclusive_use(self) -> bool:
        """Has the only consumer asked to be the only one?"""
        return self.dispatcher.is_in_exclusive_use

    @property
    def has_takers(self) -> bool:
        """May a consumer of this node get messages, if it has credit?"""
        return self.dispatcher.has_takers

    @property
    def has_priorities(self) -> bool:
        """May one consumer with credit come before another?"""
        return self.dispatcher.has_priorities

    def add(self, consumer: QueueConsumer, selector: Selector | None = None) -> None:
        """Add a consumer, which gets all messages or those that its selector selects."""
        if selector is None:
            self.dispatcher.add(consumer)
            return
        if self.selection is None:
            self.dispatcher = self.selection = Selecting(self.dispatcher)
            self.selection.allowance = None if self._metered is None else self._metered.allowance
        self.selection.add_selecting(consumer, selector)

    def remove(self, consumer: QueueConsumer) -> bool:
        """Remove a consumer, if it is there; return whether it was the single active one."""
        return self.dispatcher.remove(consumer)

    def remove_all(self) -> list[QueueConsumer]:
        """Remove and return all consumers."""
        return self.dispatcher.remove_all()

    # Credit

    def wake(self, consumer: QueueConsumer) -> None:
        """A consumer that rests may have credit again: it takes part from the next dispatch on."""
        self.dispatcher.wake(consumer)

    def wake_next(self, consumer: QueueConsumer) -> None:
        """Likewise, and it is this consumer's turn: others may have no credit that it does not have, too."""
        self.dispatcher.wake_next(consumer)

    def room(self, limit: int) -> int:
        """Return how many of `limit` messages the consumers on this node have credit for, 0 if they get none now."""
        return self.dispatcher.room(limit) if self.dispatcher.has_credit() else 0

    @property
    def priority(self) -> int:
        """The highest priority of the consumers on this node that have credit, if `room` has just said that some do."""
        return self.dispatcher.priority

    # The single active consumer

    @property
    def active(self) -> QueueConsumer | None:
        """The single active consumer, if the queue has one and it is on this node."""
        decider = self._decider
        return decider.active if isinstance(decider, SingleActive) else None

    def set_active(self, is_active: bool) -> bool:
        """Set whether the single active consumer is on this node; return True when it is and was not before."""
        was_active, self.dispatcher.is_active = self.dispatcher.is_active, is_active
        return is_active and not was_active

    # Limits of deliveries

    @property
    def is_metered(self) -> bool:
        """May consumers have less than they have credit for?"""
        return self._metered is not None

    def meter(self, allowance: DeliveryAllowance) -> None:
        """Let consumers have no more than `allowance` leaves from now on."""
        if self._metered is None:
            self.dispatcher = self._metered = Metered(self.dispatcher, allowance)
        else:
            self._metered.allowance = allowance
        if self.selection is not None:
            self.selection.allowance = allowance

    def group(self, concurrency: int) -> GroupTurns:
        """Let groups of messages take turns from now on; return who knows whose turn it is."""
        self.meter(UNLIMITED)
        return GroupTurns(self.dispatcher, concurrency)

    @property
    def held_until(self) -> int | None:
        """When consumers may get the next message, in milliseconds, if it is a rate alone that holds them up."""
        return None if self._metered is None else self._metered.allowance.held_until

    def end_hold(self) -> None:
        """Ask anew whether consumers may get messages."""
        if self._metered is not None:
            self._metered.allowance.held_until = None

    # Priorities of consumers on several nodes

    @property
    def is_ranked(self) -> bool:
        """May consumers of other nodes come before those of this one?"""
        return self._yielding is not None

    def rank(self) -> bool:
        """Consumers of this queue have different priorities, and some are on other nodes; return whether that is new
        and changes anything.
        """
        if self.is_ranked or self.selection is not None or isinstance(self._decider, SingleActive):
            return False
        if self._metered is not None:
            return False  # one node gives out the messages
        self.dispatcher = self._yielding = Yielding(self.dispatcher)
        return True

    def unrank(self) -> bool:
        """Consumers of this queue have no priorities any more; return whether that is new."""
        if self._yielding is None or self.selection is not None:
            return False
        turns, self._yielding = self._yielding.end(), None
        if self._metered is None:
            self.dispatcher = turns
        else:
            self._metered.turns = turns
        return True

    def give_way(self, queue_id: int, priority: int | None) -> bool:
        """Let consumers below `priority` have nothing of the queue, or level of one, with this storage id, because
        others want what it has; with None, let them have messages again. Return whether anybody waits no longer: the
        caller dispatches then.
        """
        return self._yielding is not None and self._yielding.give_way(queue_id, priority)


def _decider(settings: QueueSettings) -> Dispatching:
    """Return who decides in a queue without consumers."""
    if settings.single_active_consumer:
        return SingleActive(is_preemptive=settings.is_active_preempted)
    return Dispatcher()


def _rule(settings: QueueSettings) -> tuple[bool, bool]:
    """Return what of the settings says who decides."""
    return settings.single_active_consumer, settings.single_active_consumer and settings.is_active_preempted
