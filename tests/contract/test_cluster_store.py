"""What every store promises a cluster (`broker.ports.ClusterStore`), and the simulated one beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from broker.ports.cluster import ClusterStore
from broker.ports.cluster_rows import (
    Lease,
    Leave,
    NodeState,
    Register,
    Resign,
)
from broker.store.sql.cluster_store import SqlClusterStore
from tests.contract.cluster_calls import NEVER_HELD, beat, claim, register, renew, up
from tests.contract.conftest import KINDS, store_maker
from tests.contract.harness import own_connection
from tests.simulation.as_cluster_store import SimulatedClusterStore


@pytest.fixture(params=[*KINDS, "simulation"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[ClusterStore, ClusterStore]]:
    """Two ways to one cluster's rows: of a database server, two connections."""
    if request.param == "simulation":
        simulated = SimulatedClusterStore()
        yield simulated, simulated
        return
    with contextmanager(store_maker)(request.param, request, tmp_path) as make:
        store = make()
        await store.open()
        if request.param in ("memory", "sqlite"):
            yield store.cluster, store.cluster
        else:
            another = own_connection(*request.getfixturevalue(f"{request.param}_database"))
            await another.open()
            yield store.cluster, SqlClusterStore(another.run)
            await another.close()
        await store.close()


@pytest.fixture
def cluster(pair: tuple[ClusterStore, ClusterStore]) -> ClusterStore:
    return pair[0]


# The lease


async def test_a_lease_was_never_held_at_first(cluster: ClusterStore) -> None:
    assert await cluster.read_lease() == NEVER_HELD


async def test_a_claim_takes_the_lease_to_the_next_epoch(cluster: ClusterStore) -> None:
    assert await claim(cluster, NEVER_HELD, "t1", "a")
    assert await cluster.read_lease() == Lease(1, 0, "t1", "a")

    assert await claim(cluster, Lease(1, 0, "t1", "a"), "t2", "b")
    assert await cluster.read_lease() == Lease(2, 0, "t2", "b")


async def test_a_claim_succeeds_once(cluster: ClusterStore) -> None:
    assert await claim(cluster, NEVER_HELD, "t1")
    assert not await claim(cluster, NEVER_HELD, "t2")
    assert await cluster.read_lease() == Lease(1, 0, "t1", "a")


@pytest.mark.parametrize(
    "stale", [{"epoch": 0}, {"epoch": 2}, {"beat": 0}, {"beat": 2}, {"term": "t0"}, {"term": "T1"}]
)
async def test_a_claim_that_has_seen_another_lease_changes_nothing(
    cluster: ClusterStore, stale: dict[str, int | str]
) -> None:
    await claim(cluster, NEVER_HELD, "t1")
    await renew(cluster, 1, "t1")
    now = await cluster.read_lease()

    assert not await claim(cluster, replace(now, **stale), "t2", "b")
    assert await cluster.read_lease() == now == Lease(1, 1, "t1", "a")
    assert await cluster.evict(up("nobody", "1"), 1, "t1")


async def test_who_holds_a_lease_does_not_matter_to_a_claim(cluster: ClusterStore) -> None:
    await claim(cluster, NEVER_HELD, "t1", "a")

    assert await claim(cluster, Lease(1, 0, "t1", "somebody else"), "t2", "b")


async def test_of_two_claims_at_once_one_wins(pair: tuple[ClusterStore, ClusterStore]) -> None:
    one, other = pair
    for epoch in range(10):
        seen, same = await one.read_lease(), await other.read_lease()
        assert seen == same

        won = await asyncio.gather(claim(one, seen, f"a{epoch}", "a"), claim(other, same, f"b{epoch}", "b"))

        assert sorted(won) == [False, True]
        winner = "a" if won[0] else "b"
        assert await one.read_lease() == Lease(epoch + 1, 0, f"{winner}{epoch}", winner)


async def test_a_renewal_moves_the_beat(cluster: ClusterStore) -> None:
    await claim(cluster, NEVER_HELD, "t1")

    assert await renew(cluster, 1, "t1")
    assert await renew(cluster, 1, "t1")
    assert await cluster.read_lease() == Lease(1, 2, "t1", "a")


@pytest.mark.parametrize(("epoch", "term"), [(0, "t1"), (2, "t1"), (1, "t0"), (1, "T1")])
async def test_a_renewal_of_another_term_changes_nothing(cluster: ClusterStore, epoch: int, term: str) -> None:
    await claim(cluster, NEVER_HELD, "t1")

    assert not await renew(cluster, epoch, term)
    assert await cluster.read_lease() == Lease(1, 0, "t1", "a")


async def test_a_coordinator_that_was_replaced_renews_nothing(pair: tuple[ClusterStore, ClusterStore]) -> None:
    one, other = pair
    await claim(one, NEVER_HELD, "t1", "a")
    await claim(other, Lease(1, 0, "t1", "a"), "t2", "b")

    assert not await renew(one, 1, "t1", "a")
    assert await other.read_lease() == Lease(2, 0, "t2", "b")


async def test_a_lease_that_was_resigned_has_no_holder_and_can_be_claimed(cluster: ClusterStore) -> None:
    await claim(cluster, NEVER_HELD, "t1")

    await cluster.resign(Resign(1, "t1"), "a")

    assert await cluster.read_lease() == Lease(1, 1, "t1", None)
    assert await claim(cluster, Lease(1, 1, "t1", None), "t2", "b")


async def test_a_lease_that_was_resigned_is_not_renewed_by_a_late_renewal(cluster: ClusterStore) -> None:
    await claim(cluster, NEVER_HELD, "t1")
    await cluster.resign(Resign(1, "t1"), "a")

    assert not await renew(cluster, 1, "t1")
    await cluster.resign(Resign(1, "t1"), "a")
    assert await cluster.read_lease() == Lease(1, 1, "t1", None)


@pytest.mark.parametrize("resign", [Resign(1, "t0"), Resign(2, "t1")], ids=["term", "epoch"])
async def test_who_resigns_another_term_changes_nothing(cluster: ClusterStore, resign: Resign) -> None:
    await claim(cluster, NEVER_HELD, "t1")

    await cluster.resign(resign, "a")

    assert await cluster.read_lease() == Lease(1, 0, "t1", "a")


# The nodes


async def test_a_node_that_never_was_there_has_no_row(cluster: ClusterStore) -> None:
    assert await cluster.own_row("a") is None
    assert list(await cluster.nodes()) == []
    assert not await beat(cluster, "a", "1")
    await cluster.leave(Leave("1"), "a")
    assert await cluster.own_row("a") is None


async def test_a_node_registers_and_beats(cluster: ClusterStore) -> None:
    assert await register(cluster, "a", "1")
    assert await cluster.own_row("a") == up("a", "1")

    assert await beat(cluster, "a", "1")
    assert await cluster.own_row("a") == up("a", "1", beat=1)


async def test_the_rows_of_all_nodes_are_read_at_once(pair: tuple[ClusterStore, ClusterStore]) -> None:
    one, other = pair
    await register(one, "b", "2")
    await register(other, "a", "1")

    assert list(await one.nodes()) == list(await other.nodes()) == [up("a", "1"), up("b", "2")]


async def test_a_row_tells_the_terms_of_its_node_until_it_registers_with_others(cluster: ClusterStore) -> None:
    first = Register(None, "n-1", 0.0, 0.0)
    assert await cluster.register_node(first, "n", "10.0.0.1", 5672, "domain 'заказы'")
    (row,) = await cluster.nodes()
    assert (row.terms, await cluster.own_row("n")) == ("domain 'заказы'", row)
    assert await cluster.register_node(Register(row, "n-2", 0.0, 0.0), "n", "10.0.0.1", 5672)
    assert [each.terms for each in await cluster.nodes()] == [""]


async def test_a_first_registration_succeeds_once(cluster: ClusterStore) -> None:
    assert await register(cluster, "a", "1")
    assert not await register(cluster, "a", "2")
    assert await cluster.own_row("a") == up("a", "1")


async def test_of_two_first_registrations_at_once_one_wins(pair: tuple[ClusterStore, ClusterStore]) -> None:
    one, other = pair
    for node_id in ("a", "b", "c", "d"):
        won = await asyncio.gather(register(one, node_id, "1"), register(other, node_id, "2"))

        assert sorted(won) == [False, True]
        assert await one.own_row(node_id) == up(node_id, "1" if won[0] else "2")


async def test_a_node_that_is_silent_is_registered_anew_with_the_next_fence(cluster: ClusterStore) -> None:
    await register(cluster, "a", "1")
    await beat(cluster, "a", "1")

    assert await register(cluster, "a", "2", up("a", "1", beat=1))
    assert await cluster.own_row("a") == up("a", "2", fence=2)
    assert not await beat(cluster, "a", "1")


@pytest.mark.parametrize(
    "stale", [{"incarnation": "0"}, {"fence": 2}, {"beat": 0}, {"beat": 2}, {"state": NodeState.DEAD}], ids=str
)
async def test_a_registration_that_has_seen_another_row_changes_nothing(
    cluster: ClusterStore, stale: dict[str, object]
) -> None:
    await register(cluster, "a", "1")
    await beat(cluster, "a", "1")

    assert not await register(cluster, "a", "2", replace(up("a", "1", beat=1), **stale))
    assert await cluster.own_row("a") == up("a", "1", beat=1)


async def test_a_registration_that_has_seen_a_row_that_is_not_there_changes_nothing(cluster: ClusterStore) -> None:
    assert not await register(cluster, "a", "2", up("a", "1"))
    assert await cluster.own_row("a") is None


async def test_a_node_that_leaves_is_stopped_and_may_come_back(cluster: ClusterStore) -> None:
    await register(cluster, "a", "1")

    await cluster.leave(Leave("1"), "a")
    await cluster.leave(Leave("1"), "a")

    stopped = replace(up("a", "1", fence=2), state=NodeState.STOPPED)
    assert await cluster.own_row("a") == stopped
    assert not await beat(cluster, "a", "1")
    assert await register(cluster, "a", "2", stopped)
    assert await cluster.own_row("a") == up("a", "2", fence=3)


async def test_an_old_incarnation_that_leaves_late_does_not_end_the_new_one(cluster: ClusterStore) -> None:
    await register(cluster, "a", "1")
    await register(cluster, "a", "2", up("a", "1"))

    await cluster.leave(Leave("1"), "a")

    assert await cluster.own_row("a") == up("a", "2", fence=2)


# Evictions


async def test_the_coordinator_evicts_a_node_whose_beat_is_refused_from_then_on(cluster: ClusterStore) -> None:
    await claim(cluster, NEVER_HELD, "t1")
    await register(cluster, "b", "1")

    assert await cluster.evict(up("b", "1"), 1, "t1")

    dead = replace(up("b", "1", fence=2), state=NodeState.DEAD)
    assert await cluster.own_row("b") == dead
    assert not await beat(cluster, "b", "1")
    await cluster.leave(Leave("1"), "b")
    assert await cluster.own_row("b") == dead


@pytest.mark.parametrize(("epoch", "term"), [(1, "t1"), (2, "t1"), (1, "t2"), (3, "t2")])
async def test_a_fenced_coordinators_eviction_changes_nothing(
    pair: tuple[ClusterStore, ClusterStore], epoch: int, term: str
) -> None:
    one, other = pair
    await claim(one, NEVER_HELD, "t1", "a")
    await register(one, "c", "1")
    await claim(other, Lease(1, 0, "t1", "a"), "t2", "b")

    assert not await one.evict(up("c", "1"), epoch, term)

    assert await one.own_row("c") == up("c", "1")
    assert await beat(one, "c", "1")


async def test_a_coordinator_that_resigned_is_not_fenced_before_the_next_claim(cluster: ClusterStore) -> None:
    await claim(cluster, NEVER_HELD, "t1")
    await register(cluster, "b", "1")
    await cluster.resign(Resign(1, "t1"), "a")

    assert await cluster.evict(up("b", "1"), 1, "t1")


async def test_a_node_that_has_beaten_since_is_not_evicted(cluster: ClusterStore) -> None:
    await claim(cluster, NEVER_HELD, "t1")
    await register(cluster, "b", "1")
    await beat(cluster, "b", "1")

    assert await cluster.evict(up("b", "1"), 1, "t1")

    assert await beat(cluster, "b", "1")


async def test_a_node_is_evicted_once(cluster: ClusterStore) -> None:
    await claim(cluster, NEVER_HELD, "t1")
    await register(cluster, "b", "1")
    await cluster.evict(up("b", "1"), 1, "t1")
    dead = await cluster.own_row("b")

    assert await cluster.evict(up("b", "1"), 1, "t1")

    assert await cluster.own_row("b") == dead


async def test_the_eviction_of_an_old_incarnation_does_not_end_the_new_one(cluster: ClusterStore) -> None:
    await claim(cluster, NEVER_HELD, "t1")
    await register(cluster, "b", "1")
    await register(cluster, "b", "2", up("b", "1"))

    assert await cluster.evict(up("b", "1"), 1, "t1")

    assert await cluster.own_row("b") == up("b", "2", fence=2)
