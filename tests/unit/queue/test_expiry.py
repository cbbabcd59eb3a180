"""What leaves a queue because its time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.message import STORED, TRANSIENT, Message, MessageIdGenerator
from broker.ports.slot import Slot
from broker.queue.expiry import Expiry
from broker.queue.outcome import EXPIRED, Outcome
from broker.queue.retention import AT_ONCE
from broker.queue.settings import QueueLimits, QueueSettings
from broker.queue.window import Window

NOW = 1_800_000_000_000


class Bench:
    """A queue, its services and its journal in one, with what it was told."""

    is_deleted = False

    def __init__(self, *, has_dead_letters: bool = False, **settings: Any) -> None:
        self.now = NOW
        self.ids = MessageIdGenerator(0)
        it: Any = self
        self.window = Window(7, 0, QueueLimits(), it)
        self.dying: dict[int, Message] = {}
        self.has_dead_letters = has_dead_letters
        self.is_roomy = True
        self.settled: list[Message] = []
        self.forgotten: list[Message] = []
        self.refills = self.due_reads = 0
        self.expiry = Expiry(QueueSettings(**settings), self.window, it)

    def settle(self, messages: Sequence[Message], outcome: Outcome) -> None:
        assert outcome is EXPIRED
        self.settled += messages

    def refill(self) -> None:
        self.refills += 1

    def forget(self, message: Message) -> None:
        self.forgotten.append(message)

    def now_ms(self) -> int:
        return self.now

    def has_room(self, queue: Any) -> bool:
        return self.is_roomy

    def read_due(self, queue: Any) -> None:
        self.due_reads += 1

    def message(self, *, due: int = 0, state: int = STORED) -> Message:
        self.ids.advance(self.now)
        queue: Any = self
        message = Message(self.ids.next(), queue, b"\0\0", b"", b"", None, state)
        message.due = due
        return message

    def publish(self, count: int = 1, *, due: int = 0) -> list[Message]:
        messages = [self.message(due=due) for _ in range(count)]
        for message in messages:
            self.window.append(message)
        self.window.note_due(messages)
        return messages


def test_what_is_too_old_leaves_a_turn_at_a_time() -> None:
    it = Bench(message_ttl=1000)
    it.publish(AT_ONCE + 1)
    assert it.expiry.next_due() == NOW + 1000
    assert it.expiry.run(it)
    assert it.settled == []
    it.now += 1001
    assert not it.expiry.run(it)  # more has expired than goes in one turn
    assert len(it.settled) == AT_ONCE
    assert it.expiry.run(it)
    assert len(it.settled) == AT_ONCE + 1


def test_new_settings_hold_for_what_is_there() -> None:
    it = Bench(message_ttl=1000)
    (first,) = it.publish()
    it.expiry.set(QueueSettings(message_ttl=5))
    it.now += 6
    it.expiry.run(it)
    assert it.settled == [first]


def test_what_was_to_be_taken_at_once_goes_after_the_dispatch() -> None:
    it = Bench(message_ttl=0)
    (message,) = it.publish()
    assert it.expiry.expires_at_once(message)
    it.expiry.run(it)
    assert it.settled == []
    it.expiry.let_unserved_go(it)
    assert it.settled == [message]


def test_the_store_is_asked_once_for_what_is_due_in_slots() -> None:
    it = Bench()
    it.window.recover(Slot(7, 0, 1, 3, 3))
    it.expiry.set_due_in_slots(NOW + 10, (0, 0))
    it.expiry.run(it)
    assert it.due_reads == 0
    it.now += 10
    it.expiry.run(it)
    it.expiry.run(it)
    assert (it.due_reads, it.window.is_reading) == (1, True)


def test_what_has_expired_behind_others_is_read_where_nobody_delivers_it() -> None:
    it = Bench(message_ttl=1000)
    first = it.message()
    it.window.recover(Slot(7, 0, first.id, first.id, 1))
    it.now += 999
    it.expiry.run(it)
    assert it.refills == 0
    it.now += 1
    it.expiry.run(it)
    assert it.refills == 1


def test_nothing_is_read_to_die_while_too_much_waits_to_be_dead_lettered() -> None:
    it = Bench(has_dead_letters=True)
    it.window.recover(Slot(7, 0, 1, 3, 3))
    it.expiry.expect_due()
    it.is_roomy = False
    it.expiry.run(it)
    assert (it.due_reads, it.expiry.next_due()) == (0, None)
    it.is_roomy = True
    it.expiry.run(it)
    assert it.due_reads == 1


def test_of_what_expired_in_slots_only_that_goes_which_is_still_there_and_not_dying() -> None:
    it = Bench()
    stored, transient, dying = (it.message(due=NOW, state=state) for state in (STORED, TRANSIENT, STORED))
    elsewhere = it.message(due=NOW)
    it.window.recover(Slot(7, 0, stored.id, dying.id, 3))
    it.dying[dying.id] = dying
    it.expiry.expire_in_slots(it, [stored, transient, dying, elsewhere])
    assert (it.settled, it.forgotten) == ([stored, transient], [transient])
    assert it.window.due_after == (NOW, elsewhere.id)
