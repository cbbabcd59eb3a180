"""What lies below an embedded store: file systems and versions of SQLite that lose commits (invariant I91)."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.store.sqlite.safety import complaints, file_system_in, file_system_of, has_wal_reset_bug
from broker.store.sqlite.store import SqliteStore

MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:40 / /srv/share rw,relatime shared:7 - nfs4 files:/export rw
41 27 0:41 / /srv/the\040memory rw,relatime - tmpfs tmpfs rw
42 40 254:1 / /srv/share/local rw,relatime - xfs /dev/vdb rw
43 42 0:43 / /srv/share/local rw,relatime - fuse.sshfs host: rw
""".strip()


@pytest.mark.parametrize(
    ("path", "file_system"),
    [
        ("/var/lib/broker/mb.db", "ext4"),
        ("/srv/share/mb.db", "nfs4"),
        ("/srv/shared/mb.db", "ext4"),
        ("/srv/the memory/data/mb.db", "tmpfs"),
        ("/srv/share/local/mb.db", "fuse.sshfs"),
    ],
)
def test_a_path_lies_on_the_nearest_and_latest_mount_above_it(path: str, file_system: str) -> None:
    assert file_system_in(MOUNTS, Path(path)) == file_system


def test_the_system_tells_what_a_path_lies_on() -> None:
    assert file_system_of(Path("/proc/self")) == "proc"


@pytest.mark.parametrize("file_system", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_complained_of(file_system: str) -> None:
    [line] = complaints(Path("/srv/mb.db"), file_system)

    assert line.startswith(f"the store /srv/mb.db lies on a network file system ({file_system})")


@pytest.mark.parametrize("file_system", ["tmpfs", "ramfs"])
def test_a_store_in_memory_is_complained_of(file_system: str) -> None:
    [line] = complaints(Path("/run/mb.db"), file_system)

    assert line == f"the store /run/mb.db lies in memory ({file_system}) and ends with the machine: move it to a disk"


@pytest.mark.parametrize("file_system", ["ext4", "xfs", "btrfs", "zfs", "overlay", "nfsd", ""])
def test_a_local_disk_and_what_nobody_knows_are_trusted(file_system: str) -> None:
    assert complaints(Path("/var/lib/mb.db"), file_system) == []


async def test_the_store_asks_for_the_file_system_of_its_own_path(tmp_path: Path) -> None:
    asked: list[Path] = []

    def answer(path: Path) -> str:
        asked.append(path)
        return "nfs4"

    store = SqliteStore(tmp_path / "mb.db", file_system=answer)
    await store.open()
    lines = await store.check_safety()
    await store.close()

    assert (len(lines), asked) == (1, [tmp_path / "mb.db"])


@pytest.mark.parametrize("version", [(3, 7, 0), (3, 40, 1), (3, 44, 5), (3, 45, 9), (3, 50, 6), (3, 51, 2)])
def test_these_versions_have_the_wal_reset_bug(version: tuple[int, int, int]) -> None:
    assert has_wal_reset_bug(version)


@pytest.mark.parametrize("version", [(3, 6, 23), (3, 44, 6), (3, 50, 7), (3, 51, 3), (3, 53, 0), (4, 0, 0)])
def test_these_versions_do_not(version: tuple[int, int, int]) -> None:
    assert not has_wal_reset_bug(version)
