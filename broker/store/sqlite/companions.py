"""The files beside the database, and whether they belong to what the database is now (ADR 27).

SQLite begins anew without a word when its file or its log is missing. What lies beside them tells that something was
there: then a start is refused, and nothing is deleted.

The database counts how often it was opened, in its header's user version: twice that number, and one more while it is
open. The folder of body files has that count in a file of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.errors import ConfigError

_USER_VERSION: Final = slice(60, 64)  # sqlite.org/fileformat.html, 1.3
_MAGIC: Final = b"SQLite format 3\0"
_COUNT_FILE: Final = "opened"


class Companions:
    """The names of the files beside `database`."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.log = _beside(database, "-wal")
        self.lock = _beside(database, ".lock")
        self.ballast = _beside(database, ".ballast")
        self.content = _beside(database, ".content")

    def check_database(self) -> None:
        """Raise `ConfigError` when the database is missing. Call it before the database is made."""
        if _size(self.database) is None:
            self.check_new(is_missing=True)

    def check_log(self) -> None:
        """Raise `ConfigError` when the database's log is missing. Call it before SQLite makes one."""
        if not _size(self.database):
            self.check_new()
        elif _user_version(self.database) & 1 and _size(self.log) is None:
            raise ConfigError(
                f"{self.database} was not closed in order, and its log {self.log} is missing: put the log back;"
                " if another program, such as sqlite3, has closed the database since, nothing is missing:"
                " create an empty file of that name"
            )

    def check_new(self, *, is_missing: bool = False) -> None:
        """Raise `ConfigError` when there are files of a database that was here before this empty or missing one."""
        found = [str(path) for path in self._of_another(is_missing)]
        if found:
            raise ConfigError(
                f"{self.database} is {'missing' if is_missing else 'empty'}, but there is {' and '.join(found)}:"
                " put the database back, or move these away to begin with an empty one"
            )

    def _of_another(self, is_missing: bool) -> Iterator[Path]:
        # A first start that is cut off leaves an empty database, and perhaps a log and an empty ballast.
        if is_missing and _size(self.log) is not None:
            yield self.log
        size = _size(self.ballast)
        if size or (is_missing and size is not None):
            yield self.ballast
        if self.content.is_dir() and any(self.content.iterdir()):
            yield self.content

    def check_content(self, opened: int, bodies: int) -> bool:
        """Return whether the body files are certain to be those of the database, which was `opened` so often.

        `bodies` is how many of them it names. Raises `ConfigError` when the files are newer than the database, or the
        folder is missing.
        """
        if not self.content.is_dir():
            if bodies:
                raise ConfigError(
                    f"{bodies} large bodies are in files of {self.content}, which is missing: put it back,"
                    " or make an empty folder to go on without them"
                )
            return True
        written = self._written_count()
        if written is not None and written > opened:
            raise ConfigError(
                f"{self.database} is older than the body files in {self.content}: put its newest state back, with its"
                " log, or move the folder away and make an empty one to go on without these bodies"
            )
        return written == opened

    def write_count(self, opened: int) -> None:
        """Record in the folder of body files, if there is one, how often their database was opened.

        That it cannot be written does no harm: files that no row names are then kept at the next start.
        """
        with suppress(OSError):
            if self.content.is_dir():
                descriptor = os.open(self.content / _COUNT_FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.pwrite(descriptor, b"%010d" % opened, 0)  # of one width: it is overwritten as a whole
                finally:
                    os.close(descriptor)

    def _written_count(self) -> int | None:
        try:
            text = (self.content / _COUNT_FILE).read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return int(text) if text.isascii() and text.isdecimal() else None

    def keep_log(self) -> None:
        """Make an empty log beside a closed database that is still marked as open, and so was closed by an error."""
        with suppress(OSError):
            if _user_version(self.database) & 1 and _size(self.log) is None:
                os.close(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _user_version(database: Path) -> int:
    with database.open("rb") as file:
        header = file.read(100)
    return int.from_bytes(header[_USER_VERSION], "big") if header.startswith(_MAGIC) else 0
