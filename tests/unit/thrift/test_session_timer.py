"""How long a connection may be silent: its timer begins and ends where it must."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.thrift.secret import SharedSecret
from broker.thrift.session import Session, Terms
from tests.support.virtual_loop import VirtualLoop, run
from tests.unit.thrift.memory_service import MemorySlotService
from tests.unit.thrift.octets import GET_SLOT, NO_SLOT

IDLE = 10.0
ADMISSION = 5.0


class Transport:
    """What a session writes, and whether it reads."""

    def __init__(self) -> None:
        self.written = b""
        self.is_reading = True
        self.is_aborted = False
        self.options: dict[tuple[int, int], int] = {}
        self.peername: object = ("127.0.0.1", 5)

    def get_extra_info(self, name: str) -> object:
        return {"peername": self.peername, "socket": self}[name]

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options[level, option] = value

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


class Peer:
    """A connection of a server whose clock is virtual."""

    def __init__(self, loop: VirtualLoop, secret: SharedSecret | None = None) -> None:
        def spawn(call: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            return loop.create_task(call)

        service = MemorySlotService()
        nonce = lambda: bytes(16)  # noqa: E731
        terms = Terms(service, secret, IDLE, ADMISSION, nonce, spawn, lambda made: None, lambda lost: None)
        self.transport = Transport()
        self.session = Session(terms)
        self.session.connection_made(self.transport)  # type: ignore[arg-type]

    async def call(self) -> None:
        self.session.data_received(GET_SLOT)
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("peername", "told"), [(("127.0.0.1", 5), "127.0.0.1:5"), (("::1", 5, 0, 0), "[::1]:5"), ("", "?")]
)
def test_a_peer_is_called_by_its_address(peername: object, told: str) -> None:
    async def main(loop: VirtualLoop) -> str:
        peer = Peer(loop)
        peer.transport.peername = peername
        peer.session.connection_made(peer.transport)  # type: ignore[arg-type]
        return peer.session.peer

    assert run(main) == told


def test_a_connection_that_never_says_anything_is_closed() -> None:
    async def main(loop: VirtualLoop) -> tuple[bool, bool]:
        peer = Peer(loop)
        await asyncio.sleep(IDLE - 0.1)
        before = peer.transport.is_aborted
        await asyncio.sleep(0.2)
        return before, peer.transport.is_aborted

    assert run(main) == (False, True)


def test_a_stranger_that_never_says_anything_is_closed_sooner() -> None:
    async def main(loop: VirtualLoop) -> tuple[bool, bool]:
        peer = Peer(loop, SharedSecret("a secret that is long enough"))
        await asyncio.sleep(ADMISSION - 0.1)
        before = peer.transport.is_aborted
        await asyncio.sleep(0.2)
        return before, peer.transport.is_aborted

    assert run(main) == (False, True)


def test_each_call_begins_the_time_anew() -> None:
    async def main(loop: VirtualLoop) -> tuple[bytes, bool]:
        peer = Peer(loop)
        for _ in range(3):
            await asyncio.sleep(0.6 * IDLE)
            await peer.call()
        await asyncio.sleep(0.6 * IDLE)
        return peer.transport.written, peer.transport.is_aborted

    assert run(main) == (3 * NO_SLOT, False)


def test_the_timer_ends_with_its_connection() -> None:
    async def main(loop: VirtualLoop) -> bool:
        peer = Peer(loop)
        peer.session.connection_lost(None)
        await asyncio.sleep(2 * IDLE)
        return peer.transport.is_aborted

    with capture_logs() as logs:
        assert run(main) is False
    assert logs == []


def test_a_call_that_is_not_whole_does_not_extend_the_time() -> None:
    async def main(loop: VirtualLoop) -> bool:
        peer = Peer(loop)
        for octet in GET_SLOT[:4]:
            await asyncio.sleep(0.3 * IDLE)
            peer.session.data_received(bytes([octet]))
        return peer.transport.is_aborted

    assert run(main) is True


def test_what_comes_during_a_call_is_kept_and_the_socket_is_not_read() -> None:
    async def main(loop: VirtualLoop) -> tuple[bool, bool, bytes]:
        peer = Peer(loop)
        peer.session.data_received(GET_SLOT)
        peer.session.data_received(GET_SLOT)
        during = peer.transport.is_reading
        await asyncio.sleep(0.001)
        return during, peer.transport.is_reading, peer.transport.written

    assert run(main) == (False, True, 2 * NO_SLOT)


def test_nothing_is_answered_while_the_peer_does_not_read() -> None:
    async def main(loop: VirtualLoop) -> tuple[bytes, bytes]:
        peer = Peer(loop)
        peer.session.pause_writing()
        await peer.call()
        before = peer.transport.written
        peer.session.resume_writing()
        await asyncio.sleep(0.001)
        return before, peer.transport.written

    assert run(main) == (b"", NO_SLOT)


def test_answers_go_out_at_once_and_a_dead_peer_is_noticed() -> None:
    async def main(loop: VirtualLoop) -> dict[tuple[int, int], int]:
        return Peer(loop).transport.options

    assert run(main) == {
        (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    }


@pytest.mark.parametrize("secret", [None, SharedSecret("a secret that is long enough")])
def test_without_a_secret_everybody_is_admitted(secret: SharedSecret | None) -> None:
    async def main(loop: VirtualLoop) -> bool:
        return Peer(loop, secret).session.is_admitted

    assert run(main) is (secret is None)


def test_garbage_ends_the_connection_and_nothing_else() -> None:
    async def main(loop: VirtualLoop) -> bool:
        peer = Peer(loop)
        peer.session.data_received(b"GET / HTTP/1.1\r\n\r\n")
        return peer.transport.is_aborted

    assert run(main) is True
