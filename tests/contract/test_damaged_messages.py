"""A damaged row costs one row: it is said in the log, set aside, and everything else goes on (ADR 35)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, update
from structlog.testing import capture_logs

from broker.ports.records import Drop, QueueKey
from broker.ports.slot import Slot
from broker.store.memory.store import MemoryStore
from broker.store.sql.schema import CONTENT, DAMAGED_MESSAGE, METADATA
from tests.contract.harness import LATEST, ORDERS, Harness, message

M = METADATA.c
BODY = b"hello"
METADATA_OF_5 = b"\x05sales\x03new\x00\x3c\x00\x00" + len(BODY).to_bytes(8, "big") + b"\x10\x00\x02"


@pytest.fixture(autouse=True)
def _rows_can_be_damaged(harness: Harness) -> None:
    if isinstance(harness.store, MemoryStore):
        pytest.skip("no disk, no damage")


async def in_database(harness: Harness, function: Callable[[Connection], Any]) -> Any:
    return await harness.store._work(function)  # type: ignore[attr-defined]


async def damage(harness: Harness, message_id: int, **values: Any) -> None:
    """Set columns of a message's row, as a disk or a hand may."""
    statement = update(METADATA).where(M.message_id == message_id).values(values)
    await in_database(harness, lambda connection: connection.execute(statement).rowcount)


async def aside(harness: Harness) -> list[tuple[int, int, str]]:
    """Return id, queue and reason of the messages that are set aside."""
    columns = (DAMAGED_MESSAGE.c.message_id, DAMAGED_MESSAGE.c.queue_id, DAMAGED_MESSAGE.c.reason)
    wanted = select(*columns).order_by(DAMAGED_MESSAGE.c.message_id)
    return [tuple(row) for row in await in_database(harness, lambda connection: connection.execute(wanted).all())]


DAMAGES: dict[str, dict[str, Any]] = {
    "flipped octet in the body": {"message_content": b"hellp"},
    "flipped octet in the header": {"message_metadata": METADATA_OF_5[:-1] + b"\x01"},
    "flipped octet in the routing key": {"message_metadata": METADATA_OF_5.replace(b"new", b"neu")},
    "body too short": {"message_content": b"hell"},
    "body too long": {"message_content": b"hello!"},
    "body gone": {"message_content": None},
    "metadata of one octet": {"message_metadata": b"\xff"},
    "no metadata": {"message_metadata": b""},
    "garbage": {"message_metadata": bytes(range(255, 0, -1)), "message_content": b"\x00" * 300},
    "flipped checksum": {"checksum": 12345},
}
WITHOUT_CHECKSUM = {
    f"{name}, in a row of an older program": values | {"checksum": None}
    for name, values in DAMAGES.items()
    if not name.startswith("flipped")
}


@pytest.mark.parametrize("values", (DAMAGES | WITHOUT_CHECKSUM).values(), ids=(DAMAGES | WITHOUT_CHECKSUM).keys())
async def test_a_damaged_message_is_set_aside_and_the_queue_goes_on(harness: Harness, values: dict[str, Any]) -> None:
    await harness.insert(message(4), message(5), message(6))
    await damage(harness, 5, **values)

    with capture_logs() as logs:
        found = await harness.ids()

    assert found == [4, 6]
    [(message_id, queue_id, reason)] = await aside(harness)
    assert (message_id, queue_id) == (5, ORDERS.queue_id)
    [line] = [line for line in logs if line["log_level"] == "error"]
    assert (line["event"], line["message"], line["queue_id"], line["reason"]) == (
        "a damaged message is set aside",
        5,
        ORDERS.queue_id,
        reason,
    )


async def test_what_is_wrong_is_said(harness: Harness) -> None:
    await harness.insert(*(message(number, content_id=number // 5 * 5) for number in range(1, 6)))
    await damage(harness, 1, message_content=b"hellp")
    await damage(harness, 2, message_content=b"hell")
    await damage(harness, 3, message_content=b"hello!", checksum=None)
    await damage(harness, 4, message_metadata=b"\x01\xff\x01k", checksum=None)
    await in_database(harness, lambda connection: connection.execute(delete(CONTENT)).rowcount)

    assert await harness.ids() == []

    assert [reason for _, _, reason in await aside(harness)] == [
        "its octets do not fit its checksum",
        "its body has 4 octets, its header says 5",
        "its body has 6 octets, its header says 5",
        "its metadata cannot be read ('utf-8' codec can't decode byte 0xff in position 1: invalid start byte)",
        "its body is missing",
    ]


async def test_rows_of_an_older_program_without_a_checksum_are_read(harness: Harness) -> None:
    await harness.insert(message(5), message(6, body=b"", routing=b"\x00\x00"), message(7, body=b"x" * 200_000))
    for number in (5, 6, 7):
        await damage(harness, number, checksum=None)

    assert [stored.payload for stored in await harness.read()] == [BODY, b"", b"x" * 200_000]


@pytest.mark.parametrize("state_of_content", ["flipped", "missing"])
async def test_damage_to_a_shared_body_costs_the_messages_that_share_it(
    harness: Harness, state_of_content: str
) -> None:
    await harness.insert(
        message(4, body=b"shared", content_id=4), message(5, body=b"shared", content_id=4), message(6, content_id=6)
    )

    def change(connection: Connection) -> None:
        is_it = CONTENT.c.message_id == 4
        if state_of_content == "flipped":
            connection.execute(update(CONTENT).where(is_it).values(message_content=b"sharec"))
        else:
            connection.execute(delete(CONTENT).where(is_it))

    await in_database(harness, change)

    assert await harness.ids() == [6]
    assert [name for name, _, _ in await aside(harness)] == [4, 5]


async def test_what_is_set_aside_counts_nowhere_and_is_in_no_slot(harness: Harness) -> None:
    await harness.insert(message(4), message(5), message(6))
    await damage(harness, 5, message_metadata=b"")
    await harness.ids()

    assert await harness.ids() == [4, 6]
    await harness.delete(*await harness.read())

    assert await harness.store.backlog() == []
    assert [name for name, _, _ in await aside(harness)] == [5]


async def test_the_next_start_looks_at_it_again_and_serves_what_is_whole(harness: Harness) -> None:
    await harness.insert(message(4), message(5), message(6))
    await damage(harness, 5, message_content=b"hellp")
    await damage(harness, 6, message_content=b"hellp")
    assert await harness.ids() == [4]

    await damage(harness, 5, message_content=BODY)
    await harness.restart()

    assert [slot.count for slot in await harness.store.backlog()] == [3]
    assert await harness.ids() == [4, 5]
    assert [name for name, _, _ in await aside(harness)] == [6]


async def test_a_deleted_queue_takes_what_was_set_aside_with_it(harness: Harness) -> None:
    await harness.insert(message(5, body=b"shared", content_id=5))
    await damage(harness, 5, message_metadata=b"")
    await harness.ids()

    await harness.store.record([Drop(QueueKey("/", "orders", ORDERS.queue_id))])

    assert await aside(harness) == []
    tables = (METADATA, CONTENT)
    assert [
        await in_database(harness, lambda connection, table=table: len(connection.execute(select(table)).all()))
        for table in tables
    ] == [0, 0]


async def test_a_page_of_damaged_messages_does_not_hide_the_next(harness: Harness) -> None:
    await harness.insert(*(message(number) for number in range(1, 31)))
    for number in range(1, 21):
        await damage(harness, number, message_metadata=b"\x09")

    with capture_logs() as logs:
        found = await harness.store.read(ORDERS, Slot(ORDERS.queue_id, 0, 0, LATEST, 30), 5, 1 << 30)

    assert [stored.id for stored in found] == [21, 22, 23, 24, 25]
    assert len(await aside(harness)) == 20
    assert len([line for line in logs if line["log_level"] == "error"]) <= 22
