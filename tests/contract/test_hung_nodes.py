"""A node that hangs inside a transaction keeps no other node from beating, and none from writing (ADR 31); but what
permits it to write lasts until its transaction is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from broker.config.datasources import PoolConfiguration
from broker.config.store_url import parse
from broker.ports.records import Put, VirtualHostRecord
from broker.store.server.engine import Engine, PoolLimits, SessionTimeouts
from broker.store.server.opening import dialect_of, server_store
from broker.store.sql import events, recovery, slots
from broker.store.sql.schema import FENCE, NODE, NODE_BATCH
from tests.contract.cluster_calls import beat, renew
from tests.contract.nodes import Node, Nodes, OnServer, messages, row, slot


class Pair:
    """The coordinator `a` and a node `b`, which has a slot, as has nobody."""

    def __init__(self, nodes: Nodes, a: Node, b: Node) -> None:
        self.nodes, self.a, self.b = nodes, a, b
        self.free = row(slot(a.lane, 1, 2))

    async def everybody_goes_on(self) -> None:
        """Raises `StoreUnavailable` when something waits for the transaction that hangs."""
        a, b = self.a, self.b
        assert await beat(b.store.cluster, "b", b.incarnation.id)
        assert await beat(a.store.cluster, "a", a.incarnation.id)
        assert await renew(a.store.cluster, self.nodes.fence.epoch, self.nodes.fence.term, "a")
        async with asyncio.timeout(2):
            await b.insert(*messages(b.lane, 20))


@pytest.fixture
async def pair(on_server: OnServer) -> Pair:
    nodes = on_server.nodes
    a, b = await nodes.join("a"), await nodes.join("b")
    await nodes.coordinate(a)
    pair = Pair(nodes, a, b)
    await a.insert(*messages(a.lane, 1, 2, 3, 4))
    await b.insert(*messages(b.lane, 1, 2))
    await a.give(slot(a.lane, 1, 2), slot(a.lane, 3, 4))
    [own] = await b.store.slots.assign([row(slot(a.lane, 3, 4))], b.incarnation, nodes.fence)
    assert own.owner == b.incarnation
    return pair


def assigned(pair: Pair) -> Callable[[Connection], Any]:
    return lambda connection: slots.assign(connection, [pair.free], pair.b.incarnation, pair.nodes.fence)


def reclaimed(pair: Pair) -> Callable[[Connection], Any]:
    return lambda connection: recovery.reclaim(connection, pair.nodes.fence, 1000)


def purged(pair: Pair) -> Callable[[Connection], Any]:
    return lambda connection: slots.purge(connection, pair.free.queue_id)


def cut(pair: Pair) -> Callable[[Connection], Any]:
    return lambda connection: slots.cut(connection, [], [], [slot(pair.b.lane, 1, 2)], pair.b.incarnation)


def finished(pair: Pair) -> Callable[[Connection], Any]:
    return lambda connection: slots.finish(connection, [slot(pair.a.lane, 3, 4).start], pair.b.incarnation)


def recorded(pair: Pair) -> Callable[[Connection], Any]:
    return lambda connection: events.record(
        connection, [Put(VirtualHostRecord("/"))], b"", expected=0, token="t", incarnation=pair.b.incarnation
    )


@pytest.mark.parametrize("work", [assigned, reclaimed, purged, cut, finished, recorded])
async def test_a_transaction_that_stays_open_keeps_nobody_from_beating_and_writing(
    pair: Pair, work: Callable[[Pair], Callable[[Connection], Any]]
) -> None:
    async with pair.a.store._engine.connection() as connection, connection.begin():
        await connection.run_sync(work(pair))
        await pair.everybody_goes_on()


async def locked(pair: Pair) -> set[str]:
    """Return what is locked of that which permits nodes to write."""
    b = pair.b
    asked = {
        "incarnation": select(NODE.c.lane).where(NODE.c.node_id == b.incarnation.node_id),
        "cuts": select(NODE_BATCH.c.batch).where(NODE_BATCH.c.lane == b.lane, NODE_BATCH.c.batch == 0),
        "power": select(FENCE.c.epoch),
    }
    found = set()
    for name, question in asked.items():
        async with b.store._engine.connection() as connection:
            try:
                await connection.execute(question.with_for_update(nowait=True))
            except DBAPIError:
                found.add(name)
            await connection.rollback()
    return found


async def test_what_permits_a_node_to_write_lasts_until_its_transaction_is_over(pair: Pair) -> None:
    held = {
        assigned: {"incarnation", "power"},
        reclaimed: {"power"},
        cut: {"incarnation", "cuts"},
        finished: set(),  # the slot has messages
        recorded: {"incarnation"},
        purged: set(),
    }
    found = {}
    for work in held:
        async with pair.a.store._engine.connection() as connection:
            await connection.run_sync(work(pair))
            found[work] = await locked(pair)
            await connection.rollback()
    assert found == held
    assert await locked(pair) == set()


async def test_what_permits_an_assignment_lasts_until_it_is_committed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = pair.a.store._dialect
    commit, found = dialect.commit, []

    async def look_and_commit(raw: Any) -> None:
        found.append(await locked(pair))
        await commit(raw)

    monkeypatch.setattr(dialect, "commit", look_and_commit)
    await pair.a.store.slots.assign([pair.free], pair.b.incarnation, pair.nodes.fence)
    assert found == [{"incarnation", "power"}]


async def test_a_coordinator_that_hangs_before_it_commits_keeps_nobody_from_beating_and_writing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = pair.a.store._dialect
    commits: list[Callable[[Any], Awaitable[None]]] = [dialect.commit]

    async def commit_late(raw: Any) -> None:
        await pair.everybody_goes_on()
        await commits[0](raw)

    monkeypatch.setattr(dialect, "commit", commit_late)
    assert [taken.owner for taken in await pair.a.store.slots.assign([pair.free], pair.b.incarnation, pair.nodes.fence)]
    assert [owned.start for owned in await pair.b.store.slots.owned(pair.b.incarnation)] == [
        slot(pair.a.lane, 1, 2).start,
        slot(pair.a.lane, 3, 4).start,
    ]


async def test_a_batch_that_hangs_keeps_its_own_node_from_nothing_but_batches(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = pair.a.store._dialect
    commit = dialect.commit

    async def commit_late(raw: Any) -> None:
        await pair.everybody_goes_on()
        await pair.a.give(slot(pair.a.lane, 1, 2))
        await commit(raw)

    monkeypatch.setattr(dialect, "commit", commit_late)
    await pair.a.insert(*messages(pair.a.lane, 5))
    assert await pair.a.ids(lane=pair.a.lane) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("cluster_deadline", "idle"), [(2.0, 10), (0.4, 3)])
async def test_the_server_itself_ends_what_a_node_leaves_there(
    on_server: OnServer, cluster_deadline: float, idle: int
) -> None:
    names = (
        ("@@idle_transaction_timeout", "@@innodb_lock_wait_timeout", "@@max_statement_time")
        if on_server.is_mariadb
        else tuple(
            f"current_setting('{name}_timeout')" for name in ("idle_in_transaction_session", "lock", "statement")
        )
    )
    asked = text(f"SELECT {', '.join(names)}")
    store = server_store(
        PoolConfiguration(url=on_server.server.jdbc_url(on_server.database)),
        cluster_deadline=cluster_deadline,
        is_shared=True,
    )
    await store.open()

    others = await store._work(lambda connection: connection.execute(asked).one())
    beats = await store._cluster_connection.run(lambda connection: connection.execute(asked).one(), repeatable=True)

    await store.close()
    if on_server.is_mariadb:
        assert tuple(others) == (idle, 5, 600)
        assert tuple(beats) == (max(cluster_deadline, 1), max(cluster_deadline, 1), cluster_deadline)
    else:
        assert tuple(others) == (f"{idle}s", "5s", "10min")
        assert tuple(beats) == (("2s" if cluster_deadline == 2 else "400ms"),) * 3


async def _stand_still_behind_parse(raw: asyncpg.Connection[Any], _: asyncio.Event) -> None:
    await raw.prepare("SELECT $1::integer")  # its Bind and Execute never come


async def _stand_still_in_a_copy(raw: asyncpg.Connection[Any], go_on: asyncio.Event) -> None:
    async def rows() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b""

    with suppress(asyncpg.PostgresError, OSError):
        await raw.copy_to_table("MB_CONTENT", source=rows())


@pytest.mark.parametrize("stand_still", [_stand_still_behind_parse, _stand_still_in_a_copy])
async def test_a_session_that_postgresql_does_not_end_is_ended_by_whoever_waits_for_its_locks(
    on_server: OnServer, stand_still: Callable[[Any, asyncio.Event], Coroutine[Any, Any, None]]
) -> None:
    await on_server.nodes.join("a")
    if on_server.is_mariadb:
        pytest.skip("there a session that waits for a request is idle")
    url = parse(on_server.server.jdbc_url(on_server.database))
    driver = dialect_of(url, SessionTimeouts(idle=0.1, lock=0.3))
    engine = Engine(driver, PoolLimits())
    await engine.open()
    hung = await driver.connect(url.addresses[0])
    await hung.execute('BEGIN; LOCK TABLE "MB_NODE"')
    go_on = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stand_still(hung, go_on))
        assert await engine.run(lambda connection: len(connection.execute(select(NODE)).all())) == 1

        go_on.set()
    driver.abort(hung)
    await engine.close()
