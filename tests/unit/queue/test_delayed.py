from __future__ import annotations

from broker.message import MESSAGE_OVERHEAD, STORED, Message
from broker.queue.delayed import AT_ONCE, Delayed


class Queue:
    queue_id = 7
    is_stream = False


def message(message_id: int) -> Message:
    return Message(message_id, Queue(), b"", b"", b"", None, STORED)


def ids(messages: list[Message]) -> list[int]:
    return [each.id for each in messages]


def test_messages_come_when_they_are_due_the_one_that_is_due_first_before_others() -> None:
    delayed = Delayed(10_000)
    for number, due in ((1, 300), (2, 200), (3, 400), (4, 200)):
        delayed.add(message(number), due)
    assert (delayed.next_due(), len(delayed), sorted(delayed.ids)) == (200, 4, [1, 2, 3, 4])
    assert ids(delayed.take_due(199)) == []
    assert ids(delayed.take_due(300)) == [2, 4, 1]
    assert ids(delayed.take_all()) == [3]
    assert delayed.next_due() is None


def test_what_there_is_no_room_for_comes_at_once() -> None:
    delayed = Delayed(2 * MESSAGE_OVERHEAD)
    for number in (3, 1, 2):
        delayed.add(message(number), 100 * number)
    assert ids(delayed.take_due(0)) == [1]
    assert ids(delayed.take_due(0)) == []


def test_of_many_that_are_due_a_bounded_number_comes_at_once() -> None:
    delayed = Delayed(1 << 30)
    for number in range(AT_ONCE + 1):
        delayed.add(message(number), 100)
    assert ids(delayed.take_due(100)) == list(range(AT_ONCE))
    assert (delayed.next_due(), ids(delayed.take_due(100))) == (100, [AT_ONCE])
