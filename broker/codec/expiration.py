"""When a message expires by its own property `expiration` (contract F2)."""

from __future__ import annotations

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


def note_due(message: Message) -> None:
    """Set `due` of a message that has an expiration, counted from when it came into its queue. Hot for all others."""
    try:
        if not message.header[FLAGS] & EXPIRES:
            return
        expiration = read_expiration(message.header_payload)
    except (IndexError, SyntaxFault):
        return  # a row of an earlier version, whose header nobody has checked
    if expiration and expiration.isascii() and expiration.isdigit():
        message.due = min(published_ms(message.id) + int(expiration), LATEST)
