from __future__ import annotations

import os
import resource
import socket
import stat
from pathlib import Path

import pytest

from broker.errors import StoreLocked
from broker.store.sqlite.lock import FileLock


def test_a_second_lock_is_refused_and_told_who_holds_the_first(tmp_path: Path) -> None:
    first = FileLock(tmp_path / "mb.db.lock")
    first.acquire(tmp_path / "mb.db")

    with pytest.raises(StoreLocked) as refused:
        FileLock(tmp_path / "mb.db.lock").acquire(tmp_path / "mb.db")
    first.release()

    assert f"mb.db is in use by process {os.getpid()} on {socket.gethostname()} since 2" in str(refused.value)
    assert str(refused.value).endswith("stop it or choose another dataSource")


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "mb.db.lock"), FileLock(tmp_path / "mb.db.lock")
    first.acquire(tmp_path / "mb.db")
    first.release()

    second.acquire(tmp_path / "mb.db")
    second.release()


def test_releasing_twice_is_no_error(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "mb.db.lock")
    lock.acquire(tmp_path / "mb.db")

    lock.release()
    lock.release()


def test_the_lock_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "mb.db.lock")
    lock.acquire(tmp_path / "mb.db")
    lock.release()

    assert stat.S_IMODE((tmp_path / "mb.db.lock").stat().st_mode) == 0o600


def test_on_a_full_disk_the_lock_holds_all_the_same(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "mb.db.lock"), FileLock(tmp_path / "mb.db.lock")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        first.acquire(tmp_path / "mb.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with pytest.raises(StoreLocked, match="another process"):
        second.acquire(tmp_path / "mb.db")
    first.release()
    second.acquire(tmp_path / "mb.db")
    second.release()
