"""A start beside files that do not fit the database: refused in one line, and nothing deleted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.errors import ConfigError, StoreLocked
from broker.ports.slot import Slot
from broker.ports.store import Batch
from broker.store.sqlite.store import SqliteStore
from tests.contract.harness import LATEST, ORDERS, message

LARGE = b"x" * 200_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "mb.db"


async def opened_store(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    await store.open()
    await store.register("node-a")
    return store


async def read(store: SqliteStore) -> list[int]:
    return [found.id for found in await store.read(ORDERS, Slot(7, 0, 0, LATEST, 0), 100, 1 << 30)]


async def killed(path: Path) -> Path:
    """Return a database as a kill leaves it, with one large message in its log: a copy of what lies on disk."""
    store = await opened_store(path)
    await store.write(Batch(inserts=[message(1, body=LARGE)]))
    copy = path.parent.with_name("killed")
    shutil.copytree(path.parent, copy)
    await store.close()
    return copy / path.name


def files_of(path: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(path.parent)): each.read_bytes()
        for each in path.parent.rglob("*")
        if each.is_file() and not each.name.endswith(".lock")
    }


def leave_file(folder: str, name: str) -> None:
    Path(folder, name).write_bytes(LARGE)


async def refused(path: Path) -> str:
    """Try twice to start; return the reason, and hold the files against what they were before."""
    before = files_of(path)
    for _ in range(2):
        with pytest.raises(ConfigError) as error:
            await SqliteStore(path).open()
    assert files_of(path) == before
    return str(error.value)


async def test_a_missing_database_beside_its_files_is_refused_and_serves_again_when_it_is_back(path: Path) -> None:
    database = await killed(path)
    hidden = database.with_name("hidden")
    os.rename(database, hidden)

    reason = await refused(database)
    os.rename(hidden, database)
    store = await opened_store(database)

    wal, ballast, content = (f"{database}{suffix}" for suffix in ("-wal", ".ballast", ".content"))
    assert reason == (
        f"{database} is missing, but there is {wal} and {ballast} and {content}:"
        " put the database back, or move these away to begin with an empty one"
    )
    assert await read(store) == [1]
    await store.close()


async def test_a_missing_database_beside_nothing_but_its_ballast_is_refused(path: Path) -> None:
    await (await opened_store(path)).close()
    os.unlink(path)

    assert f"is missing, but there is {path}.ballast:" in await refused(path)


async def test_an_emptied_database_beside_its_body_files_is_refused(path: Path) -> None:
    database = await killed(path)
    os.truncate(database, 0)

    reason = await refused(database)

    assert f"{database} is empty, but there is {database}.ballast and {database}.content:" in reason


async def test_a_missing_log_after_a_kill_is_refused_and_serves_again_when_it_is_back(path: Path) -> None:
    database = await killed(path)
    log, hidden = f"{database}-wal", f"{database}-hidden"
    os.rename(log, hidden)

    reason = await refused(database)
    os.rename(hidden, log)
    store = await opened_store(database)

    assert f"was not closed in order, and its log {log} is missing: put the log back" in reason
    assert await read(store) == [1]
    await store.close()


async def test_an_empty_log_in_the_place_of_a_missing_one_lets_the_broker_start(path: Path) -> None:
    database = await killed(path)
    os.truncate(f"{database}-wal", 0)

    store = await opened_store(database)

    assert await read(store) == []
    await store.close()


async def test_a_database_that_was_closed_needs_no_log(path: Path) -> None:
    store = await opened_store(path)
    await store.write(Batch(inserts=[message(1)]))
    await store.close()
    assert f"{path.name}-wal" not in os.listdir(path.parent)

    store = await opened_store(path)

    assert await read(store) == [1]
    await store.close()


async def test_a_start_that_fails_after_a_kill_leaves_a_log_so_that_the_next_one_is_not_refused(path: Path) -> None:
    database = await killed(path)
    content, hidden = f"{database}.content", f"{database}.hidden"
    os.rename(content, hidden)

    with pytest.raises(ConfigError, match=r"1 large bodies are in files of .*, which is missing: put it back, or make"):
        await SqliteStore(database).open()
    os.rename(hidden, content)
    store = await opened_store(database)

    assert await read(store) == [1]
    await store.close()


async def test_an_empty_folder_in_the_place_of_missing_body_files_lets_the_broker_start(path: Path) -> None:
    database = await killed(path)
    shutil.rmtree(f"{database}.content")
    os.mkdir(f"{database}.content")

    store = await opened_store(database)

    assert await read(store) == []
    await store.close()


async def test_a_database_older_than_its_body_files_is_refused(path: Path) -> None:
    await (await opened_store(path)).close()
    shutil.copy(path, f"{path}.backup")
    store = await opened_store(path)
    await store.write(Batch(inserts=[message(1, body=LARGE)]))
    await store.close()
    os.replace(f"{path}.backup", path)

    assert f"{path} is older than the body files in {path}.content" in await refused(path)


async def test_body_files_of_an_older_program_that_no_row_names_are_kept(path: Path) -> None:
    await (await opened_store(path)).close()
    content = f"{path}.content"
    os.mkdir(content)
    leave_file(content, "7")

    with capture_logs() as logs:
        store = await opened_store(path)
    await store.close()
    await (await opened_store(path)).close()

    assert sorted(os.listdir(content)) == ["7.unnamed", "opened"]
    assert [line["files"] for line in logs if line["log_level"] == "warning"] == [[f"{content}/7.unnamed"]]


async def test_body_files_that_a_kill_left_without_a_row_are_deleted(path: Path) -> None:
    database = await killed(path)
    content = f"{database}.content"
    leave_file(content, "9")

    store = await opened_store(database)

    assert sorted(os.listdir(content)) == ["1", "opened"]
    await store.close()


def symlink(path: Path) -> Path:
    link = path.parent.parent / "link.db"
    link.symlink_to(path)
    return link


def hard_link(path: Path) -> Path:
    link = path.parent.parent / "link.db"
    os.link(path, link)
    return link


def without_lock_file(path: Path) -> Path:
    Path(f"{path}.lock").unlink()
    return path


@pytest.mark.parametrize("other_name", [symlink, hard_link, without_lock_file], ids=lambda each: each.__name__)
async def test_a_second_broker_is_refused_by_whatever_name_it_knows_the_database(
    path: Path, other_name: Callable[[Path], Path]
) -> None:
    store = await opened_store(path)

    with pytest.raises(StoreLocked, match="is in use by"):
        await SqliteStore(other_name(path)).open()

    await store.close()


async def test_files_lie_beside_the_database_that_a_link_points_to(path: Path) -> None:
    await (await opened_store(path)).close()

    store = await opened_store(symlink(path))
    await store.write(Batch(inserts=[message(1, body=LARGE)]))
    await store.close()

    assert os.listdir(f"{path}.content")
    assert sorted(os.listdir(path.parent.parent)) == ["data", "link.db"]
