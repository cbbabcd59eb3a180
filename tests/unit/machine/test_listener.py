"""A listener of real sockets: room, strangers, and a machine that refuses to accept."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
import trustme
import uvloop
from structlog.testing import capture_logs

from broker.machine import listener as listener_module
from broker.machine.listener import Room, SocketListener
from tests.support.descriptors import no_descriptors_left

HOST = "127.0.0.1"


class Greeter(asyncio.Protocol):
    """Admits who has said anything, and greets everybody."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.is_admitted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        self.is_admitted = True
        self.transport.write(b"in")

    def connection_lost(self, exc: Exception | None) -> None:
        self.place.listener.forget(self)

    def abort(self) -> None:
        self.transport.abort()


class Place:
    """A listener, and those who connect to it."""

    def __init__(self, tasks: asyncio.TaskGroup, room: Room, new_client: Callable[[Place], Greeter] = Greeter) -> None:
        self.listener = SocketListener(lambda: new_client(self), tasks, room, what="test")
        self.is_full = False
        self._callers: list[asyncio.StreamWriter] = []

    async def open(self) -> None:
        ((_, self.port),) = await self.listener.bind(HOST, 0)
        self.listener.start()

    async def call(self, host: str = HOST) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from an address of this machine."""
        reader, writer = await asyncio.open_connection(HOST, self.port, local_addr=(host, 0))
        self._callers.append(writer)
        return reader, writer

    async def close(self) -> None:
        self.listener.close()
        for writer in self._callers:
            writer.transport.abort()


@asynccontextmanager
async def open_place(room: Room) -> AsyncIterator[Place]:
    async with asyncio.TaskGroup() as tasks:
        place = Place(tasks, room)
        await place.open()
        try:
            yield place
        finally:
            await place.close()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return cast(Callable[[], asyncio.AbstractEventLoop], request.param)


async def happens(what: Callable[[], bool]) -> None:
    """Give the loop turns until it has happened."""
    for _ in range(100_000):
        if what():
            return
        await asyncio.sleep(0)
    raise AssertionError("it has not happened")


async def greeting(reader: asyncio.StreamReader) -> bytes:
    """What a caller hears first; nothing when it is sent away."""
    async with asyncio.timeout(10):
        try:
            return await reader.read(5)
        except ConnectionResetError:
            return b""


def test_a_listener_accepts_again_after_the_machine_had_no_descriptor_left(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_AFTER_FAULT", 0.01)

    async def run() -> None:
        async with open_place(Room()) as place:
            caller = socket.socket()
            caller.setblocking(False)
            with capture_logs() as logs, no_descriptors_left():
                await asyncio.get_running_loop().sock_connect(caller, (HOST, place.port))
                await happens(lambda: bool(logs))
            assert logs[0]["event"] == "connections cannot be accepted"
            assert logs[0]["reason"] == errno.errorcode[errno.EMFILE]
            async with asyncio.timeout(10):
                assert await asyncio.get_running_loop().sock_recv(caller, 5) == b"hello"
            caller.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


@pytest.mark.parametrize("is_tls", [False, True])
def test_a_connection_that_is_made_while_the_listener_closes_is_told_of_its_end(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], is_tls: bool
) -> None:
    authority = trustme.CA()
    context, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(trusting)
    ends: list[str] = []

    class Closing(Greeter):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.place.listener.close()

        def connection_lost(self, exc: Exception | None) -> None:
            ends.append("lost")

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            place = Place(tasks, Room(), Closing)
            await place.open()
            place.listener.tls = context if is_tls else None
            tls: dict[str, Any] = {"ssl": trusting, "server_hostname": "localhost"} if is_tls else {}
            reader, writer = await asyncio.open_connection(HOST, place.port, **tls)
            with suppress(OSError):
                await reader.read()
            writer.transport.abort()
            await happens(lambda: bool(ends))
        assert ends == ["lost"]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


async def test_a_connection_that_would_take_a_reserved_descriptor_is_refused() -> None:
    async with open_place(Room(descriptors=0)) as place:
        with capture_logs() as logs:
            for _ in range(3):
                assert await greeting((await place.call())[0]) == b""
        assert [log["event"] for log in logs] == ["connections are refused: too few file descriptors are left"]


async def test_who_has_shown_who_it_is_takes_no_place_of_a_stranger() -> None:
    async with open_place(Room(strangers=2)) as place:
        for _ in range(5):
            reader, writer = await place.call()
            assert await greeting(reader) == b"hello"
            writer.write(b"name and password")
            assert await greeting(reader) == b"in"
        assert place.listener.strangers <= 2


async def test_the_oldest_stranger_makes_room_for_the_next_connection() -> None:
    async with open_place(Room(strangers=2, stranger_timeout=0.0)) as place:
        readers = []
        for _ in range(3):
            reader, _ = await place.call()
            assert await greeting(reader) == b"hello"
            readers.append(reader)
        assert await greeting(readers[0]) == b""
        assert place.listener.strangers == 2


async def test_a_stranger_has_some_time_before_it_must_go_and_the_next_one_waits() -> None:
    async with open_place(Room(strangers=1, stranger_timeout=1000.0)) as place:
        first, writer = await place.call()
        assert await greeting(first) == b"hello"
        second, _ = await place.call()
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(greeting(second))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not waiting.done()
            writer.close()
        assert waiting.result() == b"hello"


async def test_a_crowd_from_one_address_keeps_nobody_out_that_comes_from_another() -> None:
    """A thousand half handshakes from one address kept a node that was called from finding its peers."""
    room = Room(strangers=4, stranger_timeout=1000.0, crowd_timeout=0.0)
    async with open_place(room) as place:
        crowd = [(await place.call("127.0.0.9"))[0] for _ in range(4)]
        for reader in crowd:
            assert await greeting(reader) == b"hello"
        with capture_logs() as logs:
            assert await greeting((await place.call("127.0.0.9"))[0]) == b"", "one more of the crowd is closed"
            others = [(await place.call(f"127.0.0.{number}"))[0] for number in (10, 11)]
            for reader in others:
                assert await greeting(reader) == b"hello"
            assert await greeting(crowd[0]) == await greeting(crowd[1]) == b"", "the oldest of the crowd have gone"
            assert await greeting((await place.call("127.0.0.10"))[0]) == b"", "nobody has more than a fair share"
        assert place.listener.strangers == 4
        assert [(log["host"], log["limit"]) for log in logs] == [("127.0.0.9", 4)]


async def test_all_wait_while_nobody_has_more_than_one_place() -> None:
    room = Room(strangers=2, stranger_timeout=0.3, crowd_timeout=0.0)
    async with open_place(room) as place:
        for number in (9, 10):
            assert await greeting((await place.call(f"127.0.0.{number}"))[0]) == b"hello"
        assert await greeting((await place.call("127.0.0.11"))[0]) == b"hello"


async def test_within_a_network_the_address_with_the_most_places_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster whose nodes have IPv6 addresses is often one network, with whoever else is in it."""
    monkeypatch.setattr(listener_module, "network", lambda host: "the network of all")
    async with open_place(Room(strangers=4, stranger_timeout=1000.0, crowd_timeout=0.0)) as place:
        crowd = [(await place.call("127.0.0.9"))[0] for _ in range(4)]
        for reader in crowd:
            assert await greeting(reader) == b"hello"
        assert await greeting((await place.call("127.0.0.9"))[0]) == b""
        assert await greeting((await place.call("127.0.0.10"))[0]) == b"hello"
        assert await greeting(crowd[0]) == b""


async def test_a_crowd_waits_for_a_moment_before_any_of_it_is_closed() -> None:
    async with open_place(Room(strangers=1, stranger_timeout=1000.0, crowd_timeout=500.0)) as place:
        first, writer = await place.call("127.0.0.9")
        assert await greeting(first) == b"hello"
        second, _ = await place.call("127.0.0.9")
        third, _ = await place.call("127.0.0.10")
        for _ in range(20):
            await asyncio.sleep(0)
        assert place.listener.strangers == 1
        writer.write(b"name and password")
        assert await greeting(first) == b"in"
        assert await greeting(second) == b"hello"
        assert not third.at_eof()


async def test_who_has_shown_who_it_is_counts_for_no_crowd() -> None:
    async with open_place(Room(strangers=2, stranger_timeout=1000.0, crowd_timeout=0.0)) as place:
        stranger, _ = await place.call("127.0.0.9")
        assert await greeting(stranger) == b"hello"
        admitted, writer = await place.call("127.0.0.9")
        assert await greeting(admitted) == b"hello"
        writer.write(b"name and password")
        assert await greeting(admitted) == b"in"
        assert await greeting((await place.call("127.0.0.9"))[0]) == b"hello"
        writer.write(b"again")
        assert await greeting(admitted) == b"in"


def test_who_does_not_shake_hands_makes_room_too(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def run() -> None:
        async with open_place(Room(strangers=1, stranger_timeout=0.0)) as place:
            place.listener.tls = context
            silent, _ = await place.call()
            trusting = ssl.create_default_context()
            authority.configure_trust(trusting)
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(
                    HOST, place.port, ssl=trusting, server_hostname="localhost"
                )
                assert await reader.read(5) == b"hello"
            assert await greeting(silent) == b""
            writer.transport.abort()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    ("said", "level", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "warning", "the client speaks HTTP without TLS (HTTP_REQUEST)"),
        (b"", "info", "the client closed the connection during the handshake"),
    ],
)
def test_a_handshake_that_fails_is_said_with_its_peer_and_gives_its_place_back(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], said: bytes, level: str, reason: str
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

    async def run() -> None:
        async with open_place(Room()) as place:
            place.listener.tls = context
            with capture_logs() as logs:
                _, writer = await place.call()
                host, port = writer.get_extra_info("sockname")
                if said:
                    writer.write(said)
                else:
                    writer.close()
                await happens(lambda: bool(logs))
            assert [(log["event"], log["log_level"]) for log in logs] == [("a TLS handshake has failed", level)]
            assert logs[0]["reason"] == reason
            assert logs[0]["peer"] == f"{host}:{port}"
            assert place.listener.strangers == 0

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


async def test_every_address_has_the_port_that_the_system_has_chosen() -> None:
    async with asyncio.TaskGroup() as tasks:
        listener = SocketListener(lambda: None, tasks, Room(), what="test")
        names = await listener.bind("*", 0)
        listener.close()
    assert len({name[1] for name in names}) == 1
    assert {name[0] for name in names} <= {"0.0.0.0", "::"}


@pytest.mark.parametrize("host", ["::", "*"])
async def test_every_address_is_of_both_families(host: str) -> None:
    async with open_place(Room()) as place, asyncio.TaskGroup() as tasks:
        listener = SocketListener(lambda: Greeter(place), tasks, Room(), what="test")
        names = await listener.bind(host, 0)
        listener.start()
        for name in names:
            reader, writer = await asyncio.open_connection("::1" if ":" in name[0] else HOST, name[1])
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()
        listener.close()
    assert {name[0] for name in names} == ({"0.0.0.0", "::"} if has_ipv6() else {"0.0.0.0"})


def has_ipv6() -> bool:
    """Has this machine an IPv6 loopback?"""
    with socket.socket(socket.AF_INET6) as tried, suppress(OSError):
        tried.bind(("::1", 0))
        return True
    return False


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with open_place(Room()) as place, asyncio.TaskGroup() as tasks:
        other = SocketListener(lambda: None, tasks, Room(), what="test")
        with pytest.raises(OSError, match="in use") as caught:
            await other.bind(HOST, place.port)
        assert caught.value.errno == errno.EADDRINUSE
        other.close()
