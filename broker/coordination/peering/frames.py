"""Messages between peers on a stream: the number of octets that follow, in four octets, and then JSON."""

from __future__ import annotations

from typing import Final

MOST_OCTETS: Final = 65_536
"""Of one message."""
STRANGERS_OCTETS: Final = 512
"""Of a message of a peer that is not admitted."""
_HEAD: Final = 4
_TLS_RECORDS: Final = (b"\x15\x03", b"\x16\x03")
"""How TLS begins, an alert or a handshake (RFC 8446): no length of a message that is taken."""
ADVICE: Final = (
    "set localMemberHost, and localMemberBindAddress if it is set, to loopback on all nodes, or on all to an address"
    " that the others reach"
)


class MalformedFrame(ValueError):
    """What has come cannot be a message."""


class SpeaksTls(MalformedFrame):
    """What has come is TLS, and this node speaks none with its peers, which are on its machine (ADR 77)."""

    def __init__(self) -> None:
        super().__init__(f"it speaks TLS, as beyond loopback, and this node does not: {ADVICE}")


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
        if bytes(self._octets[:2]) in _TLS_RECORDS:
            raise SpeaksTls
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
