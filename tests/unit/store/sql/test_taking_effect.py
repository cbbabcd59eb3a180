"""What is said of recorded queues when a newer version takes their arguments seriously."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, StaticPool, create_engine, text
from structlog.testing import capture_logs

from broker.codec.field_table import FieldTable
from broker.store.sql import migrate, taking_effect


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def record(connection: Connection, *arguments: bytes) -> None:
    """Record queues with these arguments: q0, q1 and so on."""
    columns = "QUEUE_ID, VHOST, QUEUE_NAME, EXCLUSIVE, AUTO_DELETE, ARGUMENTS"
    connection.execute(
        text(f"INSERT INTO MB_QUEUE ({columns}) VALUES (:number, '/', :name, FALSE, FALSE, :raw)"),
        [{"number": number, "name": f"q{number}", "raw": raw} for number, raw in enumerate(arguments)],
    )


def test_queues_are_told_once_when_their_database_is_upgraded(connection: Connection) -> None:
    older, _, _ = migrate.script("sqlite").partition("-- Running upgrade 0005 -> 0006")
    for statement in filter(str.strip, older.split(";\n")):
        connection.execute(text(statement))
    arguments: list[dict[str, Any]] = [
        {"x-message-ttl": 1000, "x-mine": 1, "x-max-length": 5},
        {"x-queue-type": "quorum"},
        {"x-queue-type": "classic", "x-single-active-consumer": True},
    ]
    record(connection, *(FieldTable.of(each).raw for each in arguments), b"garbage", b"")

    with capture_logs() as logs:
        migrate.upgrade(connection)
        migrate.upgrade(connection)

    assert [(line["vhost"], line["queue"], line["arguments"]) for line in logs[:-1]] == [
        ("/", "q0", ["x-message-ttl", "x-max-length"]),
        ("/", "q1", ["x-queue-type"]),
    ]
    assert logs[-1]["queues"] == 2


def test_of_many_queues_a_hundred_are_told_and_all_are_counted(connection: Connection) -> None:
    migrate.upgrade(connection)
    record(connection, *[FieldTable.of({"x-expires": 1}).raw] * 102)
    with capture_logs() as logs:
        taking_effect.tell(connection)
    assert len(logs) == 101
    assert logs[-1]["queues"] == 102


def test_a_database_that_is_new_or_upgraded_already_has_nothing_to_tell(connection: Connection) -> None:
    with capture_logs() as logs:
        migrate.upgrade(connection)
        record(connection, FieldTable.of({"x-expires": 1}).raw)
        migrate.upgrade(connection)
    assert logs == []
