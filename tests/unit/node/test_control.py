"""The control socket: one line of JSON in, one out; for the node's own user alone."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.errors import AdministrationError, ConfigError
from broker.node.control import ControlServer
from broker.node.control_client import ask


async def echo(arguments: Mapping[str, Any]) -> Any:
    return dict(arguments)


async def refuse(arguments: Mapping[str, Any]) -> Any:
    raise AdministrationError("there is no user 'ann'")


async def need(arguments: Mapping[str, Any]) -> Any:
    return arguments["name"]


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    """The socket of a server."""
    server = ControlServer(tmp_path / "control", {"echo": echo, "refuse": refuse, "need": need})
    await server.start()
    yield server.path
    await server.stop()
    assert not server.path.exists()


async def test_a_command_gets_its_arguments(path: Path) -> None:
    answer = await asyncio.to_thread(ask, path, {"command": "echo", "name": "ann", "tags": ["a"]})
    assert answer == {"result": {"name": "ann", "tags": ["a"]}}


async def test_what_is_refused_is_one_line(path: Path) -> None:
    assert await asyncio.to_thread(ask, path, {"command": "refuse"}) == {"error": "there is no user 'ann'"}
    assert await asyncio.to_thread(ask, path, {"command": "need"}) == {
        "error": "need: an argument is missing or wrong: 'name'"
    }


@pytest.mark.parametrize("line", [b"{}", b"[]", b"1", b"not json", b'{"command": 1}', b'{"command": "none"}', b""])
async def test_what_is_no_command_is_said_so(path: Path, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()
    assert answer == {"error": "the request is no known command"}


async def test_a_client_that_goes_away_is_no_matter(path: Path) -> None:
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command": "ec')
    writer.close()
    await writer.wait_closed()
    assert await asyncio.to_thread(ask, path, {"command": "echo"}) == {"result": {}}


async def test_nobody_else_may_open_it(path: Path) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


async def test_a_second_server_is_refused_and_a_dead_one_replaced(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another node listens on"):
        await ControlServer(path, {}).start()
    left = tmp_path / "left"
    dead = await asyncio.start_unix_server(lambda reader, writer: None, left)
    dead.close()
    await dead.wait_closed()
    assert left.exists()
    server = ControlServer(left, {"echo": echo})
    await server.start()
    assert await asyncio.to_thread(ask, left, {"command": "echo"}) == {"result": {}}
    await server.stop()


async def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in (
        (tmp_path / "file", "is there and is no socket"),
        (tmp_path / "none" / "control", "cannot listen on"),
        (tmp_path / ("x" * 120), "is longer than 107 octets"),
    ):
        with pytest.raises(ConfigError, match=reason):
            await ControlServer(path, {}).start()
