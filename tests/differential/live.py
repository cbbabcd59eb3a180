"""Sessions over sockets, against a server that runs: RabbitMQ as it is installed."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.nodes.ports import quiet_port
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import BasicQos, ConfirmSelect, ExchangeDelete, QueueDelete, TxSelect
from tests.differential.talk import Heard, Session, Talk
from tests.support.peer import Content, Peer, command

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
_ANSWER = 1.5
"""Seconds until an answer is there at the latest."""
_IDLE = 0.04
"""Seconds without an octet after which nothing more is expected; longer where the server has to store something."""
_IDLE_STORING = 0.4
_START = 120.0


class Line:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.peer = Peer(self.socket.sendall)
        self.is_closed = False

    def read(self) -> None:
        """Take what has come."""
        try:
            octets = self.socket.recv(1 << 20)
        except OSError:
            octets = b""
        if octets:
            self.peer.feed(octets)
        else:
            self.is_closed = True

    def heard(self, number: int) -> list[Heard]:
        """Return what came since the last call."""
        contents = self.peer.received_content()
        heard = []
        for channel, method in self.peer.received():
            content = next((each for each in contents if each.method is method), None)
            what = method if content is None else Content(channel, method, content.properties, content.body)
            heard.append(Heard(number, channel, what))
        if self.peer.protocol_header:
            heard.append(Heard(number, 0, f"header {self.peer.protocol_header!r}"))
            self.peer.protocol_header = b""
        return heard


class LiveWire:
    """The way to a server on a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lines: list[Line] = []
        self._told_closed: set[int] = set()
        self.idle = _IDLE

    def connect(self) -> int:
        self._lines.append(Line(self._port))
        return len(self._lines) - 1

    def send(self, connection: int, octets: bytes) -> None:
        if any(select_frame in octets for select_frame in (ConfirmSelect().encode(), TxSelect().encode())):
            self.idle = _IDLE_STORING
        with suppress(OSError):
            self._lines[connection].socket.sendall(octets)

    def drop(self, connection: int) -> None:
        self._told_closed.add(connection)
        self._lines[connection].is_closed = True
        self._lines[connection].socket.close()
        time.sleep(0.2)

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def settle(self, *, is_answered: bool) -> list[Heard]:
        patience = _ANSWER if is_answered else self.idle
        while ready := select.select([line.socket for line in self._open()], [], [], patience)[0]:
            patience = self.idle
            for line in self._open():
                if line.socket in ready:
                    line.read()
        heard = [each for number, line in enumerate(self._lines) for each in line.heard(number)]
        for number, line in enumerate(self._lines):
            if line.is_closed and number not in self._told_closed:
                self._told_closed.add(number)
                heard.append(Heard(number, 0, "the socket is closed"))
        return heard

    def _open(self) -> list[Line]:
        return [line for line in self._lines if not line.is_closed]

    def close(self) -> None:
        """Close all connections."""
        for line in self._lines:
            line.socket.close()


def run(session: Session, port: int) -> list[str]:
    """Run a session against the server on `port`, delete what it has declared, and return the conversation."""
    wire = LiveWire(port)
    try:
        talk = session.run(wire)
    finally:
        wire.close()
    _tidy(talk, port)
    return talk.lines


def _tidy(said: Talk, port: int) -> None:
    """Delete what a session has declared."""
    wire = LiveWire(port)
    talk = Talk(wire)
    talk.connect()
    octets = [command(1, QueueDelete(queue=name, no_wait=True)) for name in said.queues]
    octets += [command(1, ExchangeDelete(exchange=name, no_wait=True)) for name in said.exchanges if name[:4] != "amq."]
    wire.send(0, b"".join(octets))
    talk.send(BasicQos(0, 0, False))
    wire.close()


def is_installed() -> bool:
    """Is RabbitMQ installed on this machine?"""
    return Path(SERVER).exists() and shutil.which("erl") is not None


@dataclass(frozen=True)
class Node:
    """RabbitMQ as it runs."""

    port: int
    environ: Mapping[str, str]

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` and return what it prints."""
        command = [CONTROL, "-q", "-n", self.environ["RABBITMQ_NODENAME"], *arguments]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def rabbitmq(folder: Path) -> Iterator[int]:
    """Run RabbitMQ with its data in `folder`; yield its port."""
    with rabbitmq_node(folder) as node:
        yield node.port


@contextmanager
def rabbitmq_node(folder: Path, plugins: Sequence[str] = ()) -> Iterator[Node]:
    """Run RabbitMQ with its data in `folder`."""
    port, distribution, names = quiet_port(), quiet_port(), quiet_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugins").write_text(f"[{','.join(plugins)}].")
    environ = os.environ | {
        "HOME": str(folder),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_NODENAME": f"differential{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
    }
    with (folder / "output").open("wb") as output:
        server = subprocess.Popen([SERVER], env=environ, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait_for(port, server)
        yield Node(port, environ)
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 9)
        subprocess.run(["epmd", "-port", str(names), "-kill"], capture_output=True, check=False)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START
    while time.monotonic() < until and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.settimeout(1)
            probe.sendall(PROTOCOL_HEADER)
            if probe.recv(8):
                return
        time.sleep(0.5)
    raise AssertionError("RabbitMQ does not start")
