"""The command line: what it prints and how it ends. Every test is a process, because that is what there is to test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from broker.store.sql.lock import FileLock
from tests.support.broker_process import DATASOURCES_XML, PROJECT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "broker", *arguments],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A folder with a configuration that works, and its data beside it."""
    folder = tmp_path / "conf"
    (folder / "datasources").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (folder / "broker.xml").write_text("<broker/>")
    (folder / "datasources" / "master-datasources.xml").write_text(DATASOURCES_XML.format(directory=tmp_path / "data"))
    return folder


def listen_at(conf: Path, port: int) -> None:
    (conf / "broker.xml").write_text(
        f'<broker><transports><amqp enabled="true"><defaultConnection enabled="true" port="{port}"/></amqp>'
        "</transports></broker>"
    )


def test_the_version_is_told() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, "cordillera 0.1.0\n")


def test_an_unknown_option_is_refused() -> None:
    assert run("--nonsense").returncode == 2


def test_the_shipped_configuration_is_valid() -> None:
    ended = run("--config", "conf/broker.xml", "--check-config")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0] == "conf/broker.xml: read"
    assert ended.stdout.splitlines()[-1] == "configuration is valid"


def test_a_misspelt_element_is_a_warning(conf: Path) -> None:
    (conf / "broker.xml").write_text("<broker><transport/></broker>")
    ended = run("--config", str(conf), "--check-config")
    assert ended.returncode == 0
    assert "transports" in ended.stderr


@pytest.mark.parametrize("option", ["--check-config", "--show-config", "--log-level=info"])
def test_a_wrong_value_ends_with_78_and_one_line(conf: Path, option: str) -> None:
    (conf / "broker.xml").write_text('<broker><transports><amqp enabled="perhaps"/></transports></broker>')
    ended = run("--config", str(conf), option)
    assert (ended.returncode, ended.stdout) == (78, "")
    (line,) = ended.stderr.splitlines()
    assert "broker.xml" in line
    assert "perhaps" in line


def test_the_configuration_is_shown_without_its_secrets(conf: Path) -> None:
    (conf / "user-mgt.xml").write_text(
        "<UserManager><Realm><Configuration><AdminUser><UserName>admin</UserName><Password>hush-hush</Password>"
        "</AdminUser></Configuration></Realm></UserManager>"
    )
    ended = run("--config", str(conf), "--show-config")
    assert ended.returncode == 0
    assert "hush-hush" not in ended.stdout + ended.stderr
    assert "admin" in ended.stdout


def test_a_port_in_use_ends_with_78_and_says_what_to_change(conf: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        listen_at(conf, port)
        ended = run("--config", str(conf))
    assert ended.returncode == 78
    assert f"cannot listen on 127.0.0.1:{port} for AMQP" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_store_in_use_ends_with_69_and_says_by_whom(conf: Path) -> None:
    data = conf.parent / "data"
    lock = FileLock(data / "mb.db.lock")
    lock.acquire(data / "mb.db")
    ended = run("--config", str(conf))
    lock.release()
    assert ended.returncode == 69
    assert f"process {os.getpid()}" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
