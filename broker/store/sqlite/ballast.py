"""Room kept on the store's disk for the day it is full: a file that can be given up, so that deletes work.

SQLite needs room for a delete as for an insert (reliability.md §3.1), so without it a full disk would bring back all
that consumers acknowledge. Knows the file system; knows no database. Belongs to the thread that writes.
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
"""Octets: the log up to its checkpoint, the pages it brings to the database, and one large transaction of deletes."""

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_SMALLEST: Final = 256 << 10
_PART_OF_FREE: Final = 10
_TINY: Final = 64 << 10
_NONE: Final = "there is no ballast: acknowledgements may not be kept while the disk is full"


def _free_octets(directory: Path) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


class Ballast:
    """The file `path`, really allocated; empty while it is given up, also over a restart."""

    def __init__(
        self,
        path: Path,
        *,
        size: int = SIZE,
        allocate: Callable[[int, int, int], None] = os.posix_fallocate,
        free_octets: Callable[[Path], int] = _free_octets,
    ) -> None:
        """`allocate` and `free_octets` are the system's answers unless a test replaces them."""
        self._path = path
        self._most = size
        self._size = 0
        self._allocate = allocate
        self._free_octets = free_octets
        self._is_possible = True
        self.is_given_up = False

    def open(self) -> None:
        """Make the file, or let a small one grow. That it cannot be made is a warning: the store works without."""
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
        """Let the file's room be used; it comes back by `restore`."""
        if self.is_given_up or not self._is_possible:
            return
        self.is_given_up = True
        _log.warning("the disk is full: the ballast is given up, nothing but deletes is written", file=str(self._path))
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(descriptor, 0)
                # Some file systems give blocks away again only when the truncation is on disk.
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.warning("the ballast cannot be given up", file=str(self._path), reason=str(error))

    def restore(self) -> None:
        """Take the room again, or raise `StoreFull` when the disk has none to spare."""
        size = self._size or self._wanted(0)
        # Asked first, because an allocation that fails takes, for a moment, the room that deletes need.
        if self._free_octets(self._path.parent) < size:
            raise self._full(size)
        try:
            self._fill(size)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise self._full(size) from error
            # A file system that cannot allocate gives no ballast, but it may well have room.
            _log.warning(_NONE, file=str(self._path), reason=str(error))
            self._is_possible = self.is_given_up = False
            return
        self._size = size
        if self.is_given_up:
            self.is_given_up = False
            _log.info("the disk has room again: the ballast is back", file=str(self._path), octets=size)

    def has_room(self) -> bool:
        """Say whether the disk has a little room now."""
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
        """Return how much to keep: little of a small disk. Raises `StoreFull` when that is too little to be of use."""
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
