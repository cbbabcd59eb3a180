"""Large bodies of the embedded store: in the files beside it, as long as a row names them."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.errors import StoreError, StoreUnavailable
from broker.message import Message
from broker.ports.records import Drop, Put, QueueKey, QueueRecord, VirtualHostRecord
from broker.ports.slot import Slot
from broker.ports.store import Batch
from broker.store.sqlite import reader as sqlite_read
from broker.store.sqlite.content_files import ContentFiles, Place
from broker.store.sqlite.store import SqliteStore
from broker.store.sqlite.writer import _transaction_with_files
from tests.contract.harness import LATEST, ORDERS, Queue, message
from tests.support.descriptors import no_descriptors_left

LARGE = b"x" * 200_000


class Disk:
    """Refuses to sync while it has an error."""

    error = 0

    def sync(self, descriptor: int) -> None:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        os.fdatasync(descriptor)


class Meanwhile:
    """Files of which something happens, the first time that they are read."""

    def __init__(self, files: ContentFiles, happen: Callable[[], None]) -> None:
        self._files = files
        self._happenings = [happen]

    def read(self, places: Mapping[int, Place]) -> dict[int, bytes]:
        while self._happenings:
            self._happenings.pop()()
        return self._files.read(places)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "mb.db"


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def store(path: Path, disk: Disk) -> AsyncIterator[SqliteStore]:
    opened = await opened_store(path, disk)
    yield opened
    await opened.close()


async def opened_store(path: Path, disk: Disk) -> SqliteStore:
    opened = SqliteStore(path, lambda directory: ContentFiles(directory, segment_size=1, sync=disk.sync))
    await opened.open()
    await opened.register("node-a")
    return opened


async def read(store: SqliteStore, queue: Queue = ORDERS) -> list[Message]:
    return await store.read(queue, Slot(queue.queue_id, 0, 0, LATEST, 0), 100, 1 << 30)


def segments(path: Path) -> list[str]:
    directory = path.with_name("mb.db.content")
    return sorted(filter(str.isdecimal, os.listdir(directory))) if directory.is_dir() else []


async def test_a_body_above_65500_octets_lies_in_a_file(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(1, body=b"x" * 65_500), message(2, body=b"s", content_id=2)]))
    without = segments(path)
    await store.write(Batch(inserts=[message(3, body=b"x" * 65_501)]))

    assert (without, segments(path)) == ([], ["1"])
    assert (path.with_name("mb.db.content") / "1").read_bytes() == b"x" * 65_501


async def test_the_files_belong_to_their_owner_alone(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(1, body=LARGE)]))

    directory = path.with_name("mb.db.content")
    assert [stat.S_IMODE(place.stat().st_mode) for place in (directory, directory / "1")] == [0o700, 0o600]


async def test_a_body_shared_by_many_rows_is_written_once(store: SqliteStore, path: Path) -> None:
    clones = [message(number, Queue(number), LARGE, content_id=1) for number in (1, 2, 3)]
    await store.write(Batch(inserts=clones[:2]))
    await store.write(Batch(inserts=clones[2:]))

    assert segments(path) == ["1"]
    assert (path.with_name("mb.db.content") / "1").stat().st_size == 200_000


async def test_a_file_goes_with_the_last_row_that_names_a_body_in_it(store: SqliteStore, path: Path) -> None:
    first, second, third = (message(number, body=LARGE) for number in (1, 2, 3))
    await store.write(Batch(inserts=[first, second]))
    await store.write(Batch(inserts=[third]))

    await store.write(Batch(deletes=[first]))
    after_one = segments(path)
    await store.write(Batch(deletes=[second]))

    assert (after_one, segments(path)) == (["1", "2"], ["2"])


async def test_a_purge_removes_files(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(1, body=LARGE)]))

    await store.write(Batch(purges=[Slot(7, 0, 0, LATEST, 1)]))

    assert segments(path) == []


async def test_deleting_a_queue_removes_its_files(store: SqliteStore, path: Path) -> None:
    await store.record([Put(VirtualHostRecord("/")), Put(QueueRecord("/", "orders", 7))])
    await store.write(Batch(inserts=[message(1, body=LARGE)]))
    await store.write(Batch(inserts=[message(2, Queue(8), LARGE)]))

    await store.record([Drop(QueueKey("/", "orders", 7))])

    assert segments(path) == ["2"]


async def test_files_that_no_row_names_are_removed_at_the_start(store: SqliteStore, path: Path, disk: Disk) -> None:
    await store.write(Batch(inserts=[message(1, body=LARGE)]))
    await store.close()
    (path.with_name("mb.db.content") / "2").write_bytes(b"half a batch")

    again = await opened_store(path, disk)
    found = await read(again)
    await again.close()

    assert segments(path) == ["1"]
    assert [stored.payload for stored in found] == [LARGE]


ERRORS_OF_A_DISK = {
    "full": errno.ENOSPC,
    "quota": errno.EDQUOT,
    "broken": errno.EIO,
    "too many files": errno.EMFILE,
    "read-only": errno.EROFS,
    "no access": errno.EACCES,
    "gone": errno.ENODEV,
    "stale": errno.ESTALE,
    "no answer": errno.ETIMEDOUT,
}


@pytest.mark.parametrize("error", ERRORS_OF_A_DISK.values(), ids=ERRORS_OF_A_DISK.keys())
async def test_a_disk_that_fails_is_an_outage_and_leaves_neither_row_nor_file(
    store: SqliteStore, path: Path, disk: Disk, error: int
) -> None:
    batch = Batch(inserts=[message(1), message(2, body=LARGE)])
    disk.error = error
    with pytest.raises(StoreUnavailable, match=r"the store .*mb\.db: "):
        await store.write(batch)
    failed = segments(path), await read(store)
    disk.error = 0

    await store.write(batch)

    assert failed == ([], [])
    assert [stored.size for stored in await read(store)] == [5, 200_000]


async def test_want_of_memory_is_an_outage(store: SqliteStore) -> None:
    def write() -> None:
        raise MemoryError

    with pytest.raises(StoreUnavailable, match=r"the store .*mb\.db: no memory"):
        await store._on_writer(write)


async def test_small_messages_are_written_and_read_without_a_free_descriptor(store: SqliteStore) -> None:
    with no_descriptors_left():
        await store.write(Batch(inserts=[message(1)]))
        with pytest.raises(StoreUnavailable):
            await store.write(Batch(inserts=[message(2, body=LARGE)]))
        await store.probe()
        assert [stored.id for stored in await read(store)] == [1]

    await store.write(Batch(inserts=[message(2, body=LARGE)]))
    assert [stored.id for stored in await read(store)] == [1, 2]


async def test_a_database_that_becomes_read_only_is_an_outage_that_can_end(store: SqliteStore) -> None:
    await store._on_writer(lambda: store._raw.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreUnavailable, match="attempt to write a readonly database"):
        await store.write(Batch(inserts=[message(1)]))
    await store._on_writer(lambda: store._raw.execute("PRAGMA query_only = OFF"))

    await store.write(Batch(inserts=[message(1)]))

    assert [stored.id for stored in await read(store)] == [1]


async def test_body_files_that_cannot_be_opened_are_an_outage_of_reading_too(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(1, body=LARGE)]))
    content = path.with_name("mb.db.content")
    (content / "1").rename(content / "hidden")
    (content / "1").symlink_to("1")  # opening it is ELOOP, whoever asks

    with pytest.raises(StoreUnavailable, match="symbolic links"):
        await read(store)
    (content / "hidden").replace(content / "1")

    assert [stored.payload for stored in await read(store)] == [LARGE]


async def test_a_full_disk_is_an_outage_that_can_end(store: SqliteStore, path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    batch = Batch(inserts=[message(number, body=LARGE) for number in range(1, 21)])

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(StoreUnavailable, match="File too large"):
            await store.write(batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    failed = segments(path)
    await store.write(batch)

    assert failed == []
    assert [stored.payload for stored in await read(store)] == [LARGE] * 20


async def test_a_batch_whose_rows_are_refused_leaves_no_file(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(1)]))

    with pytest.raises(StoreError):
        await store.write(Batch(inserts=[message(1, body=LARGE)]))

    assert segments(path) == []


async def test_a_crash_between_file_and_commit_leaves_what_was_there_before(
    store: SqliteStore, path: Path, disk: Disk
) -> None:
    await store.write(Batch(inserts=[message(1, body=LARGE)]))
    await store.close()
    files = ContentFiles(path.with_name("mb.db.content"))
    files.open({1: 1})
    files.append([[memoryview(LARGE)]])
    during = segments(path)

    again = await opened_store(path, disk)
    found = [stored.id for stored in await read(again)]
    await again.write(Batch(inserts=[message(2, body=b"y" * 200_000)]))
    both = [stored.payload for stored in await read(again)]
    await again.close()

    assert (during, found, both) == (["1", "2"], [1], [LARGE, b"y" * 200_000])


async def test_a_message_whose_file_is_missing_is_set_aside_until_the_next_start(
    store: SqliteStore, path: Path
) -> None:
    await store.write(Batch(inserts=[message(5, body=LARGE), message(6, body=b"small")]))
    (path.with_name("mb.db.content") / "1").unlink()

    with capture_logs() as logs:
        found = [stored.id for stored in await read(store)]
    await store.register("node-a")

    assert found == [6]
    assert logs[0]["reason"] == f"the body of message 5 is lost: no file {path.with_name('mb.db.content')}/1"
    assert [slot.count for slot in await store.backlog()] == [2]


async def test_a_message_whose_file_is_too_short_is_set_aside(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(5, body=LARGE), message(6, body=LARGE)]))
    os.truncate(path.with_name("mb.db.content") / "1", 399_999)

    assert [stored.id for stored in await read(store)] == [5]


async def test_a_flipped_octet_in_a_file_costs_one_message(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(5, body=LARGE), message(6, body=LARGE)]))
    file = path.with_name("mb.db.content") / "1"
    octets = bytearray(file.read_bytes())
    octets[100_000] ^= 1
    file.write_bytes(octets)

    with capture_logs() as logs:
        found = [stored.id for stored in await read(store)]

    assert found == [6]
    assert [(line["message"], line["reason"]) for line in logs] == [(5, "its octets do not fit its checksum")]


DAMAGED_PLACES = {
    "no numbers": "SET MESSAGE_CONTENT = 'x y'",
    "no blob": "SET MESSAGE_CONTENT = 7",
    "beyond the file": "SET MESSAGE_CONTENT = x'3230303030302031303030303030'",
    "of a size that no memory holds": "SET MESSAGE_CONTENT = x'393939393939393939393939393939393939392030'",
    "of another file": "SET CONTENT_OFFSET = -9",
    "of no file": "SET CONTENT_OFFSET = 'x'",
}


@pytest.mark.parametrize("change", DAMAGED_PLACES.values(), ids=DAMAGED_PLACES.keys())
async def test_a_damaged_place_of_a_body_costs_one_message(store: SqliteStore, change: str) -> None:
    await store.write(Batch(inserts=[message(5, body=LARGE), message(6, body=LARGE), message(7)]))
    await store._on_writer(lambda: store._raw.execute(f"UPDATE MB_CONTENT {change} WHERE MESSAGE_ID = 5"))

    assert [stored.id for stored in await read(store)] == [6, 7]


DAMAGED_VALUES = {
    "metadata as text": "MESSAGE_METADATA = 'äöü'",
    "metadata as a number": "MESSAGE_METADATA = 77",
    "body as text": "MESSAGE_CONTENT = 'äöü'",
    "body as a fraction": "MESSAGE_CONTENT = 1.5",
    "content as text": "CONTENT_ID = 'x'",
    "checksum as text": "CHECKSUM = 'x'",
    "all": "MESSAGE_METADATA = 'ä', MESSAGE_CONTENT = 5, CONTENT_ID = x'00ff', CHECKSUM = 1.5, REDELIVERED = 'x'",
}


@pytest.mark.parametrize("change", DAMAGED_VALUES.values(), ids=DAMAGED_VALUES.keys())
async def test_values_of_another_type_cost_one_message(store: SqliteStore, change: str) -> None:
    await store.write(Batch(inserts=[message(5), message(6), message(7)]))
    await store._on_writer(lambda: store._raw.execute(f"UPDATE MB_METADATA SET {change} WHERE MESSAGE_ID = 6"))

    found = await read(store)

    assert [(stored.id, stored.payload) for stored in found] == [(5, b"hello"), (7, b"hello")]


async def test_a_queue_id_that_is_no_number_costs_one_message(store: SqliteStore) -> None:
    await store.write(Batch(inserts=[message(5), message(6)]))
    await store._on_writer(lambda: store._raw.execute("UPDATE MB_METADATA SET QUEUE_ID = 'x' WHERE MESSAGE_ID = 6"))
    await store.register("node-a")

    assert [(slot.queue_id, slot.count) for slot in await store.backlog()] == [(7, 1)]
    assert [stored.id for stored in await read(store)] == [5]


async def test_a_page_of_lost_messages_does_not_hide_the_next(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(5, body=LARGE), message(6, body=LARGE), message(7, body=b"small")]))
    (path.with_name("mb.db.content") / "1").unlink()

    found = await store.read(ORDERS, Slot(ORDERS.queue_id, 0, 5, 7, 3), 2, 1 << 20)

    assert [stored.id for stored in found] == [7]


async def test_content_that_is_not_in_the_database_costs_its_message(store: SqliteStore) -> None:
    await store.write(Batch(inserts=[message(5, body=b"shared", content_id=4), message(6)]))
    await store._on_writer(lambda: store._raw.execute("DELETE FROM MB_CONTENT"))

    assert [stored.id for stored in await read(store)] == [6]


async def test_long_bodies_of_an_older_version_are_read_and_deleted(store: SqliteStore, path: Path) -> None:
    old = message(5, body=LARGE)

    def insert_as_before() -> None:
        store._raw.execute(
            "INSERT INTO MB_METADATA VALUES (5, 7, 5, 0, ?, NULL, NULL)", (old.routing + old.header_payload,)
        )
        for offset in range(0, len(LARGE), 65_500):
            row = (offset, LARGE[offset : offset + 65_500])
            store._raw.execute("INSERT INTO MB_CONTENT VALUES (5, ?, ?)", row)

    await store._on_writer(insert_as_before)
    await store.write(Batch(inserts=[message(6, body=b"y" * 200_000)]))
    found = await read(store)
    await store.write(Batch(deletes=found))

    assert [stored.payload for stored in found] == [LARGE, b"y" * 200_000]
    assert await store._on_writer(lambda: store._raw.execute("SELECT count(*) FROM MB_CONTENT").fetchone()) == (0,)
    assert segments(path) == []


def test_a_log_that_could_not_be_synced_keeps_the_bodies_for_rows_it_may_hold(tmp_path: Path) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    files = ContentFiles(tmp_path / "content")
    places: list[Place] = []

    def fail() -> None:
        with _transaction_with_files(connection, files):
            places.extend(files.append([[memoryview(LARGE)]]))
            broken = sqlite3.OperationalError("disk I/O error")
            broken.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise broken

    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        fail()
    connection.close()

    assert files.read({1: places[0]}) == {1: LARGE}


async def test_a_message_deleted_while_it_is_read_is_not_there(store: SqliteStore, path: Path) -> None:
    doomed = message(5, body=LARGE)
    await store.write(Batch(inserts=[doomed]))
    await store.write(Batch(inserts=[message(6, body=b"y" * 200_000)]))
    connection = sqlite3.connect(path, isolation_level=None)

    def delete() -> None:
        with _transaction_with_files(connection, store._files) as discarded:
            connection.execute("DELETE FROM MB_METADATA WHERE MESSAGE_ID = 5")
            connection.execute("DELETE FROM MB_CONTENT WHERE MESSAGE_ID = 5")
            discarded[1] += 1

    files = Meanwhile(store._files, delete)
    found = sqlite_read.read(connection, files.read, ORDERS, Slot(7, 0, 0, LATEST, 0), 100, 1 << 30)
    connection.close()

    assert [stored.id for stored in found.messages] == [6]
