"""The demo's load on one node: publishes with confirms at a steady rate, consumes and acknowledges, connects again.

Knows our own methods on a plain socket; knows no other node and nothing of the store.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Final, TypeVar

from broker.codec import constants as spec
from broker.codec.method import Method, decode, frame
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicConsumeOk,
    BasicDeliver,
    BasicPublish,
    BasicQos,
    BasicQosOk,
    ChannelOpen,
    ChannelOpenOk,
    ConfirmSelect,
    ConfirmSelectOk,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionStart,
    ConnectionStartOk,
    ConnectionTune,
    ConnectionTuneOk,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.codec.properties import BasicProperties, encode_header

QUEUE: Final = "cluster-demo"
_M = TypeVar("_M", bound=Method)
_HEAD: Final = struct.Struct(">BHI")
_TICK: Final = 0.05
_AGAIN: Final = 0.5
_ANSWER_TIMEOUT: Final = 10.0
_MOST_UNCONFIRMED: Final = 500


@dataclass(slots=True)
class Seen:
    """What a client has counted over all of its connections."""

    published: int = 0
    confirmed: int = 0
    delivered: int = 0
    redelivered: int = 0
    is_connected: bool = False


class DemoClient:
    """One client of one node, for as long as `run` is not cancelled."""

    def __init__(self, host: str, port: int, *, rate: float, body: bytes, consumes: bool) -> None:
        self.seen = Seen()
        self._address = (host, port)
        self._rate = rate
        self._consumes = consumes
        content = encode_header(len(body), BasicProperties(delivery_mode=2))
        self._publish = (
            frame(1, BasicPublish(routing_key=QUEUE).encode())
            + _raw(spec.FRAME_HEADER, content)
            + _raw(spec.FRAME_BODY, body)
        )

    async def run(self) -> None:
        """Serve for ever; a connection that ends is made again."""
        while True:
            try:
                await self._session()
            except* (OSError, EOFError):
                pass  # the node is down, or goes down: that is what the demo shows
            self.seen.is_connected = False
            await asyncio.sleep(_AGAIN)

    async def _session(self) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                await self._open(reader, writer)
            self.seen.is_connected = True
            owed = Owed()
            async with asyncio.TaskGroup() as tasks:
                publishing = tasks.create_task(self._publish_for_ever(writer, owed))
                try:
                    await self._receive(reader, writer, owed)
                finally:
                    publishing.cancel()
        finally:
            writer.transport.abort()

    async def _open(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(spec.PROTOCOL_HEADER)
        await _expect(reader, ConnectionStart)
        writer.write(frame(0, ConnectionStartOk(mechanism="PLAIN", response=b"\0guest\0guest").encode()))
        tune = await _expect(reader, ConnectionTune)
        writer.write(frame(0, ConnectionTuneOk(tune.channel_max, tune.frame_max, 0).encode()))
        for channel, method, answer in (
            (0, ConnectionOpen(), ConnectionOpenOk),
            (1, ChannelOpen(), ChannelOpenOk),
            (1, QueueDeclare(queue=QUEUE, durable=True), QueueDeclareOk),
            (1, ConfirmSelect(), ConfirmSelectOk),
            (1, BasicQos(prefetch_count=50), BasicQosOk),
        ):
            writer.write(frame(channel, method.encode()))
            await _expect(reader, answer)
        if self._consumes:
            writer.write(frame(1, BasicConsume(queue=QUEUE).encode()))
            await _expect(reader, BasicConsumeOk)

    async def _publish_for_ever(self, writer: asyncio.StreamWriter, owed: Owed) -> None:
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while True:
            due = int((loop.time() - began) * self._rate) - sent
            count = max(0, min(due, _MOST_UNCONFIRMED - owed.unconfirmed))
            writer.write(self._publish * count)
            sent += due
            owed.last_published += count
            self.seen.published += count
            await writer.drain()
            await asyncio.sleep(_TICK)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, owed: Owed) -> None:
        while True:
            method = await _next(reader)
            if isinstance(method, BasicDeliver):
                self.seen.delivered += 1
                self.seen.redelivered += method.redelivered
                writer.write(frame(1, BasicAck(method.delivery_tag).encode()))
            elif isinstance(method, BasicAck):
                self.seen.confirmed += owed.take(method)
            elif method.name in ("connection.close", "channel.close"):
                return


class Owed:
    """Which publishes of a channel have no confirm yet."""

    __slots__ = ("_highest", "_single", "last_published")

    def __init__(self) -> None:
        self.last_published = 0
        self._highest = 0
        self._single: set[int] = set()

    @property
    def unconfirmed(self) -> int:
        return self.last_published - self._highest - len(self._single)

    def take(self, ack: BasicAck) -> int:
        """Return how many publishes a confirm is for."""
        before = self.unconfirmed
        if ack.multiple:
            self._highest = max(self._highest, ack.delivery_tag)
            self._single = {tag for tag in self._single if tag > self._highest}
        else:
            self._single.add(ack.delivery_tag)
            while self._highest + 1 in self._single:
                self._highest += 1
                self._single.discard(self._highest)
        return before - self.unconfirmed


async def _next(reader: asyncio.StreamReader) -> Method:
    """Return the next method; contents are skipped."""
    while True:
        kind, _, size = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        payload = (await reader.readexactly(size + 1))[:-1]
        if kind == spec.FRAME_METHOD:
            return decode(payload)


async def _expect(reader: asyncio.StreamReader, kind: type[_M]) -> _M:
    method = await _next(reader)
    if not isinstance(method, kind):
        raise ConnectionError(f"{method.name} where {kind.name} was expected")
    return method


def _raw(frame_type: int, payload: bytes) -> bytes:
    return _HEAD.pack(frame_type, 1, len(payload)) + payload + spec.FRAME_END
