"""What a prepared branch keeps, there and back; its damage is seen."""

from __future__ import annotations

import pytest

from broker.amqp.branch_content import decode, encode
from broker.errors import InternalError
from broker.message import STORED, TRANSIENT, Message, body_tails, tail
from tests.support.composition import new_queue

ROUTING = b"\x00\x01q"
HEADER = tail(b"\x00\x3c\x00\x00" + bytes(8) + b"\x10\x00\x02")


def message(body: bytes, state: int, deliveries: int) -> Message:
    made = Message(9, new_queue("q", queue_id=77), ROUTING, HEADER, *body_tails(body, 131_072), state)
    made.redelivered = deliveries
    return made


@pytest.mark.parametrize("body", [b"", b"m", b"m" * 300_000])
@pytest.mark.parametrize("state", [STORED, TRANSIENT])
def test_an_acknowledged_message_is_kept_with_what_its_queue_knew(body: bytes, state: int) -> None:
    [entry] = decode(encode([], [message(body, state, 3)]))
    assert (entry.is_acked, entry.is_persistent, entry.deliveries) == (True, state == STORED, 3)
    assert (list(entry.queue_ids), entry.routing, entry.header) == ([77], ROUTING, HEADER)
    assert (entry.body, entry.chunks) == body_tails(body, 131_072)


def test_a_branch_without_work_has_no_entries() -> None:
    assert list(decode(encode([], []))) == []


@pytest.mark.parametrize("octet", [0, 7, 8, 9, 40, -1])
def test_damage_is_seen(octet: int) -> None:
    content = bytearray(encode([], [message(b"body", STORED, 0)]))
    content[octet] ^= 1
    with pytest.raises(InternalError, match="damaged"):
        list(decode(bytes(content)))


@pytest.mark.parametrize("size", [0, 7, 8])
def test_content_that_was_cut_off_is_seen(size: int) -> None:
    with pytest.raises(InternalError, match="damaged"):
        list(decode(encode([], [])[:size]))
