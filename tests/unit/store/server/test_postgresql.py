"""What a batch sends to PostgreSQL, listened to in the place of a connection."""

from __future__ import annotations

import re
import ssl
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from broker.config.connection_options import ConnectionOptions
from broker.config.store_url import StoreUrl
from broker.message import Message
from broker.ports.slot import Slot
from broker.ports.store import Batch
from broker.store.server.batch import rows_of
from broker.store.server.dialect import Marker
from broker.store.server.engine import Failure, NotReplicated
from broker.store.server.postgresql import PostgreSql
from tests.contract.harness import INVOICES, ORDERS, expiring, message

MARKER = Marker(3, "abc123", 8, "node-a")


@dataclass(eq=False)
class Listener:
    """Takes the calls of the driver's connection; the queues `expiring` have messages with a time of expiration."""

    expiring: tuple[int, ...] = ()
    heard: list[str] = field(default_factory=list)

    async def execute(self, statement: str, *_: Any) -> str:
        self.heard.append(_named(statement))
        return "INSERT 0 1"

    async def copy_records_to_table(self, table: str, **_: Any) -> None:
        self.heard.append(f"COPY {table}")

    async def fetch(self, statement: str, *_: Any) -> list[Any]:
        self.heard.append(_named(statement))
        return [(5,)]

    async def fetchval(self, statement: str, queue_ids: list[int]) -> int | None:
        self.heard.append(_named(statement))
        return 1 if queue_ids[0] in self.expiring else None


def _named(statement: str) -> str:
    """Return the verb of a statement and its first table."""
    return " ".join(re.findall(r"^\w+|\"?MB_\w+\"?", statement)[:2]).replace('"', "")


async def sent(batch: Batch, *expiring_queues: int) -> list[str]:
    listener = Listener(expiring_queues)
    dialect = PostgreSql(StoreUrl(engine="postgresql"), ConnectionOptions())
    assert await dialect.begin(listener, MARKER, rows_of(batch, 0))
    return listener.heard[2:]  # without the statement that is prepared, and the count of the batch


def both(make: Any) -> list[Message]:
    return [make(1), make(2)]


async def test_a_batch_without_expirations_sends_nothing_about_them() -> None:
    assert await sent(Batch(both(message), both(message))) == ["COPY MB_METADATA", "DELETE MB_METADATA"]


async def test_expirations_are_written_and_deleted_by_one_statement_each() -> None:
    some = both(lambda number: expiring(number, number))

    assert await sent(Batch([*some, message(3)], some)) == [
        "COPY MB_METADATA",
        "INSERT MB_EXPIRATION_DATA",
        "DELETE MB_METADATA",
        "DELETE MB_EXPIRATION_DATA",
    ]


async def test_a_purge_asks_once_for_each_queue_whether_it_has_expirations() -> None:
    slots = [Slot(queue.queue_id, 0, start, start + 9, 1) for queue in (ORDERS, INVOICES) for start in (1, 10)]

    heard = await sent(Batch(purges=slots), INVOICES.queue_id)

    assert heard.count("SELECT MB_EXPIRATION_DATA") == 2
    assert heard.count("DELETE MB_METADATA") == 4
    assert heard.count("DELETE MB_EXPIRATION_DATA") == 2


def plain() -> PostgreSql:
    return PostgreSql(StoreUrl(engine="postgresql"), ConnectionOptions())


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (ssl.SSLCertVerificationError("expired"), Failure.REFUSED),
        (asyncpg.PostgresError("rejected SSL upgrade"), Failure.REFUSED),
        (ConnectionResetError(), Failure.LOST),
        (EOFError(), Failure.LOST),
        (asyncpg.InterfaceError("connection is closed"), Failure.LOST),
        (RuntimeError("the handle is closed"), Failure.LOST),
        (asyncpg.SerializationError("again"), Failure.CONFLICT),
        (asyncpg.InvalidPasswordError("no"), Failure.REFUSED),
        (asyncpg.UndefinedTableError("MB_NODE"), Failure.BUG),
        (ValueError("ours"), Failure.BUG),
    ],
)
def test_an_error_says_what_can_be_done(error: BaseException, meaning: Failure) -> None:
    assert plain().failure(error) is meaning


@pytest.mark.parametrize(
    ("code", "source", "is_told"),
    [
        ("01000", "syncrep.c", True),
        ("00000", "syncrep.c", False),
        ("01000", "pl_exec.c", False),
        ("01000", None, False),
    ],
)
def test_of_all_that_a_server_tells_one_warning_means_that_a_commit_did_not_wait(
    code: str, source: str | None, is_told: bool
) -> None:
    dialect, heard, another = plain(), Listener(), Listener()
    dialect._on_notice(heard, Notice(code, source))

    dialect.refuse_unreplicated(another)
    with pytest.raises(NotReplicated) if is_told else nullcontext():
        dialect.refuse_unreplicated(heard)
    dialect.refuse_unreplicated(heard)
    assert dialect.servers.not_replicated == int(is_told)


@dataclass
class Notice:
    sqlstate: str
    server_source_filename: str | None
