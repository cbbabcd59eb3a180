"""Looks at an embedded store as a start would find it, and changes nothing: no lock, no log, no file is made.

SQLite itself makes and deletes files beside a database that it opens, which would hide what a start goes by (ADR 27).
So the file is read as one that does not change, which it is while no broker has it open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import StaticPool, create_engine

from broker.ports.store import StoreLook
from broker.store.sql import migrate
from broker.store.sqlite.companions import Companions
from broker.store.sqlite.writer import bodies_in_files

_NOT_CLOSED: Final = "was not closed in order: the start reads its log"


def look(path: Path, companions: Companions) -> StoreLook:
    """Return what there is. Raises what opening the store would raise: `ConfigError`, OSError, `sqlite3.Error`."""
    if holder := _holder(companions.lock):
        return StoreLook(False, (f"{path} is in use by {holder}",))
    companions.check_database()
    companions.check_log()
    _require_writable(path.parent)
    _require_writable(path)
    if not path.exists() or not path.stat().st_size:
        return StoreLook(True, (f"{path} is new",))
    if companions.log.exists() and companions.log.stat().st_size:
        return StoreLook(False, (f"{path} {_NOT_CLOSED}",))
    with closing(sqlite3.connect(f"file:{quote(os.fspath(path))}?immutable=1", uri=True)) as raw:
        is_new = _revision(raw) is None
        if is_new:
            companions.check_new()
        else:
            [mark] = raw.execute("PRAGMA user_version").fetchone()
            companions.check_content(mark >> 1, sum(bodies_in_files(raw).values()))
    return StoreLook(is_new, (f"{path} is {'empty' if is_new else 'a store of this broker'}",))


def _holder(lock: Path) -> str:
    """Return who holds the lock on a store; nothing if nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(descriptor, 4096).decode("utf-8", "replace").strip() or "another process"
    finally:
        os.close(descriptor)
    return ""


def _require_writable(path: Path) -> None:
    """Raise OSError unless the file or folder can be written, or made where it is missing."""
    while not path.exists():
        path = path.parent
    if path.is_file() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _revision(raw: sqlite3.Connection) -> str | None:
    engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool)
    with engine.connect() as connection:
        return migrate.judge(connection)
