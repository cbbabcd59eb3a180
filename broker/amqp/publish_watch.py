"""Stops reading of a connection behind the first frame that carries a message, while publishers are held back.

As RabbitMQ does (contract C15): a content header, or a body frame of a message that was begun before, is the last that
is read. So a message with a body waits until its publisher may go on; one without is complete with its header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from broker.amqp.frame_reader import FrameSink
from broker.codec.constants import FRAME_BODY, FRAME_HEADER


class WatchedConnection(FrameSink, Protocol):
    """The connection whose frames these are."""

    def stop_behind_content(self, channel_id: int) -> bool:
        """Stop reading, unless a close is under way; return whether it was stopped."""
        ...


class PublishWatch:
    """Hands frames on to their connection, one by one."""

    __slots__ = ("_connection", "_on_content")

    def __init__(self, connection: WatchedConnection, on_content: Callable[[], None]) -> None:
        """`on_content` is called when reading has stopped."""
        self._connection = connection
        self._on_content = on_content

    def on_frame(self, frame_type: int, channel_id: int, octets: bytes) -> None:
        self._connection.on_frame(frame_type, channel_id, octets)
        if frame_type in (FRAME_HEADER, FRAME_BODY) and self._connection.stop_behind_content(channel_id):
            self._on_content()

    def on_error(self, error: Exception, channel_id: int, method: int) -> None:
        self._connection.on_error(error, channel_id, method)
