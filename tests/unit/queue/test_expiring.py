"""Messages that expire by a time of their own."""

from __future__ import annotations

import random

from broker.message import TRANSIENT, Message, MessageIdGenerator, published_ms
from broker.queue.expiring import Expiring

NOW = 1_800_000_000_000
MANY = 1 << 30
IDS = MessageIdGenerator(0)
IDS.advance(NOW)


def message(after: int) -> Message:
    """Return a message that came now and expires so many milliseconds after that."""
    made = Message(IDS.next(), None, b"\0\0", b"", b"", None, TRANSIENT)  # type: ignore[arg-type]
    made.due = published_ms(made.id) + after
    return made


def filled(*times: int) -> tuple[Expiring, list[Message]]:
    expiring, messages = Expiring(), [message(after) for after in times]
    for each in messages:
        expiring.add(each)
    return expiring, messages


def test_nothing_is_due_without_messages() -> None:
    expiring = Expiring()
    assert not expiring
    assert expiring.next_due() is None
    assert expiring.take_due(NOW, MANY) == []


def test_they_are_due_by_their_times_and_not_by_their_places() -> None:
    expiring, (late, soon, middle) = filled(3000, 1000, 2000)
    assert expiring.next_due() == NOW + 1000
    assert expiring.take_due(NOW + 999, MANY) == []
    assert expiring.take_due(NOW + 2000, MANY) == [soon, middle]
    assert expiring.next_due() == late.due
    assert (len(expiring), expiring.dead) == (3, 2)


def test_a_dead_message_is_counted_until_its_place_is_reached() -> None:
    expiring, (dead, alive) = filled(1000, 2000)
    expiring.take_due(NOW + 1000, MANY)
    assert expiring.is_dead(dead)
    assert not expiring.is_dead(alive)
    assert not expiring.remove(dead)
    assert expiring.remove(alive)
    assert (len(expiring), expiring.dead) == (0, 0)


def test_a_message_without_a_time_is_alive() -> None:
    expiring, _ = filled(1000)
    assert expiring.remove(message(0))
    assert not expiring.is_dead(message(0))


def test_what_has_left_is_not_due() -> None:
    expiring, (gone, stays) = filled(1000, 2000)
    expiring.remove(gone)
    assert expiring.next_due() == stays.due
    assert expiring.take_due(NOW + 5000, MANY) == [stays]


def test_what_comes_back_is_due_once() -> None:
    expiring, (one,) = filled(1000)
    expiring.remove(one)
    expiring.add(one)
    assert expiring.take_due(NOW + 1000, MANY) == [one]
    assert expiring.take_due(NOW + 9000, MANY) == []
    assert expiring.dead == 1


def test_what_is_due_at_once_waits_for_one_dispatch() -> None:
    expiring, (taken, left) = filled(0, 0)
    assert expiring.take_due(NOW, MANY) == []
    expiring.remove(taken)
    assert expiring.take_unserved() == [left]
    assert expiring.take_unserved() == []
    assert expiring.dead == 1


def test_the_dead_can_be_forgotten_together() -> None:
    expiring, (_, alive) = filled(1000, 2000)
    expiring.take_due(NOW + 1000, MANY)
    expiring.forget_dead()
    assert (len(expiring), expiring.dead) == (1, 0)
    assert expiring.take_due(NOW + 2000, MANY) == [alive]


def test_entries_of_messages_that_left_do_not_pile_up() -> None:
    expiring, (one,) = filled(1000)
    for _ in range(5000):
        expiring.remove(one)
        expiring.add(one)
    assert len(expiring._heap) <= 1100


def test_it_agrees_with_a_list_that_is_searched() -> None:
    chance = random.Random(7)
    expiring, model = Expiring(), dict[int, Message]()
    now = NOW
    for _ in range(3000):
        action = chance.random()
        if action < 0.5:
            each = message(chance.randrange(1, 500))
            each.due += now - NOW
            expiring.add(each)
            model[each.id] = each
        elif action < 0.7 and model:
            each = model.pop(chance.choice(list(model)))
            assert expiring.remove(each)
        else:
            now += chance.randrange(60)
            due = {key for key, each in model.items() if each.due <= now}
            assert {each.id for each in expiring.take_due(now, MANY)} == due
            model = {key: each for key, each in model.items() if key not in due}
        assert len(expiring) - expiring.dead == len(model)


def test_no_more_are_taken_at_once_than_asked_for() -> None:
    expiring, messages = filled(*range(1, 11))
    assert expiring.take_due(NOW + 100, 4) == messages[:4]
    assert expiring.take_due(NOW + 100, 4) == messages[4:8]
    assert expiring.next_due() == messages[8].due
