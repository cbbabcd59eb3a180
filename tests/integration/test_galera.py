"""Nodes on different servers of a Galera cluster: fences, the one standalone broker, and commits in doubt (ADR 87)."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from broker.config.datasources import PoolConfiguration
from broker.errors import Evicted, StoreLocked
from broker.ports.cluster_rows import Beat, Incarnation, Leave, NodeState
from broker.ports.peer_calls import Fence
from broker.ports.store import Batch
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from tests.contract.cluster_calls import claim, register
from tests.contract.nodes import messages, row, slot
from tests.support.databases import DatabaseMissing
from tests.support.galera import Galera
from tests.support.waiting import wait_until

RACES = int(os.environ.get("CORDILLERA_RACES", "1000"))
LATEST = 0.03  # seconds by which one side of a race begins later than the other


@pytest.fixture(scope="module")
def galera() -> Iterator[Galera]:
    """Three servers in step."""
    try:
        cluster = Galera()
    except DatabaseMissing as error:
        pytest.skip(str(error))
    with cluster:
        yield cluster


@pytest.fixture
def empty(galera: Galera) -> Galera:
    """The servers with an empty database."""
    galera.servers[0].sql(f"DROP DATABASE {galera.database}; {galera.product.create(galera.database, None)}")
    return galera


@pytest.fixture
async def stores(empty: Galera) -> AsyncIterator[list[ServerStore]]:
    """The stores of two nodes of a cluster, each on a server of its own."""
    opened = []
    for number in (0, 1):
        store = server_store(PoolConfiguration(url=empty.url(number)), cluster_deadline=10.0, is_shared=True)
        await store.open()
        opened.append(store)
    yield opened
    for store in opened:
        await store.close()


async def joined(store: ServerStore, node_id: str, incarnation_id: str) -> Incarnation:
    assert await register(store.cluster, node_id, incarnation_id, await store.cluster.own_row(node_id))
    incarnation = Incarnation(node_id, incarnation_id)
    await store.members.join(incarnation)
    return incarnation


async def coordinated(store: ServerStore) -> Fence:
    assert await claim(store.cluster, await store.cluster.read_lease(), "t1", "a")
    return Fence(1, "t1")


async def assign_late(store: ServerStore, piece: Any, owner: Incarnation, fence: Fence, delay: float) -> bool:
    """Assign a slot some time after its owner began to end; return whether that was done."""
    await asyncio.sleep(delay)
    return bool(await store.slots.assign([row(piece)], owner, fence))


async def end(store: ServerStore, seen: Any, fence: Fence, how: str) -> None:
    """End the incarnation in a row of beats, then free its slots."""
    if how == "evicted":
        assert await store.cluster.evict(seen, fence.epoch, fence.term)
    else:
        await store.cluster.leave(Leave(seen.incarnation), seen.node_id)
    await store.slots.reclaim(fence, 1000)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", ["evicted", "left"])
async def test_no_slot_goes_to_an_incarnation_that_has_ended_on_another_server(
    stores: list[ServerStore], how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = stores
    owner = await joined(here, "a", "1")
    fence = await coordinated(here)
    chance, assigned, lost = random.Random(1), 0, 0
    for number in range(1, RACES // 2 + 1):
        ended = await joined(there, "b", f"b{number}")
        piece = slot(0, number, number)
        await here.slots.cut([], [], [piece], owner)
        seen = await there.cluster.own_row("b")
        delay = chance.random() * LATEST
        is_assigned, _ = await asyncio.gather(
            assign_late(here, piece, ended, fence, delay), end(there, seen, fence, how)
        )
        assigned += is_assigned
        lost += any(each.owner == ended for each in await there.slots.slots())
    with capsys.disabled():
        print(f"\nGalera, {how}: {RACES // 2} races, assigned first in {assigned}, slots to ended incarnations: {lost}")
    assert lost == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_no_node_is_evicted_that_beats_on_another_server(
    stores: list[ServerStore], capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = stores
    await joined(here, "a", "1")
    fence = await coordinated(here)
    chance, evicted, wrongly = random.Random(2), 0, 0

    async def beat_late(beat: Beat) -> bool:
        await asyncio.sleep(chance.random() * LATEST)
        return await there.cluster.beat(beat, "b")

    for number in range(RACES):
        if not number or (await there.cluster.own_row("b")).state is NodeState.DEAD:  # type: ignore[union-attr]
            living = await joined(there, "b", f"b{number}")
        seen = await here.cluster.own_row("b")
        assert seen is not None
        beaten, _ = await asyncio.gather(
            beat_late(Beat(living.id, 0.0, 0.0)), here.cluster.evict(seen, fence.epoch, fence.term)
        )
        now = await here.cluster.own_row("b")
        assert now is not None
        evicted += now.state is NodeState.DEAD
        wrongly += now.state is NodeState.DEAD and beaten
    with capsys.disabled():
        print(
            f"\nGalera: {RACES} races of a beat and an eviction, evicted in {evicted}, of these had beaten: {wrongly}"
        )
    assert wrongly == 0


async def batch_or_end(store: ServerStore, number: int) -> bool:
    try:
        await store.write(Batch(inserts=messages(1, number), high_water=number << 18))
    except Evicted:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_no_batch_is_committed_after_its_incarnation_has_ended_on_another_server(
    stores: list[ServerStore],
) -> None:
    here, there = stores
    await joined(here, "a", "1")
    fence = await coordinated(here)
    written = 0
    for number in range(1, 201):
        await joined(there, "b", f"b{number}")
        seen = await here.cluster.own_row("b")
        assert seen is not None

        async def evict_and_count(seen: Any = seen) -> int:
            assert await here.cluster.evict(seen, fence.epoch, fence.term)
            return sum(each.count for each in await here.slots.window(1, 1000))

        is_written, counted = await asyncio.gather(batch_or_end(there, number), evict_and_count())
        written += is_written
        assert counted == written


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_second_standalone_broker_on_another_server_is_refused(empty: Galera) -> None:
    first, second = (server_store(PoolConfiguration(url=empty.url(number))) for number in (0, 1))
    await first.open()
    await first.register("a")

    with pytest.raises(StoreLocked, match="is in use by another broker, on whichever of its servers"):
        await second.open()

    await first.write(Batch(inserts=messages(0, 1), high_water=1 << 18))
    await first.close()
    began = time.monotonic()
    await second.open()
    assert time.monotonic() - began < 5.0
    await second.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_node_of_a_cluster_is_refused_beside_a_standalone_broker_on_another_server(empty: Galera) -> None:
    alone = server_store(PoolConfiguration(url=empty.url(0)))
    member = server_store(PoolConfiguration(url=empty.url(1)), is_shared=True)
    await alone.open()
    await alone.register("a")

    with pytest.raises(StoreLocked):
        await member.open()
    await alone.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_server_that_is_not_ready_is_passed_over(empty: Galera) -> None:
    empty.servers[0].isolate(is_isolated=True)
    try:
        wait_until(lambda: empty.servers[0].status("wsrep_ready") == "OFF", 30.0, "a server that is not ready")
        store = server_store(PoolConfiguration(url=empty.url()))
        await store.open()
        await store.register("a")
        await store.write(Batch(inserts=messages(0, 1), high_water=1 << 18))
        assert store.describe().endswith(f"127.0.0.1:{empty.servers[1].port}/{empty.database}")
        assert store.describe().startswith("MariaDB 1")
        await store.close()
    finally:
        empty.servers[0].isolate(is_isolated=False)
        empty.wait_until_whole()
