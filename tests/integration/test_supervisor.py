"""A node under systemd: what it tells the socket that it was given, and the files of `deploy/`."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from benchmarks.nodes.process import BrokerProcess

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_systemd_hears_that_a_node_serves_and_lives_and_stops(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(30)
        environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
        node = BrokerProcess(tmp_path / "broker", environ=environ)
        node.start()
        try:
            assert systemd.recv(4096).decode().startswith("READY=1\nSTATUS=serving as NODE:")
            assert [systemd.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        finally:
            code = node.stop()
        assert code == 0
        told = b""
        while told != b"STOPPING=1":
            told = systemd.recv(4096)
            assert told in (b"WATCHDOG=1", b"STOPPING=1")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "cordillera.service"
    text = (DEPLOY / "systemd" / "cordillera.service").read_text()
    unit.write_text(text.replace("/opt/cordillera/bin/python", shutil.which("python3") or ""))
    read = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert "cordillera.service" not in read.stderr, read.stderr


def test_what_the_image_is_made_of_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    [(folder, place)] = re.findall(r"^COPY (\w+) (/\S+)$", text, re.M)
    assert (DEPLOY.parent / folder / "broker.xml").is_file()
    [(pattern, file)] = re.findall(r"sed -i 's#(<\S+)#<\S+#' (\S+)", text)
    assert file == f"{place}/broker.xml"
    assert pattern in (DEPLOY.parent / folder / "broker.xml").read_text()
