"""A client of the HTTP API and of metrics: one request after the other on one connection."""

from __future__ import annotations

import base64
import http.client
import time
from dataclasses import dataclass

from benchmarks.nodes.ports import HOST

_LIMIT = 60.0
_LOGIN = "Basic " + base64.b64encode(b"guest:guest").decode()


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """What was answered, and how many seconds that took."""

    status: int
    body: bytes
    seconds: float


class WebClient:
    """A context manager: the user guest at one port."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=_LIMIT)

    def __enter__(self) -> WebClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> WebAnswer:
        """Return the answer to one request."""
        began = time.monotonic()
        self._connection.request(method, path, body or None, {"authorization": _LOGIN, "content-type": kind})
        answer = self._connection.getresponse()
        read = answer.read()
        return WebAnswer(answer.status, read, time.monotonic() - began)
