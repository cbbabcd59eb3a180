"""The two ways to a node: its control socket, where whoever may open the file administers, and HTTP with a login.

Both take requests of the HTTP API. Must not import what takes long: no aiohttp, no pydantic.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote, urlencode, urlsplit

from broker.cli.failure import EX_DATAERR, EX_NOHOST, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, CommandFailure
from broker.node.control_client import ask

HTTP_PORT: Final = 15672
_HTTPS_PORT: Final = 443
_SILENT: Final = "X-Silent-Nodes"
TIMEOUT: Final = 30.0
"""Seconds to wait for each part of an answer."""


class NodeWay(Protocol):
    """How a node is asked."""

    is_local: bool
    """Is this the control socket, which has commands of its own?"""
    silent: str
    """The nodes that are missing in the last answer, because they have not answered in time."""

    @property
    def name(self) -> str:
        """What is asked, for messages."""
        ...

    def request(
        self, method: str, path: str, query: Mapping[str, str], body: str, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        """Return status and body of the answer of the HTTP API; `path` follows `/api`. Raises `CommandFailure`."""
        ...

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Return the result of a command that only the control socket has. Raises `CommandFailure`."""
        ...


class ControlWay:
    """Over the control socket of a node on this machine."""

    is_local = True

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self.silent = ""
        self._path = path
        self._timeout = timeout

    @property
    def name(self) -> str:
        return str(self._path)

    def request(
        self, method: str, path: str, query: Mapping[str, str], body: str, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        told = {"method": method, "path": path, "query": dict(query), "body": body, "headers": dict(headers)}
        answer = self.command("api", told)
        self.silent = answer.get("silent", "")
        return answer["status"], answer["body"]

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        try:
            answer = ask(self._path, {**arguments, "command": name}, self._timeout)
        except PermissionError:
            raise CommandFailure(
                EX_UNAVAILABLE,
                f"the control socket {self._path} is another user's. Run this as the node's own user, or say --url",
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CommandFailure(
                EX_UNAVAILABLE, f"no node answers on {self._path} ({reason.lower()}). Is the node running?"
            ) from None
        if "error" not in answer:
            return answer.get("result")
        text = str(answer["error"])
        if text == "the request is no known command":
            raise CommandFailure(
                EX_UNAVAILABLE, f"the node does not know the command {name}: it still starts, or is older"
            )
        if "the store is away" in text:
            raise CommandFailure(EX_TEMPFAIL, text)
        raise CommandFailure(EX_DATAERR, text)


class HttpWay:
    """Over HTTP or HTTPS, as a user."""

    is_local = False

    def __init__(self, url: str, user: str, password: str, *, ca_file: str = "", timeout: float = TIMEOUT) -> None:
        """`url` has no user in it any more: see `split_url`. Raises `CommandFailure` for one that is none."""
        parts = urlsplit(url)
        try:
            port = parts.port or (_HTTPS_PORT if parts.scheme == "https" else HTTP_PORT)
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or not port:
            raise CommandFailure(EX_USAGE, f"{url!r} is no address of a node: say http://HOST:{HTTP_PORT}")
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._prefix = parts.path.rstrip("/").removesuffix("/api")
        self.silent = ""
        self._ca_file = ca_file
        self._timeout = timeout
        self._login = base64.b64encode(f"{user}:{password}".encode()).decode()

    @property
    def name(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._is_tls else 'http'}://{host}:{self._port}{self._prefix}"

    def request(
        self, method: str, path: str, query: Mapping[str, str], body: str, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        import http.client  # not for the control socket
        import socket

        connection = self._connection()
        target = f"{self._prefix}/api{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"authorization": f"Basic {self._login}", "content-type": "application/json", **headers}
        try:
            connection.request(method, target, body.encode("utf-8", "surrogatepass"), sent)
            answer = connection.getresponse()
            self.silent = answer.headers.get(_SILENT, "")
            return answer.status, answer.read().decode("utf-8", "replace")
        except http.client.BadStatusLine:
            text = f"what answers at {self.name} speaks no HTTP: the API is at port {HTTP_PORT}, 5672 is that of AMQP"
            raise CommandFailure(EX_UNAVAILABLE, text) from None
        except (OSError, UnicodeError, http.client.HTTPException) as error:  # a name that is none is no OSError
            code = EX_NOHOST if isinstance(error, socket.gaierror | UnicodeError) else EX_UNAVAILABLE
            raise CommandFailure(code, f"cannot reach {self.name} ({_reason(error)}). {_ADVICE}") from None
        finally:
            connection.close()

    def _connection(self) -> Any:
        import http.client

        if not self._is_tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        import ssl

        try:
            context = ssl.create_default_context(cafile=self._ca_file or None)
        except OSError as error:
            raise CommandFailure(EX_USAGE, f"--ca-file {self._ca_file}: {_reason(error)}") from None
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        raise CommandFailure(
            EX_USAGE,
            f"{name} is served by the control socket only: run brokerctl on the node's own machine, without --url",
        )


_ADVICE: Final = "Is the node running, and management/http on? Another address: --url"


def _reason(error: Exception) -> str:
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return (text or type(error).__name__).lower()


def escaped(name: str) -> str:
    """Return a name as a part of a path."""
    return quote(name, safe="", errors="surrogateescape")


def split_url(url: str) -> tuple[str, str, str]:
    """Return a URL without its user, and user and password; empty where it has none."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl(), unquote(parts.username or ""), unquote(parts.password or "")


def value_of(body: str) -> Any:
    """Return the value of an answer of the HTTP API. Raises `CommandFailure`."""
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise CommandFailure(EX_SOFTWARE, "what answers is no HTTP API of a node: check --url") from None
