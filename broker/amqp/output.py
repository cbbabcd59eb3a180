"""The way out of one connection: the octets that wait for the socket, and what the edge is told beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.amqp.content import content_frames
from broker.codec.constants import FRAME_MIN_SIZE
from broker.codec.method import Method, frame

_SMALL_BODY: Final = 16_384
_MOST_BUFFERS: Final = 1024
"""Buffers that are handed to the socket as they are. A system call takes no more, and the loop's library fails above
2**20.
"""


class Output:
    """What the edge writes next. Consumers add to `buffer` themselves and call `schedule_flush` once a batch."""

    __slots__ = (
        "_is_flush_scheduled",
        "_on_output",
        "buffer",
        "frame_max",
        "has_large",
        "has_published",
        "has_sent_close",
        "is_blocked",
        "last_taken",
        "sent",
        "unread_replies",
        "writes",
    )

    def __init__(self, on_output: Callable[[], None], now: float) -> None:
        """`on_output` is called once when `buffer` is no longer empty, until the edge calls `take`."""
        self._on_output = on_output
        self._is_flush_scheduled = False
        self.buffer: list[bytes] = []
        self.frame_max = FRAME_MIN_SIZE  # of the client, in octets
        self.has_large = False  # `buffer` is better not joined
        self.has_sent_close = False  # connection.close was the last word, but for close-ok
        self.has_published = False  # since the edge looked, other than by new message ids
        self.is_blocked = False  # the socket takes no more: consumers have no credit
        self.unread_replies = 0  # octets of replies that were sent in spite of that
        self.last_taken = now
        self.sent = self.writes = 0  # octets that the edge has written, and in how many pieces

    def send(self, octets: bytes) -> None:
        """Queue octets for the peer."""
        self.buffer.append(octets)
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._on_output()

    def send_method(self, channel_id: int, method: Method) -> None:
        """Queue a method without content."""
        self.send(frame(channel_id, method.encode()))

    def send_content(
        self, channel_id: int, method: Method, header: bytes, body: bytes, chunks: list[bytes] | None
    ) -> None:
        """Queue a method with its content; header and body are frame tails that fit the server's frame size."""
        self.buffer += content_frames(
            channel_id, method, header, chunks if chunks is not None else [body], self.frame_max
        )
        self.has_large |= len(body) > _SMALL_BODY or chunks is not None
        self.schedule_flush()

    def schedule_flush(self) -> None:
        """Tell the edge that there is output, once."""
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._on_output()

    def detach(self) -> None:
        """The socket is gone: nobody is told of output any more."""
        self._on_output = _nobody

    def block(self) -> None:
        """Take the credit of the connection's consumers until there is room again."""
        self.is_blocked = True

    def unblock(self) -> None:
        """There is room again."""
        self.is_blocked = False
        self.unread_replies = 0

    def take(self, now: float) -> tuple[list[bytes], bool]:
        """Return and forget what is to be written, and whether it is large, that is: better not joined."""
        self._is_flush_scheduled = False
        if self.buffer:
            self.last_taken = now
        output, is_large = self.buffer, self.has_large
        self.buffer = []
        self.has_large = False
        return _gathered(output) if is_large and len(output) > _MOST_BUFFERS else output, is_large


def _nobody() -> None:
    """Stands where the edge was."""


def _gathered(octets: list[bytes]) -> list[bytes]:
    """Return the same octets in fewer buffers: small ones are joined."""
    gathered: list[bytes] = []
    small: list[bytes] = []
    size = 0
    for piece in octets:
        if len(piece) <= _SMALL_BODY:
            small.append(piece)
            size += len(piece)
            if size <= _SMALL_BODY:
                continue
        gathered.append(b"".join(small))
        small, size = [], 0
        if len(piece) > _SMALL_BODY:
            gathered.append(piece)
    gathered.append(b"".join(small))
    return gathered
