"""The AMQP edge without sockets: protocols of a real server over transports that keep what they are told.

Knows asyncio's protocol calls; the broker behind it is that of the harness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import BasicPublish, ChannelOpen, ConnectionOpen, ConnectionTuneOk, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.server.back_pressure import BackPressure
from broker.server.listener import AmqpServer
from broker.server.protocol import AmqpProtocol
from broker.server.relief import Relief
from broker.server.timers import Timers
from broker.server.turns import Turns
from tests.support.harness import ALL_CAPABILITIES, Harness, start_ok
from tests.support.peer import Peer, command


class FakeTransport:
    """A socket: what is written to it goes to `peer` unless `is_stuck`."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.is_reading = True
        self.is_closed = False
        self.is_aborted = False
        self.protocol = asyncio.Protocol()
        self.is_silent = False
        """Has our direction been closed?"""
        self.is_stuck = False
        self.buffered = 0
        self.writes = 0

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 50000) if name == "peername" else None

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        assert low < high

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        assert not self.is_silent
        self.writes += 1
        if self.is_stuck:
            self.buffered += len(data)
        else:
            self._peer.feed(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_silent = True

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True


class Edge:
    """One client's protocol with a fake socket."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.protocol = AmqpProtocol(node.server)
        self.peer = Peer(self.deliver)
        self.transport = FakeTransport(self.peer)
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]

    def deliver(self, data: bytes) -> None:
        self.protocol.data_received(data)
        self._node.harness.stage.run()

    async def open(self, capabilities: Sequence[str] = ALL_CAPABILITIES, vhost: str = "/") -> Edge:
        """Shake hands; channel 1 and the queue `q` are there afterwards."""
        self.deliver(PROTOCOL_HEADER + command(0, start_ok(capabilities)) + command(0, ConnectionTuneOk(0, 0, 10)))
        self.deliver(
            command(0, ConnectionOpen(vhost)) + command(1, ChannelOpen()) + command(1, QueueDeclare(queue="q"))
        )
        await self._node.turn()
        self.peer.received()
        return self

    async def publish(self, body: bytes = b"m") -> None:
        self.peer.send(1, BasicPublish(routing_key="q"), BasicProperties(), body)
        await self._node.turn()


class Node:
    """The server of a harness."""

    def __init__(self, relief: Relief[AmqpProtocol] | None = None) -> None:
        """`relief` says whom to close when an alarm does not end."""
        self.harness = Harness()
        self.tasks = asyncio.TaskGroup()
        """Enter it before the server listens."""
        self.pressure = BackPressure()
        self.timers = Timers(self.harness.clock.monotonic)
        self.turns = Turns(self.harness.broker.work)
        shared = replace(
            self.harness.shared,
            is_store_away=lambda: self.pressure.is_store_away,
            next_turn=self.turns.next,
            room=self.pressure.room,
        )
        self.server = AmqpServer(
            self.harness.clock, shared, self.pressure, self.timers, self.turns, self.tasks, relief=relief
        )
        self.now = self.harness.clock.monotonic()

    async def turn(self) -> None:
        """Let the loop do what was scheduled."""
        self.harness.stage.run()
        for _ in range(3):
            await asyncio.sleep(0)

    def tick(self, seconds: float) -> None:
        """Let time pass in steps that are not late."""
        for _ in range(round(seconds / 0.5)):
            self.harness.clock.advance(0.5)
            self.timers.run_due(self.harness.clock.monotonic())
