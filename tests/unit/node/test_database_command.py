"""The SQL of the configured database, and a backup of it."""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from broker.__main__ import main
from broker.config import store_url
from broker.config.connection_options import connection_options
from broker.node.database_command import mysql_settings, postgresql_dump
from broker.store.sqlite.lock import FileLock


def about_database(folder: Path, *arguments: str, url: str = "") -> int:
    """Run a command on the database that a configuration in `folder` names."""
    NodeConfiguration(url or f"jdbc:sqlite:{folder}/mb.db").write(folder / "conf")
    command, *rest = arguments
    return main(["database", command, "--config", str(folder / "conf"), *rest])


@pytest.mark.parametrize("url", ["", "jdbc:mysql://db/mb", "jdbc:postgresql://db/mb"])
def test_the_sql_is_that_of_the_configured_kind_of_database(url: str, tmp_path: Path, capsys: Any) -> None:
    assert about_database(tmp_path, "sql", url=url) == 0
    kind = {"": "sqlite", "jdbc:mysql://db/mb": "mysql"}.get(url, "postgresql")
    script = Path(__file__).parents[3] / "dbscripts" / "mb-store" / f"{kind}-mb.sql"
    assert capsys.readouterr().out == script.read_text()


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    """A database with a large body beside it."""
    with sqlite3.connect(tmp_path / "mb.db") as database:
        database.execute("CREATE TABLE T (A)")
    (tmp_path / "mb.db.content").mkdir()
    (tmp_path / "mb.db.content" / "1").write_bytes(b"large")
    return tmp_path


def test_an_embedded_database_is_archived_with_the_large_bodies(embedded: Path, capsys: Any) -> None:
    backup = embedded / "backup.tar"
    assert about_database(embedded, "backup", str(backup)) == 0
    assert capsys.readouterr().out == f"the database is in {backup}, {backup.stat().st_size} octets\n"
    assert backup.stat().st_mode & 0o777 == 0o600
    (embedded / "again").mkdir()
    with tarfile.open(backup) as archive:
        archive.extractall(embedded / "again", filter="data")
    assert (embedded / "again" / "mb.db.content" / "1").read_bytes() == b"large"
    with sqlite3.connect(embedded / "again" / "mb.db") as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("T",)]
    assert sorted(path.name for path in embedded.iterdir() if path.name.startswith(".")) == []


def test_an_embedded_database_in_use_is_not_archived(embedded: Path, capsys: Any) -> None:
    lock = FileLock(embedded / "mb.db.lock")
    lock.acquire(embedded / "mb.db")
    try:
        assert about_database(embedded, "backup", str(embedded / "backup.tar")) == 78
    finally:
        lock.release()
    assert "mb.db is in use by process" in capsys.readouterr().err
    assert not (embedded / "backup.tar").exists()


@pytest.mark.parametrize(
    ("url", "file", "code", "told"),
    [
        ("", "mb.db", 73, "mb.db is there already: choose another name"),
        ("", "nowhere/backup.tar", 73, "No such file or directory"),
        ("jdbc:sqlite:missing.db", "backup.tar", 78, "nothing to back up"),
        ("jdbc:h2:mem:mb", "backup.tar", 78, "the database is in memory only: a backup needs another dataSource"),
    ],
)
def test_a_backup_that_cannot_be_written_says_why(
    url: str, file: str, code: int, told: str, embedded: Path, capsys: Any
) -> None:
    assert about_database(embedded, "backup", str(embedded / file), url=url) == code
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_the_tools_of_mysql_connect_as_the_broker_does() -> None:
    url = store_url.parse("jdbc:mariadb://db:3307/mb?sslMode=verify-ca&user=mb&password=a%22b%5Cc")
    assert mysql_settings(url, connection_options(url)[0]) == (
        '[client]\nuser="mb"\npassword="a\\"b\\\\c"\nprotocol="tcp"\nhost="db"\nport="3307"\n'
        'loose-ssl-mode="VERIFY_CA"\nloose-ssl-verify-server-cert="1"\n'
    )


def test_the_tool_of_postgresql_connects_as_the_broker_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pg_dump").write_text("#!/bin/sh\n")
    (tmp_path / "pg_dump").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    url = store_url.parse("jdbc:postgresql://db/mb?sslmode=require&currentSchema=mq&user=mb&password=secret")
    command, environ = postgresql_dump(url, connection_options(url)[0])
    assert command == (str(tmp_path / "pg_dump"), "--schema=mq")
    assert environ == {
        "PGHOST": "db",
        "PGPORT": "5432",
        "PGUSER": "mb",
        "PGPASSWORD": "secret",
        "PGDATABASE": "mb",
        "PGSSLMODE": "require",
    }


@pytest.mark.parametrize("url", ["jdbc:mysql://db/mb", "jdbc:postgresql://db/mb"])
def test_without_the_tool_of_a_server_it_is_said_which_is_missing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert about_database(tmp_path, "backup", str(tmp_path / "backup"), url=url) == 78
    assert "on this machine: install its client tools" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_what_the_tool_of_a_server_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "pg_dump").write_text("#!/bin/sh\necho half; echo 'no such server' >&2; exit 1\n")
    (tmp_path / "pg_dump").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    url = "jdbc:postgresql://db/mb"
    assert about_database(tmp_path, "backup", str(tmp_path / "backup"), url=url) == 69
    assert capsys.readouterr().err == "pg_dump: no such server\n"
    assert not (tmp_path / "backup").exists()
