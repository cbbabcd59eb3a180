"""What a prepared branch keeps in the store: the messages that its commit brings, those that its rollback gives back.

Octets 0 to 7 are XXH3 of all that follows, then comes the version, then the entries. Messages that are acknowledged are
kept whole, because they are in no queue any more, and get new ids when they are given back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from xxhash import xxh3_64_digest

from broker.amqp.transaction import Publication
from broker.errors import InternalError
from broker.message import TRANSIENT, Message, body_tails, tail

_VERSION: Final = b"\x01"
_DIGEST: Final = 8
_FRAME_MAX: Final = 131_072
_IS_ACKED: Final = 1
_IS_PERSISTENT: Final = 2
_HEAD: Final = struct.Struct(">BHI")
"""Flags, deliveries, number of queue ids, each of which has eight octets. Then come three texts with their lengths."""
_size: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class BranchEntry:
    """One message: `header`, `body` and `chunks` are frame tails, as of `Message`."""

    is_acked: bool
    is_persistent: bool
    deliveries: int
    queue_ids: Sequence[int]
    routing: bytes
    header: bytes
    body: bytes
    chunks: list[bytes] | None


def encode(publications: Iterable[Publication], acked: Iterable[Message]) -> bytes:
    """Return what a branch with these publishes and acknowledged deliveries keeps."""
    parts = [_VERSION]
    for each in publications:
        queue_ids = [queue.queue_id for queue in each.queues if not queue.is_deleted]
        if queue_ids:
            flags = _IS_PERSISTENT if each.is_persistent else 0
            parts += _entry(flags, 0, queue_ids, each.route.routing, each.header, _payload(each.body, each.chunks))
    for message in acked:
        flags = _IS_ACKED if message.state == TRANSIENT else _IS_ACKED | _IS_PERSISTENT
        queue_id: int = message.queue.whole.queue_id  # type: ignore[attr-defined]
        parts += _entry(flags, message.redelivered, [queue_id], message.routing, message.header, message.payload)
    content = b"".join(parts)
    return xxh3_64_digest(content) + content


def _payload(body: bytes, chunks: list[bytes] | None) -> bytes:
    return body[4:-1] if chunks is None else b"".join(chunk[4:-1] for chunk in chunks)


def _entry(
    flags: int, deliveries: int, queue_ids: Sequence[int], routing: bytes, header: bytes, payload: bytes
) -> Iterator[bytes]:
    yield _HEAD.pack(flags, deliveries, len(queue_ids))
    yield struct.pack(f">{len(queue_ids)}Q", *queue_ids)
    for text in (routing, header[4:-1], payload):
        yield _size.pack(len(text))
        yield text


def decode(content: bytes) -> Iterator[BranchEntry]:
    """Return the entries. Raises `InternalError` when they are damaged, or another program wrote them."""
    rest = content[_DIGEST:]
    if xxh3_64_digest(rest) != content[:_DIGEST] or rest[:1] != _VERSION:
        raise InternalError("what is stored of the branch is damaged, or of another version of the broker")
    at = 1
    while at < len(rest):
        flags, deliveries, count = _HEAD.unpack_from(rest, at)
        at += _HEAD.size
        queue_ids = struct.unpack_from(f">{count}Q", rest, at)
        at += 8 * count
        texts = []
        for _ in range(3):
            (size,) = _size.unpack_from(rest, at)
            at += _size.size + size
            texts.append(rest[at - size : at])
        routing, header, payload = texts
        body, chunks = body_tails(payload, _FRAME_MAX)
        is_acked, is_persistent = bool(flags & _IS_ACKED), bool(flags & _IS_PERSISTENT)
        yield BranchEntry(is_acked, is_persistent, deliveries, queue_ids, routing, tail(header), body, chunks)
