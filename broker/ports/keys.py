"""Keys of de-duplication as the store knows them (ADR 66): where a key is one, and what stands for it.

A scope is a queue, by its positive id, or an exchange, by a negative number made from its name.
"""

from __future__ import annotations

import hashlib
from typing import Final

FOREVER: Final = 1 << 62
"""Until when a key is remembered that only ever has to make room for others."""
_DIGITS: Final = 32


def exchange_scope(vhost: str, name: str) -> int:
    """Return the scope of an exchange, a negative number of 63 bits."""
    return -1 - (int.from_bytes(_hash(b"exchange", _octets(vhost), _octets(name))[:8], "big") >> 2)


def digest_of(scope: int, key: bytes) -> str:
    """Return 32 hexadecimal digits that no other key of this or another scope has."""
    return _hash(b"%d" % scope, key).hex()[:_DIGITS]


def _octets(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(len(part).to_bytes(4, "big") + part for part in parts), digest_size=16).digest()
