"""What expires in slots, where only the store knows it."""

from __future__ import annotations

from random import Random
from typing import Any

from broker.message import STORED, Message
from broker.ports.slot import Slot
from broker.queue.settings import QueueLimits
from broker.queue.window import Window
from tests.support.harness import Client, Harness
from tests.unit.amqp.test_channel_ttl import declare, living, ready, stored

PAGED = QueueLimits(memory=20_000, transient_memory=20_000, window_size=10, read_ahead=20)


def paged(count: int, **arguments: object) -> tuple[Harness, Client]:
    """Return a node with so many messages in q, most of them in slots, that expire after a second."""
    harness = Harness(queue_limits=PAGED)
    peer = declare(harness.peer(), **arguments)
    peer.publish("q", *[b"m"] * count, properties=living(1000))
    harness.commit()
    return harness, peer


def test_more_than_one_read_is_done_when_much_is_due() -> None:
    harness, peer = paged(2500)
    harness.pass_time(1.01)  # ids of one millisecond are 1024
    harness.commit()
    assert (ready(peer), stored(harness)) == (0, 0)


def test_nothing_is_read_while_too_many_letters_wait() -> None:
    harness, peer = paged(100, dead_letter_exchange="", dead_letter_routing_key="dead")
    declare(peer, "dead")
    letters = harness.parts.dead_letters
    letters.gate.count(1 << 30)
    harness.pass_time(1)
    harness.commit()
    left = ready(peer)
    assert left > 0
    letters.gate.count(-(1 << 30))
    harness.pass_time(0.01)
    assert (ready(peer), ready(peer, "dead")) == (0, 100)


def test_a_queue_that_is_deleted_meanwhile_is_left_alone() -> None:
    harness, _ = paged(100)
    queue = harness.vhost.queues["q"]
    harness.clock.advance(1)
    queue.delete()
    harness.parts.services.read_due(queue)
    harness.run()
    assert not queue.slots.is_reading


def test_the_next_time_is_asked_for_when_nothing_is_due_any_more() -> None:
    harness, peer = paged(50)
    peer.publish("q", *[b"later"] * 50, properties=living(5000))
    harness.commit()
    harness.pass_time(1)
    harness.commit()
    queue = harness.vhost.queues["q"]
    assert ready(peer) == 50
    due = queue.next_due()
    assert due is not None
    assert due == harness.clock.wall_ms() + 4000
    harness.pass_time(4)
    harness.commit()
    assert (ready(peer), stored(harness)) == (0, 0)
    assert queue.next_due() is None


def test_only_what_lies_in_slots_is_taken_out_of_them() -> None:
    chance = Random(3)
    nothing: Any = None
    for _ in range(200):
        window = Window(7, 0, QueueLimits(), nothing, counts_octets=True)
        inside = set[int]()
        start = 0
        for _ in range(chance.randrange(6)):
            start += chance.randrange(1, 20) << 18
            lane = chance.randrange(3)
            ids = sorted(chance.sample(range(1000), chance.randrange(1, 9)))
            members = [start + (lane << 10) + each for each in ids]
            inside.update(members)
            window.recover(Slot(7, lane, members[0], members[-1], len(members), octets=len(members)))
        if chance.random() < 0.5:
            window.open_next_slot()
        before = window.ready_count
        outside = {chance.randrange(1 << 25) for _ in range(20)}
        covered = {
            each
            for each in outside
            for slot in (window.open_slot, *window.slots)
            if slot is not None and slot.lane == (each >> 10 & 255) and slot.start <= each <= slot.end
        }
        asked = sorted(set(chance.sample(sorted(inside), len(inside) // 2)) | (outside - covered))
        messages = [Message(each, nothing, b"\0\0", b"", bytes(4) + b"x\xce", None, STORED) for each in asked]
        taken = window.take_from_slots(messages)
        assert [message.id for message in taken] == [each for each in asked if each in inside]
        assert before - window.ready_count == len(taken)
        assert window.ready_octets == before - len(taken)


def test_what_leaves_memory_during_a_read_is_not_forgotten() -> None:
    harness, _ = paged(100)
    queue = harness.vhost.queues["q"]
    queue._window.paged_due = harness.clock.wall_ms() + 300  # paged out while the store was asked
    queue.set_due_in_slots(harness.clock.wall_ms() + 5000, (0, 0))
    assert queue._window.paged_due == harness.clock.wall_ms() + 300


def test_a_read_that_had_no_room_begins_again() -> None:
    harness, peer = paged(100, dead_letter_exchange="", dead_letter_routing_key="dead")
    declare(peer, "dead")
    queue, letters = harness.vhost.queues["q"], harness.parts.dead_letters
    harness.clock.advance(1)
    letters.gate.count(1 << 30)
    queue._window.is_reading = True
    harness.parts.services.read_due(queue)
    harness.stage.run()
    assert queue._window.paged_due == harness.clock.wall_ms()
    letters.gate.count(-(1 << 30))
    for _ in range(3):
        harness.pass_time(0.02)
    assert (ready(peer), ready(peer, "dead")) == (0, 100)
