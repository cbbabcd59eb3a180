"""When a message is to be delivered, as its headers say (docs/delayed.md, contract E9).

`x-delay` is what RabbitMQ's plugin rabbitmq-delayed-message-exchange reads: a time to wait. The others are moments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

from broker.codec.expiration import LATEST
from broker.codec.field_table import FieldTable, Int64, Timestamp, name_of
from broker.codec.properties import FLAG_HEADERS, join_header, split_header
from broker.message import tail

DELAY: Final = "x-delay"
"""Milliseconds to wait."""
DELIVER_AT: Final = "x-deliver-at"
"""When to deliver: milliseconds since 1970, a timestamp, or a text of ISO 8601."""
NOT_VALID_BEFORE: Final = "x-qpid-not-valid-before"
"""The same in the words of Qpid's client of JMS: its delivery delay, in milliseconds since 1970."""
LONGEST_IN_PLUGIN: Final = (1 << 32) - 1
"""The longest delay of RabbitMQ's exchange type: it does not delay what is to wait longer."""

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)
_NO_MOMENT: Final = "it is neither a number of milliseconds since 1970 nor a time of ISO 8601"
_TOO_FAR: Final = "it is too far in the future"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def delay_in(value: Any) -> int:
    """Return the milliseconds that a value of `x-delay` says, as RabbitMQ's plugin reads it: numbers and texts of
    digits; what cannot be a number at all says 0.

    Raises ValueError for a text that is no number.
    """
    if isinstance(value, bool):
        return 0
    if isinstance(value, float):
        return int(value) if isfinite(value) else 0
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        if _NUMBER.fullmatch(value) is None:
            raise ValueError("it is no number of milliseconds")
        return int(value)
    return value if isinstance(value, int) else 0


def moment_in(value: Any) -> int:
    """Return the milliseconds since 1970 that a value stands for: a number of them, a timestamp, or a text of ISO 8601,
    which is in UTC unless it says otherwise. Parts of a millisecond count as a whole one.

    Raises ValueError for what is none.
    """
    if isinstance(value, Timestamp):
        return value.seconds * 1000
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        if _NUMBER.fullmatch(value) is not None:
            return int(value)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(_NO_MOMENT) from None
        since = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH
        return since.days * 86_400_000 + since.seconds * 1000 - (-since.microseconds // 1000)
    raise ValueError(_NO_MOMENT)


def due_by_headers(
    values: Mapping[str, Any], arrived_ms: int, *, longest: int = LATEST, moments: tuple[str, ...]
) -> int:
    """Return when a message with these headers that has arrived at this time is to be delivered, 0 for at once. Of
    several times the latest counts. Times are in milliseconds since 1970; a delay beyond `longest` is none.

    `moments` are the headers with a time. Raises ValueError, which says which header is wrong, and why.
    """
    due = 0
    name = DELAY
    try:
        if DELAY in values and 0 < (delay := delay_in(values[DELAY])) <= longest:
            due = _within_reach(arrived_ms + delay + 1)  # the millisecond in which it came has begun already
        for name in moments:
            if name in values:
                due = max(due, _within_reach(moment_in(values[name])))
    except ValueError as error:
        raise ValueError(f"invalid header '{name}': {error}") from None
    return due if due > arrived_ms else 0


def _within_reach(due: int) -> int:
    if due > LATEST:
        raise ValueError(_TOO_FAR)
    return due


def due_by_header(values: Mapping[str, Any], name: str, arrived_ms: int) -> int:
    """Return when a message is to be delivered by a header that programs write for themselves, such as `eta` of
    Celery; 0 for at once, and for what is no time.
    """
    try:
        due = moment_in(values.get(name))
    except ValueError:
        return 0
    return due if arrived_ms < due <= LATEST else 0


def with_delay_done(header: bytes) -> bytes:
    """Return the tail of a content header whose `x-delay`, if it is above 0, is negative: so RabbitMQ's plugin shows
    that a message has been delayed, and that it is not to be delayed again. All else keeps its octets.
    """
    if DELAY.encode() not in header:
        return header
    start, values = split_header(header[4:-1])
    table = FieldTable(values.get(FLAG_HEADERS, b"")[4:])
    try:
        delay = delay_in(table.values.get(DELAY))
    except ValueError:
        return header
    if delay <= 0:
        return header
    done = FieldTable.of({DELAY: Int64(-min(delay, LATEST))}).raw
    raw = b"".join(done if name_of(entry) == DELAY else entry for entry in table.entries)
    values[FLAG_HEADERS] = len(raw).to_bytes(4, "big") + raw
    return tail(join_header(start, values))
