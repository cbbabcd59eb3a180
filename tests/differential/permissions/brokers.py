"""The two brokers that are asked: this one, in this process, and RabbitMQ as it is installed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from structlog.testing import capture_logs

from broker.auth.recorded_access import RecordedAccess
from broker.codec.method import Method
from broker.topology.administration import Administration
from broker.topology.definitions_import import Import
from tests.differential.live import Line, Node, rabbitmq_node
from tests.differential.permissions.asking import Answers, Asker
from tests.differential.permissions.world import PASSWORD, definitions
from tests.support.harness import Client, Harness
from tests.support.logins import public_user, users_of


def ours() -> Answers:
    """Return what this broker answers."""
    with capture_logs():  # a line for each refusal
        return Asker(OwnBroker().connect).answers()


def theirs() -> Answers:
    """Return what RabbitMQ answers."""
    with tempfile.TemporaryDirectory() as folder, rabbitmq_node(Path(folder)) as node:
        import_into(node, Path(folder))
        return Asker(lambda: LiveLink(node.port)).answers()


class OwnBroker:
    """This broker, with the users and permissions of the definitions."""

    def __init__(self) -> None:
        given = definitions()
        users = users_of(*(public_user(user["name"], PASSWORD) for user in given["users"]))
        self._harness = Harness(users=users)
        live = self._harness.live
        object.__setattr__(self._harness.shared, "access", RecordedAccess(live.directory))
        administration = Administration(live, self._harness.parts.recorder)
        self._harness.stage.spawn(Import(administration, given).run())
        self._harness.run()

    def connect(self) -> OwnLink:
        """Return a connection."""
        return OwnLink(self._harness.connect())


class OwnLink:
    """A connection to this broker."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def send(self, octets: bytes) -> None:
        self._client.send_raw(octets)

    def hear(self) -> list[tuple[int, Method]] | None:
        come = self._client.received()
        assert come or self._client.is_closed, "nothing has come, and nothing will"
        return come or None

    def close(self) -> None:
        self._client.lose()


class LiveLink:
    """A connection to a server on a port of this machine."""

    def __init__(self, port: int) -> None:
        self._line = Line(port)
        self._line.socket.settimeout(20)

    def send(self, octets: bytes) -> None:
        self._line.socket.sendall(octets)

    def hear(self) -> list[tuple[int, Method]] | None:
        come: list[tuple[int, Method]] = []
        while not come and not self._line.is_closed:
            self._line.read()
            come = self._line.peer.received()
        return come or None

    def close(self) -> None:
        self._line.socket.close()


def import_into(node: Node, folder: Path) -> None:
    """Let RabbitMQ import the definitions."""
    path = folder / "definitions.json"
    path.write_text(json.dumps(definitions()))
    node.control("import_definitions", str(path))
