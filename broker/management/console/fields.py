"""What the fields of forms say."""

from __future__ import annotations

from broker.management.console.asking import AnswerRefused


def number_of(text: str) -> int:
    """Return the number in a field. Raises `AnswerRefused`."""
    try:
        return int(text or "0")
    except ValueError:
        raise AnswerRefused(400, f"'{text}' is no number.") from None
