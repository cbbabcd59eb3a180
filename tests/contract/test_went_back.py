"""What a database that has lost commits is told from: another broker, and an eviction (ADR 86)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.errors import Evicted, StoreError, StoreWentBack
from broker.ports.store import Batch
from broker.store.server.store import ServerStore
from tests.contract.harness import server_maker
from tests.contract.nodes import Node, Nodes, OnServer, messages, slot

LOSE_LAST = 'DELETE FROM "MB_NODE_BATCH" WHERE "BATCH">{}; DELETE FROM "MB_METADATA" WHERE "MESSAGE_ID">={}'


@pytest.fixture
def nodes(on_server: OnServer) -> Nodes:
    return on_server.nodes


@pytest.fixture
async def alone(on_server: OnServer) -> AsyncIterator[Callable[[str], Any]]:
    """Starts standalone brokers."""
    stores: list[ServerStore] = []
    make = server_maker(on_server.server, on_server.database)

    async def start(node_id: str) -> ServerStore:
        store = make()
        await store.open()
        await store.register(node_id)
        stores.append(store)
        return store

    yield start
    for store in stores:
        await store.close()


async def write(store: ServerStore, *numbers: int) -> None:
    """Commit a batch for each number."""
    for number in numbers:
        await store.write(Batch(inserts=messages(0, number), high_water=number << 18))


async def test_a_batch_over_commits_that_are_lost_ends_the_incarnation(
    on_server: OnServer, alone: Callable[[str], Any]
) -> None:
    store = await alone("a")
    await write(store, 1, 2, 3, 4)
    on_server.sql(LOSE_LAST.format(2, 3 << 18))

    with (
        capture_logs() as logs,
        pytest.raises(StoreWentBack, match=r"lost 2 batches .* confirms of that time are void"),
    ):
        await write(store, 5)

    (told,) = [line for line in logs if line["log_level"] == "error"]
    assert (told["event"], told["batches"]) == ("the database has lost what it had committed", 2)
    assert told["since"] <= told["until"]


async def test_a_broker_goes_on_from_what_is_there(on_server: OnServer, alone: Callable[[str], Any]) -> None:
    store = await alone("a")
    await write(store, 1, 2, 3)
    on_server.sql(LOSE_LAST.format(1, 2 << 18))
    with pytest.raises(StoreWentBack):
        await write(store, 4)

    registration = await store.register("a")
    await write(store, 5)

    assert not registration.clean
    assert [each.count for each in await store.backlog()] == [2]


async def test_lost_commits_are_noticed_with_a_new_connection_when_nothing_is_written(
    on_server: OnServer, alone: Callable[[str], Any]
) -> None:
    store = await alone("a")
    await write(store, 1, 2)
    on_server.sql(LOSE_LAST.format(0, 0))
    await store.probe()
    store._dialect.abort(store._guard)
    store._guard = None

    with pytest.raises(StoreWentBack, match="lost 2 batches"):
        await store.probe()


async def test_lost_commits_are_told_once_when_a_batch_and_a_probe_find_them(
    on_server: OnServer, alone: Callable[[str], Any]
) -> None:
    store = await alone("a")
    await write(store, 1, 2)
    await store.probe()
    store._dialect.abort(store._guard)
    store._guard = None
    on_server.sql(LOSE_LAST.format(0, 0))

    with capture_logs() as logs:
        for finding in (write(store, 3), store.probe()):
            with pytest.raises(StoreWentBack):
                await finding

    assert len([line for line in logs if line["log_level"] == "error"]) == 1


async def test_a_registration_that_is_lost_is_no_other_broker(on_server: OnServer, alone: Callable[[str], Any]) -> None:
    store = await alone("a")
    before = on_server.sql('SELECT "INCARNATION" FROM "MB_NODE"')[0]
    await store.register("a")
    await write(store, 1)
    on_server.sql(f"""UPDATE "MB_NODE" SET "INCARNATION"='{before}'""")

    with pytest.raises(StoreWentBack, match="lost 1 batches"):
        await write(store, 2)


async def test_another_broker_is_told_from_lost_commits(on_server: OnServer, alone: Callable[[str], Any]) -> None:
    store = await alone("a")
    await write(store, 1)
    on_server.sql("""UPDATE "MB_NODE" SET "INCARNATION"='another'""")

    with pytest.raises(StoreError, match="another broker has taken over as 'a'"):
        await write(store, 2)


async def test_all_incarnations_of_a_cluster_end_once(on_server: OnServer, nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    for number in (1, 2):
        await a.insert(*messages(a.lane, number))
        await b.insert(*messages(b.lane, number))
    await a.give(slot(a.lane, 1, 1))
    on_server.sql('DELETE FROM "MB_NODE_BATCH" WHERE "BATCH">1')

    with pytest.raises(StoreWentBack, match="lost 1 batches"):
        await a.insert(*messages(a.lane, 3))
    with pytest.raises(Evicted):
        await b.insert(*messages(b.lane, 3))

    assert on_server.sql('SELECT DISTINCT "STATE" FROM "MB_NODE_HEARTBEAT"') == ["DEAD"]
    assert on_server.sql('SELECT "MAYBE_DELIVERED" FROM "MB_SLOT"') in (["1"], ["t"])


async def test_a_node_that_was_ended_by_another_one_knows_why(on_server: OnServer, nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    await a.insert(*messages(a.lane, 1))
    on_server.sql('DELETE FROM "MB_NODE_BATCH" WHERE "BATCH">0')
    with pytest.raises(StoreWentBack):
        await a.insert(*messages(a.lane, 2))
    evicted = Evicted("over")

    assert isinstance(await b.store.why_ended(evicted), StoreWentBack)


async def test_a_node_that_was_evicted_knows_that_nothing_is_lost(nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    await nodes.coordinate(a)
    await nodes.evict(b)
    evicted = Evicted("over")

    assert await b.store.why_ended(evicted) is evicted


async def test_who_notices_late_does_not_end_the_incarnations_that_came_after(
    on_server: OnServer, nodes: Nodes
) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    await a.insert(*messages(a.lane, 1))
    await b.insert(*messages(b.lane, 1))
    on_server.sql('DELETE FROM "MB_NODE_BATCH" WHERE "BATCH">0')
    with pytest.raises(StoreWentBack):
        await a.insert(*messages(a.lane, 2))
    again = await rejoined(nodes, a)

    await b.store._end_all(b.incarnation)

    await again.insert(*messages(again.lane, 3))


async def rejoined(nodes: Nodes, node: Node) -> Node:
    incarnation = await nodes.register(node.store, node.incarnation.node_id, "2")
    return Node(node.store, incarnation, await node.store.members.join(incarnation))


async def test_events_that_are_lost_end_all_incarnations(on_server: OnServer, nodes: Nodes) -> None:
    a = await nodes.join("a")

    with pytest.raises(StoreWentBack, match="lost 3 changes of topology"):
        await a.store.events.events(3, 10)

    assert on_server.sql('SELECT "STATE" FROM "MB_NODE_HEARTBEAT"') == ["DEAD"]
