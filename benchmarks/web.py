"""Clients of the HTTP API, of metrics and of the console."""

from __future__ import annotations

import base64
import http.client
import re
import time
from dataclasses import dataclass
from socket import SHUT_RDWR
from urllib.parse import quote, urlencode

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
    """A context manager: the user guest at one port, who asks one thing after the other."""

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


class WatchedPage:
    """What a browser does that shows a page of the console, but for drawing it: the page is read, and then what is told
    of its changes.
    """

    def __init__(self, port: int, page: str, cookie: str) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=_LIMIT)
        for path in (page, f"/live?page={quote(page, safe='')}"):
            self._connection.request("GET", path, headers={"cookie": cookie})
            self._answer = self._connection.getresponse()
            if self._answer.status != 200:
                raise RuntimeError(f"{path}: {self._answer.status}")
            if path == page:
                self._answer.read()

    def read(self) -> None:
        """Read until `close`."""
        try:
            while self._answer.read1(65536):
                pass
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return  # closed while it reads

    def close(self) -> None:
        """Stop reading."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(SHUT_RDWR)


def log_in(port: int) -> str:
    """Return the cookies of the user guest who has logged in to the console."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_LIMIT)
    connection.request("GET", "/login")
    answer = connection.getresponse()
    fields = dict(re.findall(r'name="?([a-z_]+)"? value="([^"]*)"', answer.read().decode()))
    cookies = _cookies(answer)
    body = urlencode({**fields, "name": "guest", "password": "guest"})
    kind = "application/x-www-form-urlencoded"
    connection.request(
        "POST", "/login", body, {"content-type": kind, "cookie": cookies, "origin": f"http://{HOST}:{port}"}
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status >= 400:
        raise RuntimeError(f"the login is refused: {answer.status}")
    return "; ".join(filter(None, (cookies, _cookies(answer))))


def _cookies(answer: http.client.HTTPResponse) -> str:
    return "; ".join(each.partition(";")[0] for each in answer.headers.get_all("set-cookie", []))
