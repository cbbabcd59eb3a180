"""Sessions over this broker's own parts: no socket, and time passes when a session says so."""

from __future__ import annotations

from broker.codec.method import Method
from tests.differential.talk import Heard
from tests.support.harness import Client, Harness
from tests.support.peer import Content


class OwnWire:
    """The way to a broker of its own."""

    def __init__(self) -> None:
        self._harness = Harness(max_queues=1000)
        self._clients: list[Client] = []
        self._told_closed: set[int] = set()

    def connect(self) -> int:
        self._clients.append(self._harness.connect())
        return len(self._clients) - 1

    def send(self, connection: int, octets: bytes) -> None:
        self._clients[connection].send_raw(octets)

    def drop(self, connection: int) -> None:
        self._told_closed.add(connection)
        self._clients[connection].lose()

    def pass_time(self, seconds: float) -> None:
        """In steps, because one thing may make another due."""
        for _ in range(10):
            self._harness.pass_time(seconds / 10)
            self._harness.commit()

    def settle(self, *, is_answered: bool) -> list[Heard]:
        self._harness.run()
        for _ in range(3):
            self._harness.commit()
        return [each for number, client in enumerate(self._clients) for each in self._heard(number, client)]

    def _heard(self, number: int, client: Client) -> list[Heard]:
        contents = client.contents()
        heard = [Heard(number, channel, _with_content(method, contents)) for channel, method in client.received()]
        if client.protocol_header and number not in self._told_closed:
            heard.append(Heard(number, 0, f"header {client.protocol_header!r}"))
        if client.is_closed and number not in self._told_closed:
            self._told_closed.add(number)
            heard.append(Heard(number, 0, "the socket is closed"))
        return heard


def _with_content(method: Method, contents: list[Content]) -> Method | Content:
    """Return a method with its content, if it has one."""
    for content in contents:
        if content.method is method:
            return content
    return method
