"""Credentials that were checked: what a client brings again need not be hashed again (ADR 49).

Of each only a keyed digest is kept, of name, stored hash and password together; the key is made anew for each start. So
a password cannot be read from here, and everything about a user is forgotten in the moment in which the stored hash is
another one.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

RIGHT_ENTRIES: Final = 10_000
WRONG_ENTRIES: Final = 4096
LIFETIME: Final = 900.0
"""Seconds for which right credentials are remembered after the last login with them, or after the last connection with
them has gone.
"""


class Proof:
    """Right credentials in use: whoever has logged in with them keeps it, so that they stay remembered meanwhile."""

    __slots__ = ("__weakref__",)


class _Right:
    """Right credentials, in use or until a time."""

    __slots__ = ("in_use", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.in_use: weakref.ref[Proof] | None = None


class Remembered:
    """Right and wrong credentials by their digests, the least recently used of which are forgotten.

    They are kept apart, so that a flood of wrong ones displaces none that are right. Wrong ones have no time: they are
    wrong until the stored hash changes, which makes other digests.
    """

    def __init__(
        self,
        key: bytes,
        monotonic: Callable[[], float],
        right_entries: int = RIGHT_ENTRIES,
        wrong_entries: int = WRONG_ENTRIES,
        lifetime: float = LIFETIME,
    ) -> None:
        """`key` is 32 octets of chance, made anew for each start. `lifetime` is in seconds."""
        self._key = key
        self._now = monotonic
        self._right_entries = right_entries
        self._wrong_entries = wrong_entries
        self._lifetime = lifetime
        self._right: OrderedDict[bytes, _Right] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        """How many credentials are remembered."""
        return len(self._right) + len(self._wrong)

    def digest(self, *texts: str) -> bytes:
        """Return 16 octets that stand for these texts, here and in this process only."""
        octets = blake2b(key=self._key, digest_size=16)
        for text in texts:
            encoded = text.encode()
            octets.update(len(encoded).to_bytes(8, "big"))
            octets.update(encoded)
        return octets.digest()

    def find_right(self, digest: bytes) -> Proof | None:
        """Return a proof to keep if these credentials are known to be right."""
        found = self._right.get(digest)
        if found is None:
            return None
        proof = found.in_use() if found.in_use is not None else None
        if proof is None and self._now() >= found.until:
            del self._right[digest]
            return None
        self._right.move_to_end(digest)
        return self._keep(found) if proof is None else proof

    def is_wrong(self, digest: bytes) -> bool:
        """Are these credentials known to be wrong?"""
        if digest not in self._wrong:
            return False
        self._wrong.move_to_end(digest)
        return True

    def add_right(self, digest: bytes) -> Proof:
        """Remember right credentials; return a proof to keep."""
        found = self._right.get(digest)
        if found is None:
            if len(self._right) >= self._right_entries:
                self._right.popitem(last=False)
            found = self._right[digest] = _Right(self._now() + self._lifetime)
        return self._keep(found)

    def add_wrong(self, digest: bytes) -> bool:
        """Remember wrong credentials; return whether that is news."""
        if self.is_wrong(digest):
            return False
        if len(self._wrong) >= self._wrong_entries:
            self._wrong.popitem(last=False)
        self._wrong[digest] = None
        return True

    def _keep(self, right: _Right) -> Proof:
        proof = Proof()
        now, lifetime = self._now, self._lifetime

        def on_gone(_: object) -> None:
            right.until = now() + lifetime

        right.in_use = weakref.ref(proof, on_gone)
        return proof
