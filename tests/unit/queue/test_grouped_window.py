"""What of a queue with groups goes into slots when it is too much for memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from broker.message import STORED, Message
from broker.ports.slot import Slot
from broker.queue.grouped_window import GroupedWindow
from broker.queue.settings import QueueLimits
from tests.support.ids import message_id

QUEUE_ID = 7
LANE = 0
LITTLE = QueueLimits(memory=1, transient_memory=1)


@pytest.fixture
def window() -> GroupedWindow:
    journal: Any = None
    return GroupedWindow(QUEUE_ID, LANE, LITTLE, journal)


def messages(numbers: Iterable[int]) -> list[Message]:
    queue: Any = None
    return [Message(message_id(LANE, number), queue, b"\0\0", b"", b"", None, STORED) for number in numbers]


def publish(window: GroupedWindow, numbers: Iterable[int]) -> None:
    for message in messages(numbers):
        window.append(message)


def ids(numbers: Iterable[int]) -> list[int]:
    return [message_id(LANE, number) for number in numbers]


def test_the_newer_three_quarters_become_a_slot(window: GroupedWindow) -> None:
    publish(window, range(1, 9))

    window.page_out()

    assert [message.id for message in window.ready] == ids((1, 2))
    assert [(slot.start, slot.end, slot.count) for slot in window.slots] == [(*ids((3, 8)), 6)]


def test_what_was_read_from_a_slot_that_came_back_to_its_lane_is_in_no_other_one(window: GroupedWindow) -> None:
    """Its row is in the store until all of it is settled: two rows must not have the same messages."""
    start, end = ids((1, 6))
    window.take_over(Slot(QUEUE_ID, LANE, start, end, 6, row=start))
    publish(window, range(7, 11))
    slot = window.open_next_slot()
    assert slot is not None
    read = messages(range(1, 7))
    assert window.on_read(slot, read)
    window.offer(read)
    window.join_tail()

    window.page_out()

    assert [message.id for message in window.ready] == ids(range(1, 7))
    assert [(slot.start, slot.end, slot.count) for slot in window.slots] == [(*ids((7, 10)), 4)]
