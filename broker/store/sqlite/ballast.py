"""The ballast: a file that keeps room on the store's disk, and is emptied when the disk is full (ADR 13).

SQLite needs room for a delete just as for an insert. Without the ballast a full disk would keep the rows of
acknowledged messages, and they would be delivered again. Only the writing thread uses it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from broker.errors import StoreFull

_log = structlog.get_logger(__name__)

SIZE: Final = 16 << 20
"""Octets for the log up to its checkpoint, the pages that this adds to the database, and a large batch of deletes."""

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_SMALLEST: Final = 256 << 10
_PART_OF_FREE: Final = 10
_TINY: Final = 64 << 10
_NONE: Final = "there is no ballast: acknowledgements may not be kept while the disk is full"


def _free_octets(directory: Path) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


class Ballast:
    """The file `path`, whose blocks are allocated; it is empty while it is given up, and stays so over a restart."""

    def __init__(
        self,
        path: Path,
        *,
        size: int = SIZE,
        allocate: Callable[[int, int, int], None] = os.posix_fallocate,
        free_octets: Callable[[Path], int] = _free_octets,
    ) -> None:
        """`allocate` and `free_octets` are the system's own functions unless a test replaces them."""
        self._path = path
        self._most = size
        self._size = 0
        self._allocate = allocate
        self._free_octets = free_octets
        self._is_possible = True
        self.is_given_up = False

    def open(self) -> None:
        """Make the file, or let a small one grow. A failure is only logged: the store works without a ballast."""
        try:
            found = self._path.stat().st_size if self._path.exists() else None
            self.is_given_up = found == 0
            self._size = found or 0
            if not found:
                self.restore()
            elif (wanted := self._wanted(found)) > found:
                self._fill(wanted)
                self._size = wanted
        except (OSError, StoreFull) as error:
            if not self._size:
                _log.warning(_NONE, file=str(self._path), reason=str(error))

    def give_up(self) -> None:
        """Empty the file, so that its room can be used; `restore` takes it back."""
        if self.is_given_up or not self._is_possible:
            return
        self.is_given_up = True
        _log.warning("the disk is full: the ballast is given up, nothing but deletes is written", file=str(self._path))
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(descriptor, 0)
                # Some file systems free the blocks only when the truncation is on disk.
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.warning("the ballast cannot be given up", file=str(self._path), reason=str(error))

    def restore(self) -> None:
        """Fill the file again. Raises `StoreFull` when the disk has no room to spare."""
        size = self._size or self._wanted(0)
        # Checked first: an allocation that fails takes the room that deletes need, if only for a moment.
        if self._free_octets(self._path.parent) < size:
            raise self._full(size)
        try:
            self._fill(size)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise self._full(size) from error
            # On a file system that cannot allocate blocks there is no ballast, but there may be room.
            _log.warning(_NONE, file=str(self._path), reason=str(error))
            self._is_possible = self.is_given_up = False
            return
        self._size = size
        if self.is_given_up:
            self.is_given_up = False
            _log.info("the disk has room again: the ballast is back", file=str(self._path), octets=size)

    def has_room(self) -> bool:
        """Return whether the disk has room for 64 KiB now."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    self._allocate(descriptor, size, _TINY)
                finally:
                    os.ftruncate(descriptor, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            return error.errno not in NO_ROOM
        return True

    def _wanted(self, held: int) -> int:
        """Return the size for the file: at most a tenth of what is free. Raises `StoreFull` if that is too little."""
        size = min(self._most, (self._free_octets(self._path.parent) + held) // _PART_OF_FREE)
        if size < min(_SMALLEST, self._most):
            raise self._full(min(_SMALLEST, self._most))
        return size

    def _fill(self, size: int) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                self._allocate(descriptor, 0, size)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def _full(self, size: int) -> StoreFull:
        return StoreFull(f"the disk of {self._path.parent} has no room for a ballast of {size} octets")
