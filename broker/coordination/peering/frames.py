"""Messages between peers on a stream: the number of octets that follow, in four octets, and then JSON."""

from __future__ import annotations

from typing import Final

MOST_OCTETS: Final = 65_536
"""Of one message."""
STRANGERS_OCTETS: Final = 512
"""Of a message of a peer that is not admitted."""
_HEAD: Final = 4


class MalformedFrame(ValueError):
    """What has come cannot be a message."""


def frame(message: bytes) -> bytes:
    """Return a message as it goes over the stream."""
    return len(message).to_bytes(_HEAD, "big") + message


class PeerFrames:
    """Takes octets as they come, and gives whole messages."""

    __slots__ = ("_octets", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """The most octets that a message may have; refused before they have come."""
        self._octets = bytearray()

    def feed(self, octets: bytes) -> None:
        """Take octets."""
        self._octets += octets

    def take(self) -> bytes | None:
        """Return the next message, None while it is not whole. Raises `MalformedFrame`."""
        if len(self._octets) < _HEAD:
            return None
        size = int.from_bytes(self._octets[:_HEAD], "big")
        if not 0 < size <= self.limit:
            raise MalformedFrame(f"a message of {size} octets; at most {self.limit} are taken")
        if len(self._octets) < _HEAD + size:
            return None
        message = bytes(self._octets[_HEAD : _HEAD + size])
        del self._octets[: _HEAD + size]
        return message

    @property
    def is_empty(self) -> bool:
        return not self._octets
