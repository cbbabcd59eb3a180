"""Which messages are to be delivered later: by their own headers, or by the header that a queue looks at (ADR 79)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from broker.codec.delivery_time import (
    DELAY,
    DELIVER_AT,
    LONGEST_IN_PLUGIN,
    NOT_VALID_BEFORE,
    due_by_header,
    due_by_headers,
)
from broker.codec.expiration import FLAGS, LATEST
from broker.codec.properties import FLAG_HEADERS, BasicProperties, decode_properties
from broker.errors import PreconditionFailed
from broker.queue.queue import Queue
from broker.topology.dialect import ClientDialect
from broker.topology.exchange import DELAYED_TYPE

TIMES: Final = frozenset((DELAY, DELIVER_AT, NOT_VALID_BEFORE))
"""Headers by which publishers say when to deliver."""
Late: TypeAlias = Mapping[Queue, int]
"""Queues that get a message later, and when, in milliseconds since 1970."""
NOT_LATE: Final[Late] = {}
_HAS_HEADERS: Final = FLAG_HEADERS >> 8
_MOMENTS: Final = (DELIVER_AT,)
_MOMENTS_OF_JMS: Final = (DELIVER_AT, NOT_VALID_BEFORE)


def due_in(properties: BasicProperties, exchange_type: str, dialect: ClientDialect, arrived_ms: int) -> int:
    """Return when a message with these properties, which has arrived at this time at an exchange of this type, is to be
    routed; 0 for at once. Times are in milliseconds since 1970. Raises `PreconditionFailed` for a time that is none.
    """
    if properties.headers is None:
        return 0
    try:
        return due_by_headers(
            properties.headers.values,
            arrived_ms,
            longest=LONGEST_IN_PLUGIN if exchange_type == DELAYED_TYPE else LATEST,
            moments=_MOMENTS_OF_JMS if dialect.has_absolute_expiration else _MOMENTS,
        )
    except ValueError as error:
        raise PreconditionFailed(str(error)) from None


def late_queues(
    queues: Iterable[Queue], header: bytes, arrived_ms: int, properties: BasicProperties | None = None
) -> Late:
    """Return those of the queues that get a message later, because they look at one of its headers, and when.

    `header` is the tail of the content header, `properties` those in it, if they are known.
    """
    if not header[FLAGS] & _HAS_HEADERS:
        return NOT_LATE
    late: dict[Queue, int] = {}
    for queue in queues:
        name = queue.settings.deliver_at_header
        if name is None:
            continue
        if properties is None:
            properties = decode_properties(header[4:-1])
        if properties.headers is not None and (due := due_by_header(properties.headers.values, name, arrived_ms)):
            late[queue] = due
    return late
