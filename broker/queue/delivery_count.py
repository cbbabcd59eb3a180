"""How often messages were delivered, and when that is too often (contract F10)."""

from __future__ import annotations

from collections.abc import Sequence

from broker.message import Message, once_more


def count_returns(messages: Sequence[Message], limit: int | None) -> tuple[list[Message], list[Message]]:
    """Count one delivery more of each message that is given back; return those that may be delivered again, and those
    that were given back more often than `limit`. Without a limit there are none of these.
    """
    kept: list[Message] = []
    over: list[Message] = []
    for message in messages:
        message.redelivered = once_more(message.redelivered)
        (kept if limit is None or message.redelivered <= limit else over).append(message)
    return kept, over


def mark_returned(messages: Sequence[Message]) -> None:
    """Mark messages as delivered before that are given back without being counted."""
    for message in messages:
        message.redelivered = message.redelivered or 1
