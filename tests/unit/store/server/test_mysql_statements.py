"""The text of MySQL's hot statements: how it is cut, and that nothing of a client gets into it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.store.server.batch import Rows
from broker.store.server.dialect import Marker
from broker.store.server.mysql_statements import (
    assign,
    delete_orphans,
    due_keys,
    in_slot,
    is_counted,
    packets,
    page,
    parts,
)

MARKER = Marker(lane=3, incarnation="abc123", number=8, node_id="node-a")
COUNT = (
    "BEGIN;INSERT INTO MB_NODE_BATCH (LANE,BATCH) SELECT N.LANE,8 FROM MB_NODE AS N"
    " JOIN MB_NODE_BATCH AS B ON B.LANE=N.LANE AND B.BATCH=7"
    " WHERE N.LANE=3 AND N.INCARNATION='abc123' LOCK IN SHARE MODE"
)
HOSTILE = "');DROP TABLE MB_NODE;-- \\'\"`\0"


def rows(**given: Any) -> Rows:
    empty: dict[str, Any] = dict.fromkeys(("inline", "contents", "shared", "deletes", "purges", "released"), ())
    return Rows(**(empty | {"high_water": 0} | given))


def made(limit: int = 1 << 20, **given: Any) -> list[str]:
    return list(packets(MARKER, rows(**given), limit))


def test_an_empty_batch_is_only_counted() -> None:
    assert made() == [COUNT]


def test_where_locks_are_local_a_batch_writes_the_row_of_its_incarnation_instead_of_locking_it() -> None:
    assert list(packets(MARKER, rows(), 1 << 20, has_local_locks=True)) == [
        COUNT.replace("BEGIN;", "BEGIN;UPDATE MB_NODE SET BATCH=8 WHERE LANE=3 AND INCARNATION='abc123';").replace(
            " LOCK IN SHARE MODE", ""
        )
    ]


@pytest.mark.parametrize(
    ("counts", "has_local_locks", "expected"),
    [
        ([0, 1, 5], False, True),
        ([0, 0, 5], False, False),
        ([0, 1, 1, 5], True, True),
        ([0, 0, 1, 5], True, False),
        ([0, 1, 0, 5], True, False),
    ],
)
def test_a_batch_is_counted_when_its_incarnation_lasts_and_the_batch_before_it_is_there(
    counts: list[int], has_local_locks: bool, expected: bool
) -> None:
    assert is_counted(counts, has_local_locks=has_local_locks) is expected


def test_where_locks_are_local_an_assignment_writes_the_fence() -> None:
    piece = SlotRow(7, 3, 1, 9, 9)
    fence, alive = assign([piece], Incarnation("b", "b1"), Fence(2, "t"), has_local_locks=True).split(";")[1:3]

    assert fence == "UPDATE MB_COORDINATOR_FENCE SET SEQUENCE=SEQUENCE+1 WHERE ANCHOR=1 AND EPOCH=2 AND TERM=x'74'"
    assert alive == "SELECT 1 FROM MB_NODE WHERE NODE_ID=x'62' AND INCARNATION=x'6231'"


def test_every_thousandth_batch_deletes_the_rows_of_the_thousand_before_it() -> None:
    deleted = [
        (number, packet.partition("DELETE FROM MB_NODE_BATCH ")[2])
        for number in range(1, 3001)
        for packet in packets(Marker(3, "abc123", number, "node-a"), rows(), 1 << 20)
    ]

    assert [(number, where) for number, where in deleted if where] == [
        (1000, "WHERE LANE=3 AND BATCH BETWEEN 1 AND 998"),
        (2000, "WHERE LANE=3 AND BATCH BETWEEN 999 AND 1998"),
        (3000, "WHERE LANE=3 AND BATCH BETWEEN 1999 AND 2998"),
    ]


def test_a_small_batch_is_one_packet() -> None:
    [packet] = made(
        inline=[(1, 7, 0, 77, b"m", b"\x00\xff"), (2, -7, 1, 78, b"", b"")],
        contents=[(5, 0, b"piece"), (5, 65_500, b"rest")],
        shared=[(3, 7, 5, 0, 79, b"m")],
        deletes=[10, 11],
        high_water=99,
    )

    assert packet.split(";") == [
        *COUNT.split(";"),
        "INSERT INTO MB_METADATA (MESSAGE_ID,QUEUE_ID,REDELIVERED,CHECKSUM,MESSAGE_METADATA,MESSAGE_CONTENT)"
        " VALUES (1,7,0,77,x'6d',x'00ff'),(2,-7,1,78,x'',x'')",
        "INSERT INTO MB_CONTENT (MESSAGE_ID,CONTENT_OFFSET,MESSAGE_CONTENT)"
        " VALUES (5,0,x'7069656365'),(5,65500,x'72657374') ON DUPLICATE KEY UPDATE MESSAGE_ID=VALUES(MESSAGE_ID)",
        "INSERT INTO MB_METADATA (MESSAGE_ID,QUEUE_ID,CONTENT_ID,REDELIVERED,CHECKSUM,MESSAGE_METADATA)"
        " VALUES (3,7,5,0,79,x'6d')",
        "DELETE FROM MB_METADATA WHERE MESSAGE_ID IN (10,11)",
        "INSERT INTO MB_NODE_TO_LAST_PUBLISHED_ID (NODE_ID,MESSAGE_ID) VALUES (x'6e6f64652d61',99)"
        " ON DUPLICATE KEY UPDATE MESSAGE_ID=GREATEST(MESSAGE_ID,VALUES(MESSAGE_ID))",
    ]


def test_packets_are_cut_by_octets_not_by_rows() -> None:
    small = [(number, 7, 0, 0, b"", b"s") for number in range(60)]
    large = [(number, 7, 0, 0, b"", b"l" * 400) for number in range(60, 70)]

    cut = made(1000, inline=small + large)

    assert all(len(packet) < 1000 + 200 for packet in cut)
    assert [int(found) for packet in cut for found in re.findall(r"\((\d+),7,", packet)] == list(range(70))


def test_a_row_that_is_larger_than_the_limit_goes_alone() -> None:
    cut = made(100, inline=[(1, 7, 0, 0, b"", b"a"), (2, 7, 0, 0, b"", b"b" * 500), (3, 7, 0, 0, b"", b"c")])

    assert [re.findall(r"\((\d+),7,", packet) for packet in cut if "MB_METADATA" in packet] == [["1"], ["2"], ["3"]]


def test_every_packet_holds_whole_statements() -> None:
    cut = made(300, inline=[(number, 7, 0, 0, b"m", b"x" * 50) for number in range(20)], deletes=list(range(50)))

    assert all(re.match(r"(BEGIN|UPDATE|INSERT|DELETE) ?", part) for packet in cut for part in packet.split(";"))


@pytest.mark.parametrize("text", [HOSTILE, "%s %(x)s ?", "é\N{PILE OF POO}"])
def test_no_text_of_a_client_is_part_of_a_statement(text: str) -> None:
    octets = text.encode()
    marker = Marker(0, "abc123", 1, node_id=text)
    batch = rows(
        inline=[(1, 7, 0, 0, octets, octets)], contents=[(2, 0, octets)], shared=[(3, 7, 2, 0, 0, octets)], high_water=9
    )

    [packet] = packets(marker, batch, 1 << 20)

    assert packet.count(f"x'{octets.hex()}'") == 5
    assert re.fullmatch(r"[A-Za-z0-9_ ,;=().'-]*", packet)
    assert "DROP" not in packet


def test_lists_of_ids_are_cut() -> None:
    cut = list(parts(range(4001)))

    assert [len(ids.split(",")) for ids in cut] == [2000, 2000, 1]
    assert list(parts([])) == []


def test_only_content_without_a_row_is_deleted() -> None:
    assert list(delete_orphans([5, 6])) == [
        "DELETE FROM MB_CONTENT WHERE MESSAGE_ID IN (5,6)"
        " AND NOT EXISTS (SELECT 1 FROM MB_METADATA WHERE CONTENT_ID=MB_CONTENT.MESSAGE_ID)"
    ]


def test_a_slot_is_a_range_of_one_lane() -> None:
    assert in_slot(Slot(7, 3, 1024, 4096, 5), "7,-7") == (
        "QUEUE_ID IN (7,-7) AND MESSAGE_ID BETWEEN 1024 AND 4096 AND (MESSAGE_ID >> 10) & 255 = 3"
    )


def test_each_sign_of_a_queue_id_is_read_by_its_own_range() -> None:
    stored = page(Slot(7, 0, 1, 9, 5), 10)
    both = page(Slot(7, 0, 1, 9, 5, transient=True), 10)

    assert stored.count("SELECT") == 1
    assert both.count("ORDER BY MESSAGE_ID LIMIT 10") == 2
    assert "QUEUE_ID IN (7)" in both
    assert "QUEUE_ID IN (-7)" in both
    assert both.endswith(" ORDER BY 1 LIMIT 10")


def test_times_of_expiration_are_part_of_the_same_packet_and_only_there_when_there_are_any() -> None:
    [plain] = made(inline=[(1, 7, 0, 77, b"", b"")], deletes=[10, 11])
    [expiring] = made(
        inline=[(1, 7, 0, 77, b"", b"")], deletes=[10, 11], expirations=[(1, 7, 900), (2, -7, 901)], expired=[11]
    )

    assert "EXPIRATION" not in plain
    assert [part for part in expiring.split(";") if part not in plain.split(";")] == [
        "INSERT INTO MB_EXPIRATION_DATA (MESSAGE_ID,QUEUE_ID,EXPIRATION_TIME) VALUES (1,7,900),(2,-7,901)"
        " ON DUPLICATE KEY UPDATE QUEUE_ID=VALUES(QUEUE_ID),EXPIRATION_TIME=VALUES(EXPIRATION_TIME)",
        "DELETE FROM MB_EXPIRATION_DATA WHERE MESSAGE_ID IN (11)",
    ]


def test_what_expires_is_looked_up_by_ranges_without_pairs() -> None:
    statement = due_keys(7, 900, (500, 33), 10)

    assert re.findall(r"WHERE (.*?) ORDER BY EXPIRATION_TIME,MESSAGE_ID LIMIT 10", statement) == [
        "QUEUE_ID=7 AND EXPIRATION_TIME>500 AND EXPIRATION_TIME<=900",
        "QUEUE_ID=7 AND EXPIRATION_TIME=500 AND MESSAGE_ID>33",
        "QUEUE_ID=-7 AND EXPIRATION_TIME>500 AND EXPIRATION_TIME<=900",
        "QUEUE_ID=-7 AND EXPIRATION_TIME=500 AND MESSAGE_ID>33",
    ]
    assert "EXPIRATION_TIME=901" not in due_keys(7, 900, (901, 33), 10)
    assert "EXPIRATION_TIME=900 AND MESSAGE_ID>33" in due_keys(7, 900, (900, 33), 10)
