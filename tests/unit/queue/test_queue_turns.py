"""Who decides which consumer of a queue gets the next message, and when that changes."""

from __future__ import annotations

from collections import deque
from typing import Any

from broker.queue.dispatcher import Dispatcher
from broker.queue.queue_turns import QueueTurns
from broker.queue.selecting import Selecting
from broker.queue.settings import QueueSettings
from broker.queue.single_active import SingleActive
from broker.queue.yielding import Yielding
from broker.selector.selector import Selector


class Consumer:
    """A consumer with credit for two messages."""

    is_exclusive = False
    is_resting = False
    unacked = 0

    def __init__(self, priority: int = 0) -> None:
        self.priority = priority
        self.credit = 2

    def take(self, ready: deque[Any], limit: int) -> int:
        count = min(limit, self.credit, len(ready))
        self.credit -= count
        for _ in range(count):
            ready.popleft()
        return count

    def can_take(self) -> bool:
        return self.credit > 0

    def room(self, limit: int) -> int:
        return min(self.credit, limit)

    def on_queue_deleted(self) -> None:
        raise NotImplementedError


def turns(**settings: Any) -> QueueTurns:
    return QueueTurns(QueueSettings(**settings))


def test_a_plain_queue_has_a_dispatcher_and_one_with_a_single_active_consumer_that() -> None:
    plain, single = turns(), turns(single_active_consumer=True)
    assert isinstance(plain.dispatcher, Dispatcher)
    assert isinstance(single.dispatcher, SingleActive)
    consumer = Consumer()
    plain.add(consumer)
    single.add(consumer)
    assert (plain.active, single.active) == (None, consumer)
    assert not single.set_active(False)
    assert single.active is None
    assert single.set_active(True)
    assert not single.set_active(True)


def test_the_first_selector_wraps_those_who_were_there() -> None:
    it, plain, selecting = turns(), Consumer(), Consumer()
    it.add(plain)
    assert it.selection is None
    it.add(selecting, Selector("colour = 'red'"))
    assert isinstance(it.dispatcher, Selecting)
    assert it.dispatcher is it.selection
    assert list(it.consumers) == [plain, selecting]
    it.remove(selecting)
    assert it.remove_all() == [plain]
    assert (list(it.consumers), it.was_used) == ([], True)


def test_consumers_are_ranked_once_and_not_where_that_means_nothing() -> None:
    it, single, selecting = turns(), turns(single_active_consumer=True), turns()
    selecting.add(Consumer(), Selector("a = 1"))
    assert [each.rank() for each in (it, it, single, selecting)] == [True, False, False, False]
    assert isinstance(it.dispatcher, Yielding)
    assert [each.is_ranked for each in (it, single, selecting)] == [True, False, False]
    assert [each.unrank() for each in (it, it, single)] == [True, False, False]
    assert isinstance(it.dispatcher, Dispatcher)


def test_those_below_a_priority_give_way_until_nobody_asks_any_more() -> None:
    it, low, high = turns(), Consumer(0), Consumer(5)
    it.add(low)
    it.add(high)
    assert not it.give_way(1, 3)  # nobody is ranked
    it.rank()
    it.give_way(1, 3)
    assert (it.room(10), it.priority) == (2, 5)
    it.give_way(1, 9)
    assert it.room(10) == 0
    assert it.give_way(1, None)
    assert it.room(10) == 4


def test_there_is_no_room_where_nobody_has_credit() -> None:
    it, consumer = turns(), Consumer()
    assert it.room(10) == 0
    it.add(consumer)
    consumer.credit = 0
    assert it.room(10) == 0
    consumer.credit = 3
    it.wake(consumer)
    assert it.room(2) == 2
