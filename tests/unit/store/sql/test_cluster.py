"""What the statements of the cluster write for people to see, and what they say of tables that were tampered with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, StaticPool, create_engine, delete, func, select, text, update

from broker.errors import StoreError
from broker.ports.cluster_rows import Beat, Claim, Lease, NodeRow, NodeState, Register, Renew, Resign
from broker.store.sql import cluster, migrate
from broker.store.sql.schema import FENCE, LEASE, MEMBERSHIP, NODE_HEARTBEAT

NEVER_HELD = Lease(0, 0, "", None)
CLAIM = Claim(NEVER_HELD, "t1", 0.0, 0.0)


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as opened:
        migrate.upgrade(opened)
        yield opened
    engine.dispose()


def row_of(connection: Connection, table: Any, *columns: str) -> tuple[Any, ...]:
    return tuple(connection.execute(select(*(table.c[name] for name in columns))).one())


def database_ms(connection: Connection) -> int:
    seconds: int = connection.scalar(text("SELECT CAST(strftime('%s', 'now') AS INTEGER)")) or 0
    return seconds * 1000


def test_the_coordinators_address_is_written_with_its_claim_and_goes_with_it(connection: Connection) -> None:
    cluster.claim(connection, CLAIM, "a", "10.0.0.1", 7611)
    assert row_of(connection, LEASE, "node_id", "thrift_host", "thrift_port") == ("a", "10.0.0.1", 7611)

    cluster.resign(connection, Resign(1, "t1"), "a")
    assert row_of(connection, LEASE, "node_id", "thrift_host", "thrift_port") == (None, None, None)


def test_the_time_of_a_heartbeat_is_that_of_the_database(connection: Connection) -> None:
    cluster.claim(connection, CLAIM, "a", "10.0.0.1", 7611)
    cluster.register_node(connection, Register(None, "1", 0.0, 0.0), "a", "10.0.0.1", 5672)
    for table, column in ((LEASE, "last_heartbeat"), (NODE_HEARTBEAT, "last_heartbeat")):
        connection.execute(update(table).values({column: 0}))

    cluster.renew(connection, Renew(1, "t1", 0.0, 0.0), "a")
    cluster.beat(connection, Beat("1", 0.0, 0.0), "a")

    now = database_ms(connection)
    for table in (LEASE, NODE_HEARTBEAT):
        assert now - 60_000 < row_of(connection, table, "last_heartbeat")[0] < now + 60_000
    assert connection.scalar(select(func.min(MEMBERSHIP.c.time_stamp))) > now - 60_000


def test_a_coordinator_passes_the_fence_of_its_term_and_moves_it_by_a_claim_only(connection: Connection) -> None:
    cluster.claim(connection, CLAIM, "a", "10.0.0.1", 7611)
    claimed = row_of(connection, FENCE, "epoch", "term", "sequence")

    nobody = NodeRow("b", "1", 1, 0, NodeState.UP, "", 0)
    passed = [cluster.evict(connection, nobody, *fence) for fence in ((1, "t1"), (1, "t0"), (2, "t1"))]

    assert (claimed, passed) == ((1, "t1", 1), [True, False, False])
    assert row_of(connection, FENCE, "epoch", "term", "sequence") == claimed


def test_the_timeline_keeps_the_last_thousand_changes(connection: Connection) -> None:
    for number in range(1005):
        cluster.register_node(connection, Register(None, "1", 0.0, 0.0), f"n{number:04}", "10.0.0.1", 5672)

    cluster.claim(connection, CLAIM, "a", "10.0.0.1", 7611)

    changes = cluster.timeline(connection, 2000)
    assert len(changes) == 1000
    assert [change.member_id for change in (changes[0], changes[1], changes[-1])] == ["a", "n1004", "n0006"]


def test_a_lease_without_its_row_is_told_in_one_line(connection: Connection) -> None:
    connection.execute(delete(LEASE))

    with pytest.raises(StoreError, match=r"^the table MB_COORDINATOR_HEARTBEAT has lost its row: .*$"):
        cluster.read_lease(connection)


def test_a_fence_of_another_epoch_than_the_lease_is_told_in_one_line(connection: Connection) -> None:
    connection.execute(update(FENCE).values(epoch=7))

    with pytest.raises(StoreError, match=r"^MB_COORDINATOR_FENCE is not at epoch 0 as MB_COORDINATOR_HEARTBEAT is: "):
        cluster.claim(connection, CLAIM, "a", "10.0.0.1", 7611)
