"""The control socket of a node: whoever may open the file administers (`python -m broker admin`).

One request is one line of JSON, an object with `command` and its arguments; the answer is one line, an object with
`result` or `error`. The file belongs to the node's own user alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
from structlog.contextvars import bound_contextvars

from broker.auth.audit import COMMAND_DONE, COMMAND_REFUSED, tell
from broker.errors import BrokerError, ConfigError
from broker.node.control_path import LONGEST_PATH

_log = structlog.get_logger(__name__)

MAX_REQUEST: Final = 64 * 1024 * 1024
"""Octets of a request: definitions may be large."""
_CREDENTIALS: Final = struct.Struct("3i")
"""Process, user and group, as `SO_PEERCRED` tells them (unix(7))."""
_REQUEST_TIMEOUT: Final = 30.0
"""Seconds until a request must have come."""

API: Final = "api"
"""The command that asks the HTTP API in memory."""

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]


class ControlServer:
    """Serves commands on a UNIX socket."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self.path = path
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. A file that a dead node has left is replaced; raises `ConfigError` for one that is in use."""
        if is_listened_on(self.path):
            raise ConfigError(f"management/controlSocket: another node listens on {self.path}")
        self.path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self.path, limit=MAX_REQUEST)
        except OSError as error:
            raise ConfigError(f"management/controlSocket: cannot listen on {self.path}: {error.strerror}") from error
        finally:
            os.umask(mask)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            with suppress(OSError):
                self.path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                line = await reader.readline()
            with bound_contextvars(by="the control socket", uid=_user_of(writer)):
                answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, TimeoutError) as error:
            _log.info("a request on the control socket was not served", reason=str(error) or type(error).__name__)
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            name = request.pop("command")
            command = self._commands[name]
        except (ValueError, AttributeError, TypeError, KeyError):
            return {"error": "the request is no known command"}
        try:
            result = await command(request)
        except BrokerError as error:
            return _refused(name, str(error))
        except (KeyError, TypeError, ValueError) as error:
            return _refused(name, f"{name}: an argument is missing or wrong: {error}")
        if name != API:  # it tells itself what is changed
            tell(_log, COMMAND_DONE, command=name)
        return {"result": result}


def is_listened_on(path: Path) -> bool:
    """Does a node listen on this path? Raises `ConfigError` for one at which none can."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ConfigError(f"management/controlSocket: {path} is longer than {LONGEST_PATH} octets")
    if not path.is_socket():
        if path.exists():
            raise ConfigError(f"management/controlSocket: {path} is there and is no socket")
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True


def _refused(command: str, reason: str) -> dict[str, Any]:
    tell(_log, COMMAND_REFUSED, command=command, reason=reason)
    return {"error": reason}


def _user_of(writer: asyncio.StreamWriter) -> int | None:
    """Return the id of the user at the other end, where the system tells it."""
    connection = writer.get_extra_info("socket")
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (AttributeError, OSError):
        return None
    return int(_CREDENTIALS.unpack(credentials)[1])
