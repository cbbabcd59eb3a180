"""A small blocking AMQP client for the recording load: one connection, one channel, one socket.

Knows pamqp's frames and plain sockets; must not know what is recorded or why. Every failure is an `OSError`.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pamqp import body, commands, frame, header
from pamqp.base import Frame

from benchmarks.nodes.configuration import ADMINISTRATOR, ADMINISTRATOR_PASSWORD
from benchmarks.nodes.ports import HOST

FRAME_HEADER = struct.Struct(">BHI")
FRAME_END = b"\xce"
CHANNEL = 1

Answer = TypeVar("Answer", bound=Frame)


@dataclass(frozen=True, slots=True)
class Content:
    """A delivered, fetched or returned message: the method that announced it, its body and its headers."""

    method: Frame
    body: bytes
    headers: dict[str, Any] = field(default_factory=dict)


class Wire:
    """One connection with channel 1 open: as guest, or as the administrator of a node on another machine."""

    def __init__(self, host: str, port: int, *, timeout: float = 20.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._login = "guest\0guest" if host == HOST else f"{ADMINISTRATOR}\0{ADMINISTRATOR_PASSWORD}"
        self._received = bytearray()
        self._early: list[Frame | Content] = []
        self._announced: Frame | None = None
        self._expected = 0
        self._headers: dict[str, Any] = {}
        self._chunks: list[bytes] = []
        try:
            self._open()
        except BaseException:
            self._socket.close()
            raise

    def _open(self) -> None:
        self._socket.sendall(header.ProtocolHeader().marshal())
        self._answer(commands.Connection.Start)
        start_ok = commands.Connection.StartOk({"product": "load"}, "PLAIN", f"\0{self._login}", "en_US")
        tune = self.call(start_ok, commands.Connection.Tune, channel=0)
        self.send(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0), channel=0)
        self.call(commands.Connection.Open("/"), commands.Connection.OpenOk, channel=0)
        self.call(commands.Channel.Open(), commands.Channel.OpenOk)

    def send(self, method: Frame, *, channel: int = CHANNEL) -> None:
        self.write(frame.marshal(method, channel))

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def call(self, method: Frame, answer: type[Answer], *, channel: int = CHANNEL) -> Answer:
        """Send `method` and return its answer; what else arrives is kept for `receive`."""
        self.send(method, channel=channel)
        return self._answer(answer)

    def _answer(self, answer: type[Answer]) -> Answer:
        found: Answer | None = None
        while found is None:
            for item in self._read():
                if found is None and isinstance(item, answer):
                    found = item
                else:
                    self._early.append(item)
        return found

    def receive(self, timeout: float) -> list[Frame | Content]:
        """Return what has arrived, after waiting at most `timeout` for something."""
        if self._early:
            early, self._early = self._early, []
            return early
        ready, _, _ = select.select([self._socket], [], [], timeout)
        return list(self._read()) if ready else []

    def _read(self) -> Iterator[Frame | Content]:
        data = self._socket.recv(262144)
        if not data:
            raise ConnectionResetError("the broker closed the connection")
        self._received += data
        offset = 0
        while len(self._received) - offset >= FRAME_HEADER.size:
            size = FRAME_HEADER.size + FRAME_HEADER.unpack_from(self._received, offset)[2] + 1
            if len(self._received) - offset < size:
                break
            item = self._collect(frame.unmarshal(bytes(self._received[offset : offset + size]))[2])
            offset += size
            if item is not None:
                yield item
        del self._received[:offset]

    def _collect(self, value: frame.FrameTypes) -> Frame | Content | None:
        if isinstance(value, commands.Connection.Close | commands.Channel.Close):
            raise ConnectionAbortedError(f"{value.reply_code} {value.reply_text}")
        if isinstance(value, commands.Basic.Deliver | commands.Basic.GetOk | commands.Basic.Return):
            self._announced = value
            return None
        if isinstance(value, header.ContentHeader):
            self._expected, self._chunks = value.body_size, []
            self._headers = value.properties.headers or {}
            return self._complete()
        if isinstance(value, body.ContentBody):
            self._chunks.append(value.value)
            self._expected -= len(value.value)
            return self._complete()
        return value if isinstance(value, Frame) else None

    def _complete(self) -> Content | None:
        assert self._announced is not None
        return None if self._expected else Content(self._announced, b"".join(self._chunks), self._headers)

    def close(self) -> None:
        """Close politely: when this returns the broker has taken back what was unacknowledged."""
        try:
            self.call(commands.Connection.Close(200, "done", 0, 0), commands.Connection.CloseOk, channel=0)
        finally:
            self._socket.close()

    def end(self) -> None:
        """Let whoever reads or writes, in another thread, find the connection closed."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Close the socket with unread bytes in it, as a killed process does."""
        self._socket.close()


def publish_head(exchange: str, routing_key: str, body_size: int, *, persistent: bool = True) -> bytes:
    """Return the method and header frames of a publish, which only its body is missing."""
    properties = commands.Basic.Properties(delivery_mode=2 if persistent else 1)
    method = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    return frame.marshal(method, CHANNEL) + frame.marshal(
        header.ContentHeader(body_size=body_size, properties=properties), CHANNEL
    )


def body_frame(payload: bytes) -> bytes:
    """Return `payload` as one body frame."""
    return FRAME_HEADER.pack(3, CHANNEL, len(payload)) + payload + FRAME_END
