"""The proxy passes everything on until it is told to refuse, hang, delay or cut."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.proxy import Proxy

DEADLINE = 5.0
A_WHILE = 0.1


class Wire:
    """A server's listening socket, the proxy before it, and the connections of the test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.settimeout(DEADLINE)
        self.proxy = stack.enter_context(Proxy(self._listener.getsockname()[1]))

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """Return the two ends of a connection through the proxy: the client's and the server's."""
        client = self.dial()
        server, _ = self._listener.accept()
        server.settimeout(DEADLINE)
        return client, self._stack.enter_context(server)

    def dial(self) -> socket.socket:
        return self._stack.enter_context(socket.create_connection((self.proxy.host, self.proxy.port), DEADLINE))

    def close_listener(self) -> None:
        self._listener.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with ExitStack() as stack:
        yield Wire(stack)


def is_silent(end: socket.socket) -> bool:
    """Whether nothing comes in for a while, not even an end."""
    end.settimeout(A_WHILE)
    try:
        end.recv(1)
    except TimeoutError:
        return True
    finally:
        end.settimeout(DEADLINE)
    return False


def is_reset(end: socket.socket) -> bool:
    try:
        end.recv(1)
    except ConnectionResetError:
        return True
    return False


def receive(end: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size and (part := end.recv(size - len(parts))):
        parts += part
    return bytes(parts)


def test_both_directions_are_passed_on(wire: Wire) -> None:
    client, server = wire.connect()

    client.sendall(b"question")
    assert receive(server, 8) == b"question"
    server.sendall(b"answer")
    assert receive(client, 6) == b"answer"


def test_the_end_of_one_direction_leaves_the_other_open(wire: Wire) -> None:
    client, server = wire.connect()

    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert receive(server, 9) == b"question"
    server.sendall(b"answer")
    server.close()

    assert receive(client, 7) == b"answer"
    assert wire.proxy.connections == 0


def test_a_reset_is_passed_on(wire: Wire) -> None:
    client, server = wire.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    client.close()
    assert is_reset(server)


def test_many_octets_pass_while_the_receiver_is_slow(wire: Wire) -> None:
    client, server = wire.connect()
    sent = bytes(range(256)) * 40_000
    got = bytearray()
    view = memoryview(sent)
    client.setblocking(False)
    while len(got) < len(sent):
        if view:
            try:
                view = view[client.send(view) :]
                continue
            except BlockingIOError:
                pass
        got += server.recv(1 << 16)
    assert got == sent


def test_a_cut_resets_both_sides_and_serves_new_connections(wire: Wire) -> None:
    client, server = wire.connect()
    client.sendall(b"first")
    assert receive(server, 5) == b"first"

    wire.proxy.cut()

    assert is_reset(client)
    assert is_reset(server)
    client, server = wire.connect()
    client.sendall(b"again")
    assert receive(server, 5) == b"again"


def test_a_proxy_that_refuses_keeps_what_is_open(wire: Wire) -> None:
    client, server = wire.connect()

    wire.proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        wire.dial()
    client.sendall(b"still")
    assert receive(server, 5) == b"still"
    wire.proxy.accept()
    wire.connect()


def test_a_target_that_refuses_resets_the_client(wire: Wire) -> None:
    wire.close_listener()
    with pytest.raises(ConnectionResetError):
        wire.dial().recv(1)


def test_a_proxy_that_hangs_passes_nothing_on_until_it_is_resumed(wire: Wire) -> None:
    client, server = wire.connect()

    wire.proxy.hang()
    client.sendall(b"question")
    server.sendall(b"greeting")
    assert is_silent(server)
    assert is_silent(client)
    wire.proxy.resume()

    assert receive(server, 8) == b"question"
    assert receive(client, 8) == b"greeting"


def test_a_connection_made_while_the_proxy_hangs_is_silent_until_it_is_resumed(wire: Wire) -> None:
    wire.proxy.hang()
    client, server = wire.connect()

    server.sendall(b"greeting")
    assert is_silent(client)
    wire.proxy.resume()

    assert receive(client, 8) == b"greeting"


def test_a_client_that_leaves_while_the_proxy_hangs_is_not_noticed(wire: Wire) -> None:
    client, server = wire.connect()

    wire.proxy.hang()
    client.close()
    assert is_silent(server)
    wire.proxy.resume()

    assert server.recv(1) == b""


def test_a_delay_holds_each_direction_and_keeps_the_order(wire: Wire) -> None:
    client, server = wire.connect()

    wire.proxy.delay = 0.1
    begin = time.monotonic()
    client.sendall(b"one")
    assert receive(server, 3) == b"one"
    assert time.monotonic() - begin >= 0.1
    client.sendall(b"two")
    wire.proxy.delay = 0.0
    client.sendall(b"three")

    assert receive(server, 8) == b"twothree"


def test_a_cut_before_a_pattern_keeps_the_statement_from_the_server(wire: Wire) -> None:
    client, server = wire.connect()
    wire.proxy.cut_before(b"COMMIT")

    client.sendall(b"insert;")
    assert receive(server, 7) == b"insert;"
    client.sendall(b"\x07\0\0\0\x03commit")

    assert is_reset(client)
    assert is_reset(server)
    assert wire.proxy.cuts == 1


def test_a_cut_after_a_pattern_takes_only_the_answer_away(wire: Wire) -> None:
    client, server = wire.connect()
    wire.proxy.cut_after(b"commit")

    client.sendall(b"COMMIT;")

    assert is_reset(client)
    assert receive(server, 7) == b"COMMIT;"
    assert is_silent(server)
    server.sendall(b"done")
    assert server.recv(1) == b""
    assert wire.proxy.cuts == 1


def test_a_pattern_is_found_in_pieces(wire: Wire) -> None:
    client, server = wire.connect()
    wire.proxy.cut_before(b"commit")

    for piece in (b"C", b"OM"):
        client.sendall(piece)
        assert receive(server, len(piece)) == piece
    client.sendall(b"MIT;")

    assert is_reset(client)
    assert wire.proxy.cuts == 1


def test_what_passed_before_a_cut_was_asked_for_does_not_cause_it(wire: Wire) -> None:
    client, server = wire.connect()
    client.sendall(b"commit")
    assert receive(server, 6) == b"commit"

    wire.proxy.cut_before(b"commit")
    client.sendall(b"insert")

    assert receive(server, 6) == b"insert"
    assert wire.proxy.cuts == 0


def test_a_cut_happens_as_many_times_as_it_was_asked_for(wire: Wire) -> None:
    wire.proxy.cut_before(b"commit", times=2)

    for _ in range(2):
        client, _ = wire.connect()
        client.sendall(b"commit")
        assert is_reset(client)
    client, server = wire.connect()
    client.sendall(b"commit")

    assert receive(server, 6) == b"commit"
    assert wire.proxy.cuts == 2


def test_the_pattern_in_an_answer_is_no_reason_to_cut(wire: Wire) -> None:
    client, server = wire.connect()
    wire.proxy.cut_before(b"commit")

    server.sendall(b"commit")

    assert receive(client, 6) == b"commit"
    assert wire.proxy.cuts == 0


def test_closing_a_proxy_that_hangs_ends_its_connections(wire: Wire) -> None:
    client, _ = wire.connect()
    wire.proxy.hang()
    client.sendall(b"question")

    wire.proxy.close()

    assert is_reset(client)
