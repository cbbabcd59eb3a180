"""Makes messages of this broker from those of WSO2's: headers, expiration, dead letters, marks of redelivery."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from broker.codec.channel_death import channel_header
from broker.codec.expiration import ABSOLUTE, LATEST
from broker.codec.properties import FLAG_EXPIRATION, join_header, split_header
from broker.errors import AmqpError
from broker.message import STORED, Message, MessageIdGenerator, published_ms
from broker.store.rows import message_of
from broker.store.wso2.encoding import Undecodable
from broker.store.wso2.reading import StoredMessage
from broker.store.wso2.survey import ends_with_subscribers

UNKNOWN: Final = "unknown"
"""The reason of a death that WSO2's broker has not recorded."""


@dataclass(frozen=True, slots=True)
class QueueId:
    """The queue that a message is in."""

    queue_id: int
    is_stream: bool = False


@dataclass(frozen=True, slots=True)
class Making:
    """What messages are made by: where they go to, and what else WSO2's broker knows of them.

    `queue_ids` are this broker's, by name; `not_lasting`, `names` and `last_assigned` are WSO2's.
    """

    queue_ids: Mapping[str, int]
    not_lasting: Collection[str]
    names: Mapping[int, str]
    last_assigned: Mapping[str, int]
    channel_id: int
    """The queue of dead letters."""
    keeps_expiration: bool
    """Do dead letters expire?"""
    now_s: int

    def passes_over(self, row: StoredMessage) -> bool:
        """Is the message in a queue that does not last?"""
        name = self.names.get(row.queue_id, "")
        is_there = row.is_dead or name in self.queue_ids
        return not is_there and (name in self.not_lasting or ends_with_subscribers(name))

    def message(self, row: StoredMessage, ids: MessageIdGenerator) -> Message:
        """Return the message of a row that can be read, with an id that tells the same time. Raises `Undecodable`."""
        metadata = row.metadata
        assert metadata is not None
        name = self.names.get(row.queue_id, "")
        if not row.is_dead and name not in self.queue_ids:
            raise Undecodable("there is no such queue here")
        try:
            header = _with_expiration(metadata.header_payload, row.expires_ms)
            if row.is_dead:
                header = self._dead(header, name, metadata.exchange)
        except AmqpError as error:
            raise Undecodable(f"its metadata cannot be read ({error})") from error
        queue = QueueId(self.channel_id if row.is_dead else self.queue_ids[name])
        ids.advance(published_ms(row.message_id))
        message = message_of(ids.next(), queue, metadata.routing + header, row.body, STORED)
        # Only what has been in a slot can have been delivered; how often is not recorded.
        message.redelivered = int(not row.is_dead and row.message_id <= self.last_assigned.get(name, -1))
        return message

    def _dead(self, header: bytes, queue: str, exchange: bytes) -> bytes:
        return channel_header(
            header,
            queue=queue,
            reason=UNKNOWN,
            exchange=exchange.decode("utf-8", "surrogateescape"),
            now_s=self.now_s,
            keeps_expiration=self.keeps_expiration,
            has_path=False,
        )


def _with_expiration(header_payload: bytes, expires_ms: int) -> bytes:
    """Return the header with the time at which the message expires; WSO2's broker reads 0 as none."""
    start, values = split_header(header_payload)
    said = values.get(FLAG_EXPIRATION)
    if said is None and not expires_ms:
        return header_payload
    if ABSOLUTE <= expires_ms <= LATEST:
        text = str(expires_ms).encode()
        values[FLAG_EXPIRATION] = len(text).to_bytes(1, "big") + text
    elif said is not None and not said[1:].strip(b"0"):
        del values[FLAG_EXPIRATION]
    return join_header(start, values)
