"""A server of the tests ends with all of its processes, also when the run that started it is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.server_process import ServerFailed, ServerProcess, is_alive, is_frozen, wait_until

FAMILY = ("/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait")
DEADLINE = 10.0

ABANDONED = """
import os, pathlib, sys
from tests.support.server_process import ServerProcess
directory = pathlib.Path(sys.argv[1])
server = ServerProcess(["sleep", "1000"], directory)
server.spawn(directory / "log")
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A running server with two children."""
    directory = tmp_path / "server"
    directory.mkdir()
    process = ServerProcess(FAMILY, directory)
    process.spawn(directory / "log")
    wait_until(lambda: len(children(process)) == 2, DEADLINE, "two children")
    yield process
    process.close()


def children(server: ServerProcess) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(server.pid).children(recursive=True)
    return found


def test_killing_a_server_kills_its_children(server: ServerProcess) -> None:
    processes = children(server)

    server.kill9()

    assert not server.is_running()
    assert not any(map(is_alive, processes))


def test_suspending_a_server_suspends_its_children(server: ServerProcess) -> None:
    processes = [psutil.Process(server.pid), *children(server)]

    server.suspend()
    assert all(map(is_frozen, processes))
    server.resume()

    wait_until(lambda: not any(map(is_frozen, processes)), DEADLINE, "all go on")


def test_closing_a_server_removes_its_directory(server: ServerProcess, tmp_path: Path) -> None:
    server.close()
    assert not (tmp_path / "server").exists()


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    directory = tmp_path / "server"
    directory.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", ABANDONED, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as owner:
        assert owner.stdout is not None
        abandoned = psutil.Process(int(owner.stdout.readline()))
        owner.kill()

    wait_until(lambda: not is_alive(abandoned) and not directory.exists(), DEADLINE, "the server has gone")


def test_waiting_in_vain_names_what_was_waited_for() -> None:
    with pytest.raises(ServerFailed, match=r"the moon is blue: not within 0\.0 s"):
        wait_until(lambda: False, 0.0, "the moon is blue")
