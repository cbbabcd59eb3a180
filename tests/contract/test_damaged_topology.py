"""A damaged record of topology costs one record: it stays in its table, is said in the log, the others are loaded."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

from broker.ports.records import ExchangeRecord, Put, QueueRecord, VirtualHostRecord
from broker.store.memory.store import MemoryStore
from broker.store.sqlite.store import SqliteStore
from tests.contract.harness import Harness

GOOD = QueueRecord("/", "good", 8)
HOST = VirtualHostRecord("/")


@pytest.fixture(autouse=True)
async def _topology(harness: Harness) -> None:
    if isinstance(harness.store, MemoryStore):
        pytest.skip("no disk, no damage")
    await harness.store.record([Put(HOST), Put(QueueRecord("/", "bad", 7)), Put(GOOD)])


async def sql(harness: Harness, statement: str) -> None:
    def run(connection: Connection) -> None:
        quote = connection.dialect.identifier_preparer.quote
        connection.execute(text(statement.replace("[", quote("X")[0]).replace("]", quote("X")[-1])))

    await harness.store._work(run)  # type: ignore[attr-defined]


async def test_garbage_in_arguments_is_loaded_as_it_is(harness: Harness) -> None:
    garbage = QueueRecord("/", "garbage", 9, arguments=b"\xff\x00garbage")
    odd = ExchangeRecord("/", "x", "no such type", arguments=b"\x09")
    await harness.store.record([Put(garbage), Put(odd)])

    loaded = await harness.store.load()

    assert set(loaded) >= {garbage, odd, GOOD}


DAMAGES = {
    "name that is not UTF-8": "UPDATE MB_QUEUE SET QUEUE_NAME = CAST(x'ff61' AS TEXT) WHERE QUEUE_ID = 7",
    "name that is no text": "UPDATE MB_QUEUE SET QUEUE_NAME = x'ff61' WHERE QUEUE_ID = 7",
    "arguments that are no octets": "UPDATE MB_QUEUE SET ARGUMENTS = 'abc' WHERE QUEUE_ID = 7",
}


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES.keys())
async def test_in_sqlite_values_of_another_type_cost_one_record(harness: Harness, statement: str) -> None:
    if not isinstance(harness.store, SqliteStore):
        pytest.skip("columns of a server hold one type")
    await sql(harness, statement)

    with capture_logs() as logs:
        loaded = await harness.store.load()

    assert list(loaded) == [HOST, GOOD]
    assert [(line["log_level"], line["table"]) for line in logs] == [("error", "MB_QUEUE")]


async def test_in_mysql_a_name_that_is_not_utf8_costs_one_record(harness: Harness) -> None:
    if "MariaDB" not in harness.store.describe():
        pytest.skip("only MySQL's columns hold such a name")
    await sql(harness, "UPDATE MB_QUEUE SET QUEUE_NAME = x'ff61' WHERE QUEUE_ID = 7")

    with capture_logs() as logs:
        loaded = await harness.store.load()

    assert list(loaded) == [HOST, GOOD]
    assert [line["table"] for line in logs] == ["MB_QUEUE"]
