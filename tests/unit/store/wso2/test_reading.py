from __future__ import annotations

from broker.store.wso2.encoding import decode
from broker.store.wso2.reading import OCTETS, StoredMessage, parts
from tests.support.wso2_database import metadata


def messages(*sizes: int | None) -> list[StoredMessage]:
    """Return messages with bodies of these sizes; None for one that cannot be decoded."""
    return [
        StoredMessage(number, 1, False, None if size is None else decode(metadata(size, "q")))
        for number, size in enumerate(sizes)
    ]


def cut(*sizes: int | None) -> list[list[int]]:
    return [[message.message_id for message in part] for part in parts(messages(*sizes))]


def test_bodies_are_read_in_parts_of_bounded_size() -> None:
    third = OCTETS // 3

    assert cut(third, third, third, third, 1) == [[0, 1, 2], [3, 4]]


def test_a_body_that_is_larger_is_read_alone() -> None:
    assert cut(1, OCTETS + 1, OCTETS + 1, 1) == [[0], [1], [2], [3]]


def test_messages_without_a_body_are_read_together() -> None:
    assert cut(0, None, 0) == [[0, 1, 2]]


def test_of_no_messages_there_is_no_part() -> None:
    assert cut() == []
