"""When a message expires by its own property `expiration` (contract F2)."""

from __future__ import annotations

import re
from typing import Final

from broker.codec.properties import FLAG_EXPIRATION, read_expiration
from broker.errors import SyntaxFault
from broker.message import Message, published_ms

FLAGS: Final = 16
"""Where the first octet of the properties' flags is in the tail of a content header frame."""
EXPIRES: Final = FLAG_EXPIRATION >> 8
"""The flag in it that says that there is an expiration."""
LATEST: Final = (1 << 63) - 1
"""The latest time that a message can have, and the store can keep."""


LONGEST: Final = 315_360_000_000
"""The longest time to live, in milliseconds: ten years, as with RabbitMQ."""
ABSOLUTE: Final = 1_000_000_000_000
"""From here on, for clients of JMS, an expiration is a time in milliseconds since 1970: in 2001 at the earliest."""
ABSOLUTE_LIFETIME: Final = -1
"""Stands for a lifetime that is told by such a time."""

_NUMBER: Final = re.compile(r"([+-]?[0-9]+)(.*)", re.ASCII | re.DOTALL)


def parse_expiration(text: str) -> int:
    """Return the milliseconds in a property `expiration`.

    Raises ValueError with RabbitMQ's words (`rabbit_basic:parse_expiration`) for what is none.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError("no_integer")
    if match[2]:
        raise ValueError(f'{{leftover_string,"{match[2]}"}}')
    if match[1].startswith("-") and match[1].strip("-0"):
        raise ValueError(f"{{value_negative,{match[1]}}}")
    if len(match[1]) > 30 or int(match[1]) > LONGEST:
        raise ValueError(f"{{value_too_large,{match[1]}}}")
    return int(match[1])


def is_of_jms(text: str) -> bool:
    """Is this an expiration as clients of JMS write it: none, or a time since 1970?"""
    return not text or (text.isascii() and text.isdecimal() and len(text) < 20 and ABSOLUTE <= int(text) <= LATEST)


def note_due(message: Message) -> None:
    """Set `due` of a message that has an expiration, counted from when it came into its queue. Hot for all others."""
    try:
        if not message.header[FLAGS] & EXPIRES:
            return
        expiration = read_expiration(message.header_payload)
        if expiration is None:
            return
        if is_of_jms(expiration):  # the publisher has been asked whether it may say so
            message.due = int(expiration or 0)
        else:
            message.due = published_ms(message.id) + parse_expiration(expiration)
    except (IndexError, SyntaxFault, ValueError):
        return  # a row of an earlier version, whose header nobody has checked
