from __future__ import annotations

from dataclasses import dataclass

from broker.message import STORED, WRITING, Message, body_tails, published_ms, tail
from broker.store.rows import (
    NO_CHECKSUM,
    checksum_of,
    damage_of,
    hash_of_body,
    message_of,
    metadata_of,
    name_large_content,
)


@dataclass
class Queue:
    queue_id: int = 7
    is_stream: bool = False


def message(body: bytes, frame_max: int = 131_072) -> Message:
    return Message(5, Queue(), b"\x01e\x00", tail(b"header"), *body_tails(body, frame_max), WRITING)


def test_metadata_is_routing_and_header_payload() -> None:
    assert metadata_of(message(b"x")) == b"\x01e\x00header"


def test_a_row_becomes_the_message_it_was() -> None:
    stored = message_of(5, Queue(), b"\x01e\x00header", b"body", STORED)

    assert (stored.id, stored.routing, stored.header, stored.body) == (5, b"\x01e\x00", tail(b"header"), tail(b"body"))
    assert stored.state == STORED


def test_exchange_and_routing_key_may_both_be_empty() -> None:
    stored = message_of(5, Queue(), b"\x00\x00header", b"", STORED)

    assert (stored.routing, stored.header_payload, stored.body) == (b"\x00\x00", b"header", b"")


def test_only_a_body_above_65500_octets_is_named_content() -> None:
    short, long = message(b"x" * 65_500), message(b"x" * 65_501)

    name_large_content([short, long])

    assert (short.content_id, long.content_id) == (0, 5)


def test_the_octets_count_and_not_the_frames() -> None:
    short, long = message(b"x" * 100, frame_max=18), message(b"x" * 65_501, frame_max=4096)

    name_large_content([short, long])

    assert (short.content_id, long.content_id) == (0, 5)


def test_a_content_id_that_is_there_stays() -> None:
    shared = message(b"x" * 70_000)
    shared.content_id = 3

    name_large_content([shared])

    assert shared.content_id == 3


METADATA = b"\x01e\x01k\x00\x3c\x00\x00" + (4).to_bytes(8, "big") + b"\x00\x00"


def test_a_checksum_covers_metadata_and_body_however_many_frames_it_came_in() -> None:
    payload = bytes(range(256)) * 1000
    checksums = {checksum_of(METADATA, hash_of_body(message(payload, frame_max))) for frame_max in (4096, 131_072)}

    assert len(checksums) == 1
    assert damage_of(METADATA, payload, checksums.pop()) == ""


def test_a_checksum_fits_a_signed_integer_of_32_bits() -> None:
    assert 0 <= checksum_of(METADATA, (1 << 64) - 1) < 1 << 31


def test_every_flipped_bit_is_noticed() -> None:
    checksum = checksum_of(METADATA, hash_of_body(message(b"body")))
    octets = METADATA + b"body"

    for bit in range(8 * len(octets)):
        flipped = (int.from_bytes(octets, "big") ^ 1 << bit).to_bytes(len(octets), "big")
        assert damage_of(flipped[:-4], flipped[-4:], checksum)


def test_without_a_checksum_the_header_must_be_one_and_fit_the_body() -> None:
    assert damage_of(METADATA, b"body", NO_CHECKSUM) == ""
    assert damage_of(METADATA, b"bod", NO_CHECKSUM) == "its body has 3 octets, its header says 4"
    assert damage_of(METADATA[:-1], b"body", NO_CHECKSUM).startswith("its metadata cannot be read (content header: ")
    assert damage_of(b"\x01e\x01k", b"", NO_CHECKSUM) == "its content header is missing"
    assert damage_of(b"", b"", NO_CHECKSUM) == "its content header is missing"


def test_a_row_with_an_expiration_is_due_that_much_after_its_id() -> None:
    header = b"\x00\x3c\x00\x00" + bytes(8)

    due = [
        message_of(5 << 18, Queue(), b"\x00\x00" + header + properties, b"", STORED).due
        for properties in (b"\x01\x00\x0360s", b"\x01\x00\x03600", b"\x10\x00\x02", b"")
    ]

    assert due == [0, published_ms(5 << 18) + 600, 0, 0]
