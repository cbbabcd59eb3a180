"""How much may be ready in a queue, and what leaves it when that is more (contract F8)."""

from __future__ import annotations

from collections import deque

from broker.message import TRANSIENT, Message, MessageIdGenerator
from broker.ports.slot import Slot
from broker.queue.length_limit import LengthElsewhere, LengthLimit
from broker.queue.settings import Overflow, QueueLimits, QueueSettings
from broker.queue.window import Window


class Filled:
    """A window with so many messages of so many octets, and its limit."""

    def __init__(self, settings: QueueSettings, count: int, octets: int = 40) -> None:
        ids = MessageIdGenerator(0)
        self.window = Window(7, 0, QueueLimits(), None, counts_octets=True)  # type: ignore[arg-type]
        self.limit = LengthLimit(settings, self.window)
        self.messages = []
        for _ in range(count):
            body = bytes(4) + b"x" * octets + b"\xce"
            message = Message(ids.next(), None, b"\0\0", b"", body, None, TRANSIENT)  # type: ignore[arg-type]
            self.window.append_counted(message)
            self.messages.append(message)


def test_the_oldest_are_too_many() -> None:
    filled = Filled(QueueSettings(max_length=2), 5)
    assert filled.limit.is_exceeded
    assert filled.limit.is_full_for(0)
    assert list(filled.limit.take_excess()) == filled.messages[:3]
    assert filled.window.page_floor == filled.messages[2].id
    assert not filled.limit.is_exceeded
    assert filled.limit.is_full_for(0)
    filled.window.take_first()
    assert not filled.limit.is_full_for(0)
    assert filled.limit.is_full_for(0, 2)


def test_octets_can_be_too_many() -> None:
    filled = Filled(QueueSettings(max_length_bytes=100), 4)
    assert list(filled.limit.take_excess()) == filled.messages[:2]
    assert not filled.limit.is_full_for(20)
    assert filled.limit.is_full_for(21)


def test_what_is_not_in_memory_is_not_taken() -> None:
    filled = Filled(QueueSettings(max_length=2), 0)
    filled.window.slots.append(Slot(7, 0, 1, 10, 10))
    filled.window.tail = deque()
    assert filled.limit.is_exceeded
    assert list(filled.limit.take_excess()) == []


def test_only_drop_head_makes_room() -> None:
    assert Filled(QueueSettings(max_length=1), 0).limit.drops_head
    for overflow in (Overflow.REJECT_PUBLISH, Overflow.REJECT_PUBLISH_DLX):
        assert not Filled(QueueSettings(max_length=1, overflow=overflow), 0).limit.drops_head


def test_what_other_nodes_have_and_what_was_given_away_each_count_against_the_limit() -> None:
    filled = Filled(QueueSettings(max_length=10, max_length_bytes=1000), 2)
    elsewhere = LengthElsewhere()

    def is_full(messages: int, octets: int = 0) -> bool:
        return filled.limit.is_full_elsewhere(elsewhere, octets, messages)

    assert (is_full(8), is_full(9)) == (False, True)
    elsewhere.give(5, 200)
    assert (is_full(3), is_full(4)) == (False, True)
    elsewhere.begin_exchange()
    elsewhere.give(1, 40)
    elsewhere.end_exchange(4, 160)
    assert (is_full(4), is_full(5)) == (False, True), "4 elsewhere and 2 here, or 1 given away since and 2 here"
    assert (is_full(1, 760), is_full(1, 761)) == (False, True)
    elsewhere.end_exchange(0, 0)
    elsewhere.begin_exchange()
    elsewhere.end_exchange(0, 0)
    assert (is_full(8), is_full(9)) == (False, True)
