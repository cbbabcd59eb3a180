"""The group that a message belongs to, by its header `x-group-id` (or `JMSXGroupID`, as JMS calls it)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from xxhash import xxh3_64_intdigest

from broker.codec.properties import decode_properties
from broker.errors import AmqpError

GROUP_HEADERS: Final = ("x-group-id", "JMSXGroupID")
"""The headers that name the group: the first that is there."""
NO_GROUP: Final = 0
"""The number of all messages without a group."""
_FLAGS: Final = 16
"""Where the first octet of the properties' flags is in the tail of a content header frame."""
_HAS_HEADERS: Final = 0x20
_NAMES: Final = tuple(name.encode() for name in GROUP_HEADERS)
_REMEMBERED: Final = 1024
"""Headers whose group is remembered, and the octets that each may have: publishers seldom change them."""
_SHORT: Final = 512


def group_of(header: bytes) -> int:
    """Return the number of the group of a message with this header (`Message.header`): 63 bits of a hash of the value,
    whatever its type is; integers of all sizes are alike. `NO_GROUP` without such a header.
    """
    if not header[_FLAGS] & _HAS_HEADERS or not any(name in header for name in _NAMES):
        return NO_GROUP
    payload = header[_FLAGS:-1]
    return _remembered(payload) if len(payload) <= _SHORT else _group_in(payload)


def number_of_group(value: object) -> int:
    """Return the number of the group that this value of the header names."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    octets = f"{type(value).__name__}:{text}".encode("utf-8", "surrogateescape")
    return (xxh3_64_intdigest(octets) >> 1) or 1


def _group_in(properties: bytes) -> int:
    try:
        headers = decode_properties(bytes(12) + properties).headers
    except AmqpError:  # a row of an earlier version, whose header nobody has checked
        return NO_GROUP
    values = {} if headers is None else headers.values
    value = next((values[name] for name in GROUP_HEADERS if values.get(name) is not None), None)
    return NO_GROUP if value is None else number_of_group(value)


_remembered = lru_cache(_REMEMBERED)(_group_in)
