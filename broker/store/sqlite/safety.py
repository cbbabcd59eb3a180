"""Checks of what can lose an embedded store's commits: the file system below it, and the version of SQLite."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")

_NETWORK: Final = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|glusterfs|lustre|gpfs|ocfs2|ncpfs|fuse\.(sshfs|glusterfs|ceph.*|s3fs|davfs)"
)
_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


def complaints(path: Path, file_system: str) -> list[str]:
    """Return one line for each way in which `file_system` can lose what the store at `path` has committed."""
    if _NETWORK.fullmatch(file_system):
        return [
            f"the store {path} lies on a network file system ({file_system}), whose locks and syncs SQLite cannot"
            " trust: move it to a local disk"
        ]
    if file_system in _MEMORY:
        return [f"the store {path} lies in memory ({file_system}) and ends with the machine: move it to a disk"]
    return []


def file_system_of(path: Path) -> str:
    """Return the type of the file system that holds `path`; empty when the system does not tell."""
    try:
        return file_system_in(_MOUNTS.read_text(errors="replace"), path.resolve())
    except OSError:
        return ""


def file_system_in(mounts: str, path: Path) -> str:
    """Return the type of the file system that holds `path`, by a table in the format of /proc/self/mountinfo."""
    found, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        mount_point = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), before.split()[4]))
        # Of two mounts at one place the later one hides the earlier.
        if path.is_relative_to(mount_point) and len(mount_point.parts) >= longest:
            found, longest = after.split()[0], len(mount_point.parts)
    return found


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Return whether this SQLite can lose commits when two connections checkpoint at once (sqlite.org/wal.html).

    It was fixed in 3.51.3, and for older lines in 3.44.6 and 3.50.7.
    """
    fixed_from = {(3, 44): 6, (3, 50): 7}
    line, patch = version[:2], version[2]
    return (3, 7, 0) <= version < (3, 51, 3) and patch < fixed_from.get(line, patch + 1)
