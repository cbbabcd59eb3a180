"""Contract P1 to P4."""

from __future__ import annotations

import pytest

from broker.amqp.confirms import Confirms
from broker.message import PENDING, SETTLED, STORED, TRANSIENT, WRITING, WRITING_SETTLED, Message


class SomeQueue:
    queue_id = 1
    is_stream = False


@pytest.fixture
def sent() -> list[tuple[int, bool]]:
    return []


@pytest.fixture
def confirms(sent: list[tuple[int, bool]]) -> Confirms:
    return Confirms(lambda tag, multiple: sent.append((tag, multiple)), lambda tag: sent.append((-tag, False)))


def published(confirms: Confirms, count: int = 1) -> list[Message]:
    messages = []
    for number in range(count):
        messages.append(Message(number, SomeQueue(), b"\0\0", b"", b"", None, PENDING))
        confirms.expect(messages[-1])
        confirms.published += 1
    return messages


def test_nothing_is_confirmed_when_nothing_was_published(confirms: Confirms, sent: list[tuple[int, bool]]) -> None:
    confirms.flush()
    assert sent == []


def test_a_publish_that_needs_no_store_is_confirmed_at_once(confirms: Confirms, sent: list[tuple[int, bool]]) -> None:
    confirms.published = 1
    confirms.flush()
    confirms.flush()
    assert sent == [(1, False)]


@pytest.mark.parametrize(
    ("state", "is_safe"),
    [(PENDING, False), (WRITING, False), (STORED, True), (SETTLED, True), (WRITING_SETTLED, True), (TRANSIENT, True)],
)
def test_a_message_is_safe_from_stored_on(
    confirms: Confirms, sent: list[tuple[int, bool]], state: int, is_safe: bool
) -> None:
    (message,) = published(confirms)
    message.state = state
    confirms.flush()
    assert bool(sent) is is_safe


def test_one_ack_covers_all_before_the_first_that_is_not_safe(confirms: Confirms, sent: list[tuple[int, bool]]) -> None:
    messages = published(confirms, 4)
    for index in (0, 1, 3):
        messages[index].state = STORED
    confirms.flush()
    assert sent == [(2, True)]
    messages[2].state = STORED
    confirms.flush()
    assert sent == [(2, True), (4, True)]


def test_a_publish_waits_for_all_its_messages(confirms: Confirms, sent: list[tuple[int, bool]]) -> None:
    first, second = (Message(number, SomeQueue(), b"\0\0", b"", b"", None, PENDING) for number in (1, 2))
    confirms.expect(first)
    confirms.expect(second)
    confirms.published += 1
    first.state = STORED
    confirms.flush()
    assert sent == []
    second.state = STORED
    confirms.flush()
    assert sent == [(1, False)]


def test_after_the_end_nothing_is_owed(confirms: Confirms, sent: list[tuple[int, bool]]) -> None:
    (message,) = published(confirms)
    confirms.close()
    message.state = STORED
    confirms.flush()
    assert sent == []


def test_a_refused_publish_is_told_in_its_turn(confirms: Confirms, sent: list[tuple[int, bool]]) -> None:
    (first,) = published(confirms)
    confirms.refuse()
    confirms.refuse()
    confirms.published += 1
    confirms.flush()
    assert sent == []
    first.state = STORED
    confirms.flush()
    assert sent == [(1, False), (-2, False), (-3, False), (4, False)]
