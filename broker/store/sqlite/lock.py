"""The lock on a data directory, which one process at a time may use."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from broker.errors import StoreLocked


class FileLock:
    """An advisory lock on a file beside the store; the system releases it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self, guarded: Path) -> None:
        """Take the lock for `guarded` and write this process into its file.

        Raises `StoreLocked`, with the process that holds it, when it is taken.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 4096).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            raise StoreLocked(f"{guarded} is in use by {holder}; stop it or choose another dataSource") from None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        started = time.strftime("%Y-%m-%d %H:%M:%S %z")
        with suppress(OSError):  # on a full disk the lock is held all the same, without the holder's name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {started}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock. The file stays: if it were deleted, two processes could lock two files of that name."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1
