"""What is SQLite's own; the rest is in `tests/contract/`."""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.errors import ConfigError, StoreError, StoreLocked, StoreUnavailable
from broker.ports.slot import Slot
from broker.ports.store import Batch
from broker.store.sqlite.store import SqliteStore
from tests.contract.harness import LATEST, ORDERS, expiring, message

ROOT = Path(__file__).parents[4]

# Opens the store, writes ten messages, says so and waits until it is killed.
WRITE_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from broker.ports.store import Batch
from broker.store.sqlite.store import SqliteStore
from tests.contract.harness import message

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    await store.register("node-a")
    await store.write(Batch(inserts=[message(number) for number in range(1, 11)], high_water=10))
    print("written", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""

# Opens the store and says whether that needed alembic.
OPEN_AND_LOOK = """
import asyncio, sys
from pathlib import Path
from broker.store.sqlite.store import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    await store.close()
    print("alembic" in sys.modules)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "data" / "mb.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(path)
    await opened.open()
    await opened.register("node-a")
    yield opened
    await opened.close()


@pytest.fixture
async def other_process(path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that holds the store and has written ten messages."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITE_AND_WAIT, str(path), stdin=pipe, stdout=pipe, cwd=ROOT
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"written\n"
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_a_file_in_use_by_another_process_is_refused(
    path: Path, other_process: asyncio.subprocess.Process
) -> None:
    with pytest.raises(StoreLocked, match=rf"mb\.db is in use by process {other_process.pid} on "):
        await SqliteStore(path).open()


async def test_what_was_written_survives_the_kill_of_the_process(
    path: Path, other_process: asyncio.subprocess.Process
) -> None:
    other_process.send_signal(signal.SIGKILL)
    await other_process.wait()

    store = SqliteStore(path)
    await store.open()
    registration = await store.register("node-a")
    stored = await store.read(ORDERS, Slot(7, 0, 0, LATEST, 0), 100, 10_000)
    await store.close()

    assert [found.id for found in stored] == list(range(1, 11))
    assert (registration.clean, registration.last_message_id) == (False, 10)


async def test_the_data_belongs_to_its_owner_alone(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(1)]))

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    names = ("mb.db", "mb.db-wal", "mb.db-shm", "mb.db.ballast", "mb.db.lock")
    assert modes == dict.fromkeys(names, 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_commit_is_on_disk_when_it_returns(store: SqliteStore) -> None:
    settings = await store._on_writer(
        lambda: [store._raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )

    assert settings == ["wal", 2]


async def test_a_closed_store_leaves_one_file_its_ballast_and_its_lock(store: SqliteStore, path: Path) -> None:
    await store.write(Batch(inserts=[message(1)]))
    await store.close()

    assert sorted(file.name for file in path.parent.iterdir()) == ["mb.db", "mb.db.ballast", "mb.db.lock"]


async def test_a_schema_of_a_newer_program_is_refused_and_the_lock_released(store: SqliteStore, path: Path) -> None:
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    for _ in range(2):
        with pytest.raises(ConfigError, match="schema revision '9999'"):
            await SqliteStore(path).open()


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mb.db"
    path.write_bytes(b"these are my notes " * 100)

    with pytest.raises(StoreError, match=r"mb\.db: file is not a database") as refused:
        await SqliteStore(path).open()

    assert not isinstance(refused.value, StoreUnavailable)
    assert path.read_bytes() == b"these are my notes " * 100


async def test_a_directory_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"mb\.db: Not a directory"):
        await SqliteStore(tmp_path / "file" / "mb.db").open()


async def test_a_full_disk_is_an_outage_that_can_end(store: SqliteStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    batch = Batch(inserts=[message(number, body=b"x" * 60_000) for number in range(1, 101)])

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(StoreUnavailable, match=r"the store .*mb\.db: "):
            await store.write(batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await store.write(batch)

    assert [slot.count for slot in await store.backlog()] == [100]


async def test_a_node_may_take_the_lane_of_a_stopped_one_when_all_are_taken(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    lanes = [(await store.register(f"node-{number}")).lane for number in range(257)]
    await store.close()

    assert lanes == [*range(256), 0]


def test_a_schema_that_is_up_to_date_is_opened_without_importing_alembic(path: Path) -> None:
    command = [sys.executable, "-c", OPEN_AND_LOOK, str(path)]

    first, second = (subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout for _ in range(2))

    assert (first, second) == (b"True\n", b"False\n")


async def test_deleted_content_leaves_no_rows_behind(store: SqliteStore, path: Path) -> None:
    long = message(1, body=b"x" * 1_000_000)
    await store.write(Batch(inserts=[long]))
    await store.write(Batch(deletes=[long]))
    await store.close()

    connection = sqlite3.connect(path)
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("MB_METADATA", "MB_CONTENT")]
    connection.close()

    assert counts == [(0,), (0,)]


async def test_a_batch_without_expirations_is_one_statement_that_knows_nothing_of_them(store: SqliteStore) -> None:
    await store.write(Batch([message(1)], high_water=1000))
    heard: list[str] = []
    await store._on_writer(lambda: store._raw.set_trace_callback(heard.append))

    await store.write(Batch([message(2), message(3)], high_water=1000))
    await store.write(Batch(deletes=[message(2)], high_water=1000))

    assert [statement.split(" (")[0][:24] for statement in heard] == [
        "INSERT INTO MB_METADATA",
        "DELETE FROM MB_METADATA ",
    ]
    heard.clear()
    await store.write(Batch([expiring(4, 100)], [expiring(5, 100)], high_water=1000))
    assert [" ".join(statement.split()[:3]) for statement in heard] == [
        "BEGIN IMMEDIATE",
        "INSERT INTO MB_METADATA",
        "INSERT OR REPLACE",
        "DELETE FROM MB_METADATA",
        "DELETE FROM MB_EXPIRATION_DATA",
        "COMMIT",
    ]
