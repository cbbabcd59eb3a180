"""Writing WSO2's configuration anew, and looking whether it means the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.__main__ import main

BROKER_XML = """<broker><coordination><nodeID>a</nodeID></coordination>
  <transports><mqtt enabled="true"/></transports></broker>"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a configuration."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "broker.xml").write_text(BROKER_XML)
    return tmp_path / "old"


def convert(source: Path, *more: str) -> tuple[int, Path]:
    """Convert a folder; return the exit code, and the new folder."""
    new = source.parent / "new"
    return main(["convert", "--config", str(source), *more, str(new)]), new


def test_new_files_are_written_for_their_owner_alone(source: Path, capsys: Any) -> None:
    code, new = convert(source)
    assert code == 0
    assert capsys.readouterr().out == (
        f"left out: {source}/broker.xml:2: broker/transports/mqtt/@enabled: there is no MQTT here\n"
        f"{new}/broker.xml: written\nthe new files mean the same\n"
    )
    assert (new.stat().st_mode & 0o777, (new / "broker.xml").stat().st_mode & 0o777) == (0o700, 0o600)
    assert "<nodeID>a</nodeID>" in (new / "broker.xml").read_text()


def test_what_is_left_out_need_not_be_listed(source: Path, capsys: Any) -> None:
    code, new = convert(source, "--quiet")
    assert (code, capsys.readouterr().out) == (0, f"{new}/broker.xml: written\nthe new files mean the same\n")


def test_secrets_of_the_vault_are_told_and_not_written(
    source: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = '<clusterSecret svns:secretAlias="Cluster.Secret"/>'
    (source / "broker.xml").write_text(f"<broker><coordination>{secret}</coordination></broker>")
    monkeypatch.setenv("BROKER_SECRET_CLUSTER_SECRET", "a secret of the whole cluster")
    code, new = convert(source)
    assert code == 0
    assert "bring the folder security/, or set BROKER_SECRET_CLUSTER_SECRET\n" in capsys.readouterr().out
    assert secret in (new / "broker.xml").read_text()


def test_nothing_is_overwritten(source: Path, capsys: Any) -> None:
    (source.parent / "new").mkdir()
    (source.parent / "new" / "kept").touch()
    assert convert(source)[0] == 73
    assert capsys.readouterr().err == f"{source.parent}/new: the folder is not empty: choose another one\n"


def test_a_wrong_configuration_is_not_converted(source: Path, capsys: Any) -> None:
    (source / "broker.xml").write_text(
        "<broker><coordination><thriftServerPort>x</thriftServerPort></coordination></broker>"
    )
    code, new = convert(source)
    assert (code, new.exists()) == (78, False)
    assert "broker.xml:1: coordination/thriftServerPort: 'x' is not" in capsys.readouterr().err


def test_a_key_store_of_the_home_is_the_same_by_its_absolute_path(
    source: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source.parent / "store.jks").touch()
    monkeypatch.chdir(source.parent)
    text = "<amqp><sslConnection><keyStore><location>store.jks</location></keyStore></sslConnection></amqp>"
    (source / "broker.xml").write_text(f"<broker><transports>{text}</transports></broker>")
    code, new = convert(source)
    assert (code, capsys.readouterr().err) == (0, "")
    assert f"<location>{source.parent}/store.jks</location>" in (new / "broker.xml").read_text()
