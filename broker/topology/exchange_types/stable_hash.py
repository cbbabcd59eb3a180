"""A hash that is the same in every process: Python's own hash of texts is not."""

from __future__ import annotations

from collections.abc import Hashable

from xxhash import xxh3_64_intdigest


def stable_hash(value: Hashable) -> int:
    """Return 64 bits for a text, a number, or a tuple of these."""
    return xxh3_64_intdigest(repr(value).encode())
