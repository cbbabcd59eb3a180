"""On one server that takes writes fences are locks: no batch and no assignment writes the row it holds (ADR 87)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from broker.config.datasources import PoolConfiguration
from broker.errors import Evicted
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Fence
from broker.ports.store import Batch
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from tests.contract.cluster_calls import claim, register
from tests.contract.nodes import messages, row, slot
from tests.support.databases import DatabaseServer

STATE = {
    "mariadb": "SELECT (SELECT SUM(BATCH) FROM MB_NODE), (SELECT SEQUENCE FROM MB_COORDINATOR_FENCE)",
    "postgresql": 'SELECT (SELECT SUM("BATCH") FROM "MB_NODE"), (SELECT "SEQUENCE" FROM "MB_COORDINATOR_FENCE")',
}


@pytest.fixture
async def store(database_server: DatabaseServer, database: str) -> AsyncIterator[ServerStore]:
    """The store of a node of a cluster."""
    opened = server_store(PoolConfiguration(url=database_server.jdbc_url(database)), is_shared=True)
    await opened.open()
    yield opened
    await opened.close()


async def test_nothing_but_a_claim_moves_the_fence_and_no_batch_writes_the_row_of_its_node(
    database_server: DatabaseServer, database: str, store: ServerStore
) -> None:
    for node_id in ("a", "b"):
        assert await register(store.cluster, node_id, "1", await store.cluster.own_row(node_id))
        await store.members.join(Incarnation(node_id, "1"))
    assert await claim(store.cluster, await store.cluster.read_lease(), "t1", "a")
    owner, fence, piece = Incarnation("a", "1"), Fence(1, "t1"), slot(0, 1, 2)
    before = database_server.sql(STATE[database_server.kind], database)

    await store.write(Batch(inserts=messages(0, 1), high_water=1 << 18))
    await store.write(Batch(inserts=messages(0, 2), high_water=2 << 18))
    await store.slots.cut([], [], [piece], owner)
    assert await store.slots.assign([row(piece)], owner, fence)
    seen = await store.cluster.own_row("b")
    assert seen is not None
    assert await store.cluster.evict(seen, fence.epoch, fence.term)

    assert database_server.sql(STATE[database_server.kind], database) == before
    seen = await store.cluster.own_row("a")
    assert seen is not None
    assert await store.cluster.evict(seen, fence.epoch, fence.term)
    with pytest.raises(Evicted):
        await store.write(Batch(inserts=messages(0, 3), high_water=3 << 18))
