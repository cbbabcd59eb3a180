"""How much memory this process may use: what the machine has, or what its control groups leave of that (contract M13).

A control group limits the groups below it too: the smallest limit on the way up to the root counts. Knows both versions
of the kernel's interface: v2, and v1 with its own hierarchy for memory (cgroups(7)).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_V2: Final = ("memory.max", "memory.high")
"""Above `memory.max` the process is killed; above `memory.high` it is slowed down until it seems to stand still."""
_V1: Final = ("memory.limit_in_bytes",)


def total_memory(root: Path = Path("/")) -> int:
    """Return the octets of memory this process may use. `root` is where `/proc` and `/sys` are."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """Return every limit that holds for this process. What cannot be read is none."""
    for folder, names in _groups(root):
        for name in names:
            try:
                value = (folder / name).read_text().strip()
            except OSError:
                continue
            if value.isdigit():  # not "max"
                yield int(value)


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Return the folders of the process's groups, from its own up to the root, with the files that limit memory."""
    mounts = dict(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, group = line.split(":", 2)
        version = 2 if number == "0" else 1
        if version not in mounts or (version == 1 and "memory" not in controllers.split(",")):
            continue
        mounted, point = mounts[version]
        for folder in _way_up(PurePosixPath(group), mounted):
            yield root / point.lstrip("/") / folder, _V2 if version == 2 else _V1


def _mounts(root: Path) -> Iterator[tuple[int, tuple[PurePosixPath, str]]]:
    """Return which group is mounted where, for each version of the interface (proc_pid_mountinfo(5))."""
    for line in _lines(root / "proc/self/mountinfo"):
        fields, _, kind = line.partition(" - ")
        _, _, _, mounted, point, *_ = fields.split(" ")
        name, _, options = kind.split(" ")[:3]
        if name == "cgroup2":
            yield 2, (PurePosixPath(mounted), point)
        elif name == "cgroup" and "memory" in options.split(","):
            yield 1, (PurePosixPath(mounted), point)


def _way_up(group: PurePosixPath, mounted: PurePosixPath) -> Iterator[PurePosixPath]:
    """Return `group` and those above it, as seen from the mount. In a container the mount may be all that is seen."""
    if group.is_relative_to(mounted) and ".." not in group.parts:
        below = group.relative_to(mounted)
        yield from (below, *below.parents)
    else:
        yield PurePosixPath()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
