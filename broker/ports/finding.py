"""What a store tells of messages that somebody looks for, whatever queue they are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

MOST_FOUND: Final = 100
"""Rows of one page."""
BEHIND_ALL: Final = (1 << 63) - 1
"""Behind the ids of all messages."""


class FoundRow(NamedTuple):
    """The row of a message; `metadata` is exchange, routing key and the content header's payload."""

    message_id: int
    queue_id: int
    """The id of its storage queue."""
    redelivered: int
    metadata: bytes
    is_transient: bool = False
    is_damaged: bool = False
    """Is it set aside, because its octets do not fit its checksum?"""


class FoundPage(NamedTuple):
    """What was found among the `seen` messages that were looked at, the newest first. `last` is the id of the oldest of
    these; None when there are none before them.
    """

    rows: Sequence[FoundRow]
    seen: int
    last: int | None
