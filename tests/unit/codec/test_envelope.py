"""The header under which a message waits in a schedule."""

from __future__ import annotations

import pytest

from broker.codec.envelope import Envelope, opened, sealed
from broker.codec.expiration import note_due
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.errors import SyntaxFault
from broker.message import STORED, Message, tail
from tests.support.composition import new_queue

DUE = 1_800_000_000_000
HEADER = tail(
    encode_header(5, BasicProperties(headers=FieldTable.of({"a": [1]}), delivery_mode=1, expiration="7", priority=3))
)


@pytest.mark.parametrize("queue", ["", "orders", "ü" * 100])
def test_what_is_sealed_is_opened_as_it_was(queue: str) -> None:
    assert opened(sealed(HEADER, DUE, queue)) == Envelope(HEADER, DUE, queue)


def test_stores_find_the_time_where_that_of_expiration_is() -> None:
    header = sealed(HEADER, DUE)
    message = Message(1, new_queue(), b"\0\1q", header, tail(b"hello"), None, STORED)
    note_due(message)
    assert message.due == DUE
    assert int.from_bytes(header[8:16], "big") == 5  # the size of the body


@pytest.mark.parametrize("header", [HEADER, tail(encode_header(0, BasicProperties()))])
def test_another_header_is_no_envelope(header: bytes) -> None:
    with pytest.raises(SyntaxFault):
        opened(header)
