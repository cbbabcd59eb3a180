"""A hash that is the same in every process: Python's own hash of texts is not."""

from __future__ import annotations

from collections.abc import Hashable
from hashlib import blake2b


def stable_hash(value: Hashable) -> int:
    """Return 64 bits for a text, a number, or a tuple of these."""
    return int.from_bytes(blake2b(repr(value).encode(), digest_size=8).digest(), "big")
