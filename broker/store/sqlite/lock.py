"""The lock on a data directory and its database, which one process at a time may use."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from broker.errors import StoreLocked


class FileLock:
    """Advisory locks on a file beside the store, and on the store itself.

    The system releases them when the process ends, however it ends. The file beside it tells who holds the store. The
    lock on the store itself holds under every name that the store has, and when the file beside it was deleted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptors: list[int] = []

    def acquire(self, guarded: Path) -> None:
        """Take the lock for `guarded` and write this process into its file.

        Raises `StoreLocked`, with the process that holds it, when it is taken.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _is_locked(descriptor):
            holder = os.read(descriptor, 4096).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            raise StoreLocked(f"{guarded} is in use by {holder}; stop it or choose another dataSource")
        self._descriptors.append(descriptor)
        started = time.strftime("%Y-%m-%d %H:%M:%S %z")
        with suppress(OSError):  # on a full disk the lock is held all the same, without the holder's name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {started}\n".encode(), 0)

    def acquire_file(self, guarded: Path) -> None:
        """Make the file `guarded` if it is missing, and take the lock on it. Raises `StoreLocked` when it is taken.

        Call it before SQLite opens the file: closing a descriptor of a file takes SQLite's own locks on it away.
        """
        descriptor = os.open(guarded, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _is_locked(descriptor):
            os.close(descriptor)
            raise StoreLocked(
                f"{guarded} is in use by another process, which may know it under another name;"
                " stop it or choose another dataSource"
            )
        self._descriptors.append(descriptor)

    def release(self) -> None:
        """Release the locks. The file stays: if it were deleted, two processes could lock two files of that name."""
        while self._descriptors:
            descriptor = self._descriptors.pop()
            if not self._descriptors:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
            os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Lock the file of `descriptor`; return False when another process holds it. Closes it after any other error."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        os.close(descriptor)
        raise
    return True
