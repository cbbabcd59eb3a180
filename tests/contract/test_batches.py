"""What a batch leaves in a database server besides its messages: a count that decides about commits without an answer,
and a lock that keeps its incarnation alive (ADR 31).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from broker.errors import Evicted
from broker.ports.store import Batch
from broker.store.server.batch import Rows, rows_of
from broker.store.server.dialect import Marker
from broker.store.server.postgresql import PREPARE, count_batch
from tests.contract.nodes import Node, Nodes, OnServer, messages

NOTHING = rows_of(Batch(), 0)
READ_ROWS = "SHOW SESSION STATUS WHERE Variable_name LIKE 'Handler_read%'"


@pytest.fixture
def nodes(on_server: OnServer) -> Nodes:
    return on_server.nodes


@pytest.fixture
async def a(nodes: Nodes) -> Node:
    return await nodes.join("a")


def marker(node: Node, number: int) -> Marker:
    return Marker(node.lane, node.incarnation.id, number, node.incarnation.node_id)


async def connected(node: Node) -> Any:
    return await node.store._engine.connect()


async def last_batch(node: Node, asked: Marker) -> int | None:
    raw = await connected(node)
    try:
        found: int | None = await node.store._dialect.last_batch(raw, asked)
        return found
    finally:
        node.store._dialect.abort(raw)


async def begins(node: Node, asked: Marker, rows: Rows = NOTHING) -> bool:
    raw = await connected(node)
    try:
        begun: bool = await node.store._dialect.begin(raw, asked, rows)
        return begun
    finally:
        node.store._dialect.abort(raw)


async def test_a_batch_is_counted_once_and_in_its_turn(nodes: Nodes, a: Node) -> None:
    await nodes.join("b")
    assert [await last_batch(a, marker(a, 1)), await begins(a, marker(a, 1))] == [0, True]

    await a.insert(*messages(a.lane, 1))
    await a.insert(*messages(a.lane, 2))

    assert await last_batch(a, marker(a, 3)) == 2
    assert [await begins(a, marker(a, number)) for number in (3, 4, 5)] == [True, False, False]


@pytest.mark.parametrize("other", [{"lane": 1}, {"incarnation": "2"}], ids=["lane", "incarnation"])
async def test_the_count_of_another_lane_or_incarnation_is_not_the_nodes_own(
    nodes: Nodes, a: Node, other: dict[str, Any]
) -> None:
    b = await nodes.join("b", "3")
    await a.insert(*messages(a.lane, 1))
    await b.insert(*messages(b.lane, 1))

    assert await last_batch(a, replace(marker(a, 2), **other)) is None
    assert not await begins(a, replace(marker(a, 2), **other))


async def test_a_commit_in_doubt_is_not_taken_for_that_of_the_next_incarnation(nodes: Nodes, a: Node) -> None:
    """The next incarnation has counted as many batches: its first is not the one whose answer was lost."""
    lost = Batch(inserts=messages(a.lane, 1))
    a.store._doubtful = lost
    await nodes.evict(a)
    next_one = await nodes.join("a", "2")
    await next_one.insert(*messages(next_one.lane, 2))

    with pytest.raises(Evicted):
        await a.store.write(lost)


async def test_a_batch_after_commits_that_a_fail_over_has_lost_ends_the_incarnation(
    on_server: OnServer, a: Node
) -> None:
    await a.insert(*messages(a.lane, 1))
    await a.insert(*messages(a.lane, 2))
    on_server.sql('DELETE FROM "MB_NODE_BATCH" WHERE "BATCH" = 2')

    with pytest.raises(Evicted):
        await a.insert(*messages(a.lane, 3))


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_commit_in_doubt_is_decided_when_its_transaction_is_over(
    on_server: OnServer, a: Node, is_committed: bool
) -> None:
    dialect, raw = a.store._dialect, await connected(a)
    assert await dialect.begin(raw, marker(a, 1), NOTHING)
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(last_batch(a, marker(a, 1)))
        await on_server.someone_waits()
        assert not answer.done()
        if is_committed:
            await dialect.commit(raw)
        dialect.abort(raw)
    assert answer.result() == (1 if is_committed else 0)


async def test_an_eviction_waits_for_a_batch_under_way_and_lets_none_begin_after_it(
    on_server: OnServer, nodes: Nodes, a: Node
) -> None:
    await nodes.coordinate(a)
    dialect, raw = a.store._dialect, await connected(a)
    assert await dialect.begin(raw, marker(a, 1), NOTHING)
    async with asyncio.TaskGroup() as tasks:
        eviction = tasks.create_task(nodes.evict(a))
        await on_server.someone_waits()
        assert not eviction.done()
        await dialect.commit(raw)
    assert not await begins(a, marker(a, 2))
    assert await last_batch(a, marker(a, 2)) is None
    dialect.abort(raw)


async def test_batches_long_ago_leave_no_row(on_server: OnServer, a: Node) -> None:
    counted = ",".join(f"({a.lane},{number})" for number in range(999, 1999))
    on_server.sql(f'INSERT INTO "MB_NODE_BATCH" VALUES {counted}')
    a.store._writer._at.number = 1998

    await a.insert(*messages(a.lane, 1))
    await a.insert(*messages(a.lane, 2))

    assert on_server.sql('SELECT "BATCH" FROM "MB_NODE_BATCH" ORDER BY 1') == ["0", "1999", "2000"]


# What other transactions cost


@pytest.fixture
async def held(on_server: OnServer, a: Node) -> AsyncIterator[Any]:
    """A transaction of somebody else that holds a snapshot from before everything the test does."""
    raw = await connected(a)
    if on_server.is_mariadb:
        await raw.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await raw.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    else:
        await raw.execute("SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ")
        await raw.fetch('SELECT * FROM "MB_NODE"')
    yield raw
    a.store._dialect.abort(raw)


async def work_of_a_batch(node: Node, number: int) -> int:
    """Return how much a server reads to count a batch: buffers on PostgreSQL, rows on MariaDB."""
    raw = await connected(node)
    dialect = node.store._dialect
    try:
        if hasattr(raw, "fetchval"):
            await raw.execute(f"{PREPARE}; BEGIN")
            statement = count_batch(marker(node, number))
            plan = json.loads(await raw.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"))[0]["Plan"]
            return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
        await raw.query(READ_ROWS)
        before = sum(int(value) for _, value in raw._result.rows)
        assert await dialect.begin(raw, marker(node, number), NOTHING)
        await raw.query(READ_ROWS)
        return sum(int(value) for _, value in raw._result.rows) - before
    finally:
        dialect.abort(raw)


async def test_a_commit_costs_the_same_however_many_came_before_it_in_sight_of_a_held_snapshot(
    a: Node, held: Any
) -> None:
    await a.insert(*messages(a.lane, 1))
    at_first = await work_of_a_batch(a, 2)
    for number in range(2, 301):
        await a.insert(*messages(a.lane, number))

    assert await work_of_a_batch(a, 301) <= at_first + 3


async def test_neither_batches_nor_assignments_write_a_row_again(on_server: OnServer, nodes: Nodes, a: Node) -> None:
    versions = 'SELECT * FROM "MB_NODE"; SELECT * FROM "MB_COORDINATOR_FENCE"'
    if not on_server.is_mariadb:
        versions = versions.replace("*", "ctid, *")
    fence = await nodes.coordinate(a)
    before = on_server.sql(versions)

    for number in range(1, 6):
        await a.insert(*messages(a.lane, number))
        await a.store.slots.assign([], a.incarnation, fence)

    assert on_server.sql(versions) == before
