"""Queues that may read no more while too much is on its way."""

from __future__ import annotations

from broker.queue.queue import Queue
from broker.topology.read_gate import HIGH_WATERMARK, LOW_WATERMARK, ReadGate
from tests.support.composition import new_queue


class Way:
    """A gate, and what it tells."""

    def __init__(self) -> None:
        self.touched: set[Queue] = set()
        self.held = 0
        self.gate = ReadGate(self.hold, self.touched)

    def hold(self, octets: int) -> None:
        self.held += octets


def test_queues_read_up_to_the_high_watermark_and_are_touched_at_the_low_one() -> None:
    way, queue = Way(), new_queue("q")
    way.gate.count(HIGH_WATERMARK)
    assert way.gate.has_room(queue)
    way.gate.count(1)
    assert not way.gate.has_room(queue)
    way.gate.count(LOW_WATERMARK - HIGH_WATERMARK)
    assert way.touched == set()
    way.gate.count(-1)
    assert way.touched == {queue}
    assert way.gate.has_room(queue)


def test_a_queue_that_was_held_up_is_touched_once() -> None:
    way, queue = Way(), new_queue("q")
    way.gate.count(HIGH_WATERMARK + 1)
    assert not way.gate.has_room(queue)
    way.gate.count(-HIGH_WATERMARK)
    way.touched.clear()
    way.gate.count(-1)
    assert way.touched == set()


def test_the_journal_is_told_of_what_is_in_memory() -> None:
    way = Way()
    way.gate.count(700)
    way.gate.count(-300)
    assert way.held == 400
