"""Room that is kept, given up and taken back (ADR 13: on a full disk SQLite cannot even delete)."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.errors import StoreFull, StoreUnavailable
from broker.ports.records import Drop, Put, QueueKey, VirtualHostRecord
from broker.ports.slot import Slot
from broker.ports.store import Batch
from broker.store.sqlite.ballast import SIZE, Ballast
from broker.store.sqlite.content_files import ContentFiles
from broker.store.sqlite.store import SqliteStore
from tests.contract.harness import LATEST, ORDERS, message

MIB = 1 << 20


@dataclass
class Disk:
    """A disk whose free room a test sets. Files are only as large as they say."""

    free: int = 1000 * MIB
    refuses: int = errno.ENOSPC
    asked: list[int] = field(default_factory=list)

    def allocate(self, descriptor: int, offset: int, octets: int) -> None:
        self.asked.append(octets)
        if self.free < octets:
            raise OSError(self.refuses, os.strerror(self.refuses))
        os.ftruncate(descriptor, offset + octets)

    def free_octets(self, directory: Path) -> int:
        return self.free

    def ballast(self, path: Path) -> Ballast:
        return Ballast(path, allocate=self.allocate, free_octets=self.free_octets)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mb.db.ballast"


def test_the_file_is_really_allocated_and_its_owners_alone(path: Path) -> None:
    Ballast(path, size=MIB).open()

    status = path.stat()

    assert (status.st_size, status.st_blocks * 512 >= MIB, status.st_mode & 0o777) == (MIB, True, 0o600)


@pytest.mark.parametrize(("free", "size"), [(1000 * MIB, SIZE), (50 * MIB, 5 * MIB)])
def test_the_ballast_takes_a_tenth_of_a_small_disk_at_most(disk: Disk, path: Path, free: int, size: int) -> None:
    disk.free = free

    disk.ballast(path).open()

    assert path.stat().st_size == size


def test_a_disk_without_room_gives_no_ballast_and_that_is_no_error(disk: Disk, path: Path) -> None:
    disk.free = MIB
    ballast = disk.ballast(path)

    ballast.open()

    assert (path.exists(), ballast.is_given_up) == (False, False)


def test_a_ballast_that_is_there_is_kept_on_a_full_disk(disk: Disk, path: Path) -> None:
    path.write_bytes(b"\0" * 100)
    disk.free = 0

    disk.ballast(path).open()

    assert path.stat().st_size == 100


def test_a_small_ballast_grows_when_the_disk_has_room_at_a_start(disk: Disk, path: Path) -> None:
    path.write_bytes(b"\0" * 100)

    disk.ballast(path).open()

    assert path.stat().st_size == SIZE


def test_a_ballast_that_is_given_up_is_an_empty_file_until_there_is_room_for_all_of_it(disk: Disk, path: Path) -> None:
    ballast = disk.ballast(path)
    ballast.open()
    ballast.give_up()
    assert (path.stat().st_size, ballast.is_given_up) == (0, True)

    disk.free = SIZE - 1
    with pytest.raises(StoreFull, match=f"has no room for a ballast of {SIZE} octets"):
        ballast.restore()
    assert (path.stat().st_size, ballast.is_given_up) == (0, True)

    disk.free = SIZE
    ballast.restore()
    assert (path.stat().st_size, ballast.is_given_up) == (SIZE, False)


def test_a_ballast_stays_given_up_over_a_restart_on_a_full_disk(disk: Disk, path: Path) -> None:
    path.touch()
    disk.free = 0
    ballast = disk.ballast(path)

    ballast.open()

    assert ballast.is_given_up


def test_a_restart_takes_the_ballast_back_when_there_is_room(disk: Disk, path: Path) -> None:
    path.touch()
    ballast = disk.ballast(path)

    ballast.open()

    assert (path.stat().st_size, ballast.is_given_up) == (SIZE, False)


def test_a_quota_is_a_full_disk_too(disk: Disk, path: Path) -> None:
    ballast = Ballast(path, allocate=disk.allocate, free_octets=lambda directory: 1000 * MIB)
    ballast.open()
    ballast.give_up()
    disk.free, disk.refuses = 0, errno.EDQUOT

    assert not ballast.has_room()
    with pytest.raises(StoreFull):
        ballast.restore()


def test_a_full_disk_is_not_asked_for_room_that_it_says_it_has_not(disk: Disk, path: Path) -> None:
    ballast = disk.ballast(path)
    ballast.open()
    ballast.give_up()
    disk.free = SIZE - 1

    with pytest.raises(StoreFull):
        ballast.restore()

    assert disk.asked == [SIZE]


def test_a_file_system_that_cannot_allocate_never_holds_inserts_back(disk: Disk, path: Path) -> None:
    disk.refuses = errno.EOPNOTSUPP
    ballast = Ballast(path, size=MIB, allocate=disk.allocate, free_octets=lambda directory: 1000 * MIB)
    disk.free = 0
    ballast.open()

    ballast.give_up()

    assert (ballast.is_given_up, ballast.has_room()) == (False, True)


def test_asking_for_room_leaves_the_ballast_as_it_is(disk: Disk, path: Path) -> None:
    ballast = disk.ballast(path)
    ballast.open()

    assert ballast.has_room()
    assert path.stat().st_size == SIZE


@pytest.fixture
async def store(tmp_path: Path, disk: Disk) -> SqliteStore:
    """A store of which messages 1 and 2 are stored; after that its file may not grow and the disk is full."""
    store = SqliteStore(tmp_path / "mb.db", ballast=disk.ballast)
    await store.open()
    await store.register("node-a")
    await store.write(Batch(inserts=[message(1), message(2)], high_water=100))
    await limit_pages(store, 1)
    disk.free = 0
    return store


async def limit_pages(store: SqliteStore, pages: int) -> None:
    """Let SQLite say that the disk is full above `pages`, or above those that it has if they are more."""
    await store._on_writer(lambda: store._raw.execute(f"PRAGMA max_page_count = {pages}").fetchone())


async def ids(store: SqliteStore) -> list[int]:
    return [found.id for found in await store.read(ORDERS, Slot(7, 0, 0, LATEST, 0), 100, 1 << 30)]


LARGE = b"x" * 60_000


async def test_a_full_disk_gives_the_ballast_up_and_lets_deletes_through(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(StoreFull, match=r"mb\.db: database or disk is full"):
        await store.write(Batch(inserts=[message(3, body=LARGE)]))
    assert (tmp_path / "mb.db.ballast").stat().st_size == 0

    await store.write(Batch(deletes=[message(1)]))

    assert await ids(store) == [2]
    await store.close()


async def test_inserts_wait_until_the_ballast_is_back(store: SqliteStore, tmp_path: Path, disk: Disk) -> None:
    with pytest.raises(StoreFull):
        await store.write(Batch(inserts=[message(3, body=LARGE)]))
    await limit_pages(store, 1 << 30)
    with pytest.raises(StoreFull, match="no room for a ballast"):
        await store.write(Batch(inserts=[message(4)], deletes=[message(1)]))
    assert await ids(store) == [1, 2]

    disk.free = 1000 * MIB
    await store.write(Batch(inserts=[message(3, body=LARGE)], deletes=[message(1)]))

    assert (await ids(store), (tmp_path / "mb.db.ballast").stat().st_size) == ([2, 3], SIZE)
    await store.close()


async def test_pages_of_deleted_rows_are_room_for_inserts_without_the_ballast(store: SqliteStore, disk: Disk) -> None:
    disk.free = 1000 * MIB
    await limit_pages(store, 1 << 30)
    backlog = [message(number, body=LARGE) for number in range(11, 51)]
    await store.write(Batch(inserts=backlog))
    await limit_pages(store, 1)
    disk.free = 0
    with pytest.raises(StoreFull):
        await store.write(Batch(inserts=[message(51, body=LARGE)]))

    await store.write(Batch(deletes=backlog[:10]))
    with pytest.raises(StoreFull, match="no room for a ballast"):
        await store.write(Batch(inserts=[message(51, body=LARGE)]))
    await store.write(Batch(deletes=backlog[10:]))
    await store.write(Batch(inserts=[message(51, body=LARGE)]))

    assert await ids(store) == [1, 2, 51]
    await store.close()


async def test_topology_that_grows_waits_for_room_and_topology_that_goes_does_not(store: SqliteStore) -> None:
    with pytest.raises(StoreFull):
        await store.write(Batch(inserts=[message(3, body=LARGE)]))

    with pytest.raises(StoreFull):
        await store.record([Put(VirtualHostRecord("new"))])
    await store.record([Drop(QueueKey("/", "orders", ORDERS.queue_id))])

    assert await ids(store) == []
    await store.close()


async def test_a_full_disk_below_large_bodies_is_full_too(tmp_path: Path, disk: Disk) -> None:
    def refuse(descriptor: int, pieces: list[memoryview], offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def files(directory: Path) -> ContentFiles:
        return ContentFiles(directory, write=refuse)

    store = SqliteStore(tmp_path / "mb.db", content_files=files, ballast=disk.ballast)
    await store.open()
    await store.register("node-a")

    with pytest.raises(StoreFull, match="No space left on device"):
        await store.write(Batch(inserts=[message(1, body=b"x" * 200_000)]))

    assert (tmp_path / "mb.db.ballast").stat().st_size == 0
    await store.close()


@pytest.mark.parametrize(("free", "error"), [(1000 * MIB, StoreUnavailable), (0, StoreFull)])
async def test_an_input_error_is_a_full_disk_only_when_there_is_no_room(
    tmp_path: Path, disk: Disk, free: int, error: type[StoreUnavailable]
) -> None:
    def fail() -> None:
        failure = sqlite3.OperationalError("disk I/O error")
        failure.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
        raise failure

    store = SqliteStore(tmp_path / "mb.db", ballast=disk.ballast)
    await store.open()
    disk.free = free

    with pytest.raises(StoreUnavailable) as caught:
        await store._on_writer(fail)

    assert caught.type is error
    await store.close()
