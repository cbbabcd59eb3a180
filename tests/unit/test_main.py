"""The command line: what it prints and how it ends. Every test is a process, because that is what there is to test."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import PROJECT
from broker.store.sqlite.lock import FileLock
from tests.support.packages import install

ENVIRONMENT = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}


ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""A locale that has no letters but ASCII's."""


def run(
    *arguments: str, module: Sequence[str] = ("broker",), environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *module, *arguments],
        cwd=PROJECT,
        env=ENVIRONMENT | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A folder with a configuration that works, and its data beside it."""
    folder = tmp_path / "conf"
    (tmp_path / "data").mkdir()
    NodeConfiguration(f"jdbc:sqlite:{tmp_path}/data/mb.db").write(folder)
    (folder / "broker.xml").write_text("<broker/>")
    return folder


def listen_at(conf: Path, port: int, host: str = "127.0.0.1") -> None:
    (conf / "broker.xml").write_text(
        f'<broker><transports><amqp enabled="true"><bindAddress>{host}</bindAddress>'
        f'<defaultConnection enabled="true" port="{port}"/></amqp></transports></broker>'
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


def test_a_misspelt_element_is_a_warning_and_what_has_no_effect_is_named(conf: Path) -> None:
    (conf / "broker.xml").write_text('<broker><transport/><transports><mqtt enabled="true"/></transports></broker>')
    ended = run("--config", str(conf), "--check-config")
    assert ended.returncode == 0
    misspelt, without_effect = ended.stderr.splitlines()
    assert "did you mean 'transports'" in misspelt
    assert without_effect == "accepted without effect: mqtt"


@pytest.mark.parametrize("option", ["--check-config", "--show-config", "--log-level=info"])
def test_a_wrong_value_ends_with_78_and_one_line(conf: Path, option: str) -> None:
    (conf / "broker.xml").write_text('<broker><transports><amqp enabled="perhaps"/></transports></broker>')
    ended = run("--config", str(conf), option)
    assert (ended.returncode, ended.stdout) == (78, "")
    (line,) = ended.stderr.splitlines()
    assert "broker.xml" in line
    assert "perhaps" in line


@pytest.mark.parametrize(
    ("element", "says"),
    [
        (
            '<transports><amqp><sslConnection enabled="true"><keyStore><location>/none.jks</location>'
            "<password>x</password></keyStore></sslConnection></amqp></transports>",
            "/none.jks",
        ),
        ("<management><loadDefinitions>/none.json</loadDefinitions></management>", "/none.json: cannot be read"),
    ],
)
def test_what_a_start_would_open_is_checked(conf: Path, element: str, says: str) -> None:
    (conf / "broker.xml").write_text(f"<broker>{element}</broker>")
    ended = run("--config", str(conf), "--check-config")
    assert (ended.returncode, ended.stdout) == (78, "")
    (line,) = ended.stderr.splitlines()
    assert says in line


def test_an_exchange_type_that_does_not_load_ends_the_start_with_78_and_one_line(conf: Path, tmp_path: Path) -> None:
    install(tmp_path, "geo", "import nowhere_to_be_found", {"x-geo": "geo:Geo"})
    ended = run("--config", str(conf), environment={"PYTHONPATH": str(tmp_path)})
    assert ended.returncode == 78
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert json.loads(line)["reason"] == (
        "the exchange type 'x-geo' of geo 1.0 (geo:Geo) does not load: ModuleNotFoundError: No module named"
        " 'nowhere_to_be_found'; mend that package or uninstall it"
    )


def test_a_configuration_is_shown_whatever_letters_the_locale_has(tmp_path: Path) -> None:
    folder = tmp_path / "ä"
    folder.mkdir()
    (folder / "broker.xml").write_text("<broker><coordination><nodeID>Zürich</nodeID></coordination></broker>")
    ended = run("--config", str(folder), "--show-config", environment=ASCII)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "coordination/nodeID = Z\\xfcrich" in ended.stdout


def test_a_wrong_value_in_a_folder_that_the_locale_cannot_spell_is_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "ä"
    folder.mkdir()
    (folder / "broker.xml").write_text("<broker")
    ended = run("--config", str(folder), environment=ASCII)
    assert ended.returncode == 78
    (line,) = ended.stderr.splitlines()
    assert f"{tmp_path}/\\xe4/broker.xml:1: " in line


def test_a_store_that_the_locale_cannot_spell_ends_with_78_and_what_to_do(tmp_path: Path) -> None:
    NodeConfiguration(f"jdbc:sqlite:{tmp_path}/ä/mb.db").write(tmp_path / "conf")
    ended = run("--config", str(tmp_path / "conf"), environment=ASCII)
    assert ended.returncode == 78
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert json.loads(line)["reason"] == (
        f"the encoding of the locale, ascii, has no 'ä', so the path {tmp_path}/ä cannot be used;"
        " set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
    )


@pytest.mark.parametrize("kib", [50_000, 57_000])
def test_too_little_memory_to_start_is_told_in_one_line(conf: Path, kib: int) -> None:
    ended = subprocess.run(
        ["sh", "-c", f'ulimit -v {kib}; exec "$0" -m broker --config "$1"', sys.executable, str(conf)],
        cwd=PROJECT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 70
    assert "Traceback" not in ended.stdout + ended.stderr
    assert len((ended.stdout + ended.stderr).splitlines()) == 1


def test_the_configuration_is_shown_without_its_secrets(conf: Path) -> None:
    (conf / "user-mgt.xml").write_text(
        "<UserManager><Realm><Configuration><AdminUser><UserName>admin</UserName><Password>hush-hush</Password>"
        "</AdminUser></Configuration></Realm></UserManager>"
    )
    ended = run("--config", str(conf), "--show-config")
    assert ended.returncode == 0
    assert "hush-hush" not in ended.stdout + ended.stderr
    assert "admin" in ended.stdout


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_in_use_ends_with_78_and_says_what_to_change(conf: Path, host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.bind((host.strip("[]"), 0))
        taken.listen()
        port = taken.getsockname()[1]
        listen_at(conf, port, host)
        ended = run("--config", str(conf))
    assert ended.returncode == 78
    assert f"cannot listen on {host}:{port} for AMQP" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


STANDALONE = "<broker><deployment><mode>standalone</mode></deployment></broker>"


def test_a_store_in_use_ends_with_69_and_says_by_whom(conf: Path) -> None:
    (conf / "broker.xml").write_text(STANDALONE)
    data = conf.parent / "data"
    lock = FileLock(data / "mb.db.lock")
    lock.acquire(data / "mb.db")
    ended = run("--config", str(conf))
    lock.release()
    assert ended.returncode == 69
    assert f"process {os.getpid()}" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def over_a_store_that_is(fault: str) -> Sequence[str]:
    return ("tests.support.faulty_broker", fault)


@pytest.mark.parametrize("option", ["--setup", "--log-level=info"])
@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        ("config", 78, "the password of user 'mb' is wrong"),
        ("locked", 69, "the store is in use by process 1"),
    ],
)
def test_a_store_that_cannot_be_had_ends_with_one_line(
    conf: Path, option: str, fault: str, code: int, says: str
) -> None:
    (conf / "broker.xml").write_text(STANDALONE)
    ended = run("--config", str(conf), option, module=over_a_store_that_is(fault))
    assert ended.returncode == code
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert says in line


def test_the_schema_is_set_up_without_a_start(conf: Path) -> None:
    for _ in range(2):
        ended = run("--config", str(conf), "--setup")
        assert (ended.returncode, ended.stderr) == (0, "")
        (line,) = ended.stdout.splitlines()
        assert line.startswith("the schema of SQLite ")
        assert line.endswith("mb.db is up to date")
    assert (conf.parent / "data" / "mb.db").exists()


def test_setting_up_does_not_wait_for_a_store_that_is_away(conf: Path) -> None:
    ended = run("--config", str(conf), "--setup", module=over_a_store_that_is("away"))
    assert ended.returncode == 69
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert "connection refused" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_waits_for_its_store_says_so_and_ends_when_told_to(conf: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", *over_a_store_that_is("away"), "--config", str(conf)],
        cwd=PROJECT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as waiting:
        assert waiting.stdout is not None
        line = waiting.stdout.readline()
        waiting.send_signal(number)
        assert waiting.wait(30) == 0
    assert "waiting for the store" in line
    assert "connection refused" in line


@pytest.mark.parametrize(("fault", "durability"), [("unsafe", "NOT crash-safe: fsync is off"), ("none", "full")])
def test_the_start_says_what_a_commit_is_worth(conf: Path, fault: str, durability: str) -> None:
    listen_at(conf, quiet_port())
    with subprocess.Popen(
        [sys.executable, "-m", *over_a_store_that_is(fault), "--config", str(conf)],
        cwd=PROJECT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as broker:
        assert broker.stdout is not None
        started = next((line for line in broker.stdout if "broker started" in line), "")
        broker.terminate()
    assert durability in started
