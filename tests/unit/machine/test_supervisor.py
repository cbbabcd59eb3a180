from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.machine.supervisor import Supervisor


class Systemd:
    """The socket that systemd listens on."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        told = []
        while True:
            try:
                told.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return told


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def systemd(path: str) -> Iterator[Systemd]:
    made = Systemd(path)
    yield made
    made.socket.close()


def test_systemd_is_told_what_it_is_told(systemd: Systemd, path: str) -> None:
    Supervisor({"NOTIFY_SOCKET": path}, 17).tell("READY=1", "STATUS=serving")
    assert systemd.heard() == ["READY=1\nSTATUS=serving"]


def test_an_abstract_socket_is_found(tmp_path: Path) -> None:
    made = Systemd(f"\0{tmp_path}")
    Supervisor({"NOTIFY_SOCKET": f"@{tmp_path}"}, 17).tell("READY=1")
    assert made.heard() == ["READY=1"]
    made.socket.close()


class Enough(Exception):
    pass


async def signs_of_life(environ: dict[str, str], rounds: int) -> list[float]:
    """Return how long was slept between signs of life."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == rounds:
            raise Enough

    supervisor = Supervisor(environ, 17)
    with suppress(Enough):
        await supervisor.watch(sleep)
    return slept


async def test_signs_of_life_come_twice_in_the_time_that_systemd_waits(systemd: Systemd, path: str) -> None:
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "17"}
    assert await signs_of_life(environ, 3) == [15.0, 15.0, 15.0]
    assert systemd.heard() == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "30000000"},
        {"NOTIFY_SOCKET": "{path}"},
        {"NOTIFY_SOCKET": "{path}", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "18"},
        {"NOTIFY_SOCKET": "{path}", "WATCHDOG_USEC": "soon"},
    ],
)
async def test_no_signs_of_life_are_given_to_who_wants_none(
    systemd: Systemd, path: str, environ: dict[str, str]
) -> None:
    assert await signs_of_life({name: value.format(path=path) for name, value in environ.items()}, 1) == []
    assert systemd.heard() == []


def test_a_systemd_that_cannot_be_told_is_a_line_in_the_log(path: str) -> None:
    with capture_logs() as logs:
        Supervisor({"NOTIFY_SOCKET": path}, 17).tell("READY=1")
    assert [(log["event"], log["reason"]) for log in logs] == [("systemd could not be told", "ENOENT")]
