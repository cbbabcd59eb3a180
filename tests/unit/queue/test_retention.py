"""What leaves a queue by itself."""

from __future__ import annotations

import pytest

from broker.message import TRANSIENT, Message, MessageIdGenerator
from broker.ports.slot import Slot
from broker.queue.retention import AT_ONCE, Retention
from broker.queue.settings import QueueLimits, QueueSettings
from broker.queue.window import Window

NOW = 1_800_000_000_000


class Kept:
    """A window with messages, and what may stay in it; `now` is the time."""

    def __init__(self, **settings: int) -> None:
        self.now = NOW
        self.ids = MessageIdGenerator(0)
        self.window = Window(7, 0, QueueLimits(), None, counts_octets="max_length_bytes" in settings)  # type: ignore[arg-type]
        self.retention = Retention(QueueSettings(**settings), self.window, lambda: self.now)  # type: ignore[arg-type]

    def add(self, *, ttl: int | None = None, octets: int = 0) -> Message:
        self.ids.advance(self.now)
        body = b"" if not octets else bytes(4) + b"x" * octets + b"\xce"
        message = Message(self.ids.next(), None, b"\0\0", b"", body, None, TRANSIENT)  # type: ignore[arg-type]
        if ttl is not None:
            message.due = self.now + ttl
        (self.window.append_counted if self.window.counts_octets else self.window.append)(message)
        self.window.note_due([message])
        return message


def test_without_settings_nothing_leaves() -> None:
    kept = Kept()
    kept.add()
    kept.now += 1 << 40
    assert kept.retention.take_expired() == []
    assert kept.retention.take_unserved() == []
    assert kept.retention.next_due() is None


def test_what_has_expired_comes_in_the_order_of_its_times() -> None:
    kept = Kept(message_ttl=1000)
    first = kept.add()
    sooner = kept.add(ttl=400)
    kept.now += 500
    second = kept.add()
    assert kept.retention.next_due() == NOW + 400
    kept.now = NOW + 1500
    assert kept.retention.take_expired() == [sooner, first, second]
    assert kept.window.ready_count == 0


def test_the_octets_of_what_leaves_are_free() -> None:
    kept = Kept(message_ttl=1000, max_length_bytes=100)
    kept.add(octets=40)
    kept.add(octets=40, ttl=10)
    assert kept.window.ready_octets == 80
    kept.now += 10
    kept.retention.take_expired()
    assert kept.window.ready_octets == 40
    kept.now += 1000
    kept.retention.take_expired()
    assert kept.window.ready_octets == 0
    assert kept.window.bytes == 0


def test_messages_out_of_order_are_found() -> None:
    kept = Kept(message_ttl=1000)
    old = kept.add()
    kept.now += 900
    young = kept.add()
    kept.window.clear()
    kept.window.recover(Slot(7, 0, 1, 2, 0))
    kept.window.open_next_slot()
    kept.window.offer([young])
    kept.window.offer([old])
    assert kept.retention.next_due() == NOW + 1000
    kept.now = NOW + 1000
    assert kept.retention.take_expired() == [old]
    assert list(kept.window.ready) == [young]


def test_slots_that_have_expired_are_seen_by_their_first_id() -> None:
    kept = Kept(message_ttl=1000)
    first = kept.add()
    kept.window.clear()
    kept.window.recover(Slot(7, 0, first.id, first.id + 5, 6))
    assert kept.retention.next_due() == NOW + 1000
    assert not kept.retention.is_expired_in_slots
    kept.now += 1000
    assert kept.retention.is_expired_in_slots


@pytest.mark.parametrize("ttl", [{"message_ttl": 0}, {}])
def test_what_was_to_be_taken_at_once_is_left_to_a_dispatch(ttl: dict[str, int]) -> None:
    kept = Kept(**ttl)
    message = kept.add(ttl=None if ttl else 0)
    assert kept.retention.take_expired() == []
    assert kept.retention.take_unserved() == [message]
    assert kept.window.ready_count == 0


def test_octets_in_slots_of_an_earlier_start_count_when_they_are_read() -> None:
    kept = Kept(max_length_bytes=100)
    messages = [kept.add(octets=40) for _ in range(3)]
    kept.window.clear()
    slot = Slot(7, 0, messages[0].id, messages[2].id, 3)
    kept.window.recover(slot)
    assert kept.window.ready_octets == 0
    kept.window.open_next_slot()
    kept.window.on_read(slot, messages[:2])
    kept.window.offer(messages[:2])
    assert kept.window.ready_octets == 80
    kept.window.take_first()
    assert kept.window.ready_octets == 40
    assert kept.window.take_from_slots([messages[2]]) == [messages[2]]
    assert kept.window.ready_octets == 40


@pytest.mark.parametrize("ttl", [{"message_ttl": 1000}, {}])
def test_only_so_many_expire_in_one_turn(ttl: dict[str, int]) -> None:
    kept = Kept(**ttl)
    for _ in range(AT_ONCE + 5):
        kept.add(ttl=None if ttl else 1000)
    kept.now += 2000
    assert len(kept.retention.take_expired()) == AT_ONCE
    assert kept.retention.is_behind
    assert len(kept.retention.take_expired()) == 5
    assert not kept.retention.is_behind


def test_what_may_not_be_read_now_has_no_deadline() -> None:
    kept = Kept(message_ttl=1000)
    first = kept.add()
    kept.window.clear()
    kept.window.recover(Slot(7, 0, first.id, first.id + 5, 6))
    kept.retention.is_held_up = True
    assert kept.retention.next_due() is None
