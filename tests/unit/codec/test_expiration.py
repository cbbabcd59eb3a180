"""When messages expire by their own property."""

from __future__ import annotations

import pytest

from broker.codec.expiration import note_due
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.message import TRANSIENT, Message, MessageIdGenerator, first_id_at, published_ms, tail

NOW = 1_800_000_000_000
ALL = BasicProperties(
    content_type="a/b",
    content_encoding="",
    headers=FieldTable.of({"expiration": "1"}),
    delivery_mode=2,
    priority=9,
    correlation_id="c",
    reply_to="r",
    expiration="60000",
    message_id="m",
    timestamp=1,
)


def due_of(properties: BasicProperties) -> int:
    ids = MessageIdGenerator(3)
    ids.advance(NOW)
    message = Message(ids.next(), None, b"\0\0", tail(encode_header(0, properties)), b"", None, TRANSIENT)
    note_due(message)
    return message.due


@pytest.mark.parametrize(("expiration", "due"), [("0", NOW), ("1", NOW + 1), ("60000", NOW + 60_000), ("+5", NOW + 5)])
def test_a_message_is_due_so_many_milliseconds_after_it_came(expiration: str, due: int) -> None:
    assert due_of(BasicProperties(expiration=expiration)) == due


def test_the_expiration_is_found_among_all_properties() -> None:
    assert due_of(ALL) == NOW + 60_000


@pytest.mark.parametrize("expiration", [None, "", "soon", "-1", "١", "9" * 30])
def test_what_is_no_number_never_comes(expiration: str | None) -> None:
    assert due_of(BasicProperties(expiration=expiration, delivery_mode=2)) == 0


def test_a_header_that_ends_too_early_never_comes() -> None:
    whole = encode_header(0, ALL)
    message = Message(1, None, b"\0\0", tail(whole[:30]), b"", None, TRANSIENT)
    note_due(message)
    assert message.due == 0


def test_the_time_in_an_id_is_that_of_its_making() -> None:
    ids = MessageIdGenerator(255)
    ids.advance(NOW)
    first = ids.next()
    assert published_ms(first) == NOW
    assert first_id_at(NOW) < first < first_id_at(NOW + 1)
