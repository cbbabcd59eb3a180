"""A disk small enough to be filled: a tmpfs of its own, mounted for one test.

Knows `mount`, which needs root; must not know who else writes to the disk.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20


class CannotMount(Exception):
    """The system does not let this process mount anything."""


class SmallDisk:
    """A mounted tmpfs, and one file that fills it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._filler = directory / "filler"

    def fill(self) -> None:
        """Write to the disk until not one octet more can be written."""
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (MIB, 4096, 1):
                _write_all(descriptor, size)
        finally:
            os.close(descriptor)

    def leave(self, octets: int) -> None:
        """Fill the disk but for so many octets."""
        self.fill()
        os.truncate(self._filler, max(self._filler.stat().st_size - octets, 0))

    def empty(self) -> None:
        """Take away what `fill` has written."""
        self._filler.unlink()


def _write_all(descriptor: int, size: int) -> None:
    try:
        while os.write(descriptor, bytes(size)):
            pass
    except OSError:
        return


@contextmanager
def small_disk(directory: Path, octets: int) -> Iterator[SmallDisk]:
    """Mount a disk of this size on `directory`, which is made. Raises `CannotMount`."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={octets}", "tmpfs", str(directory)], capture_output=True, text=True
    )
    if mounted.returncode:
        raise CannotMount(mounted.stderr.strip())
    try:
        yield SmallDisk(directory)
    finally:
        # What still has a file open there keeps its inode, not the place.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
