"""Several agents over one store: who coordinates, who is there, and how long that takes to be known (ADR 16)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from random import Random

import pytest
from structlog.testing import capture_logs

from broker.clock import SystemClock
from broker.coordination.membership.agent import ClusterAgent
from broker.coordination.membership.terms import TermsDiffer
from broker.errors import Evicted
from broker.ports.cluster_rows import Incarnation, NodeRow, NodeState
from broker.ports.peer_calls import Fence
from broker.ports.store import Store
from tests.support.agents import Agents, Recorder, Started, agents
from tests.support.virtual_loop import run


def now() -> float:
    return asyncio.get_running_loop().time()


async def three(cluster: Agents) -> list[Started]:
    """Start three nodes; the first becomes the coordinator."""
    started = []
    for node_id in "abc":
        started.append(await cluster.start(node_id))
        await asyncio.sleep(0.5)
    await asyncio.sleep(10)
    return started


def test_three_nodes_have_one_coordinator_and_know_each_other() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a, b, c = await three(cluster)

            fence = a.agent.fence
            assert fence is not None
            assert [each.agent.fence for each in (b, c)] == [None, None]
            assert [each.agent.coordinator for each in (a, b, c)] == [("host-a", 7611, fence)] * 3
            assert [sorted(each.agent.members) for each in (a, b, c)] == [["b", "c"], ["a", "c"], ["a", "b"]]
            assert a.agent.living == b.agent.living == c.agent.living == {each.agent.incarnation for each in (a, b, c)}

    run(lambda _: main())


def test_nodes_that_start_at_once_have_one_coordinator() -> None:
    async def main() -> None:
        async with agents() as cluster, asyncio.TaskGroup() as tasks:
            for node_id in "abcde":
                tasks.create_task(cluster.start(node_id))
            await asyncio.sleep(5)

            assert sum(each.agent.fence is not None for each in cluster.incarnations) == 1
            assert len({each.agent.coordinator for each in cluster.incarnations}) == 1

    run(lambda _: main())


def test_a_killed_coordinator_is_followed_within_15_5_and_evicted_within_16_5_seconds() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a, b, c = await three(cluster)
            a.kill()
            killed_at = now()
            with capture_logs() as logs:
                await asyncio.sleep(20)

            (new,) = [each for each in (b, c) if each.agent.fence is not None]
            (other,) = [each for each in (b, c) if each is not new]
            assert 8.0 <= new.heard.when("elected", 2) - killed_at <= 15.5
            assert new.heard.when("left", ("a", "a-1")) - killed_at <= 16.5
            assert cluster.rows.nodes["a"].state is NodeState.DEAD
            assert new.agent.living == other.agent.living == {new.agent.incarnation, other.agent.incarnation}
            assert other.agent.coordinator == (*new.agent.address, new.agent.fence)
            assert [line["epoch"] for line in logs if line["event"] == "Coordinator changed"] == [2]

    run(lambda _: main())


def test_a_coordinator_that_leaves_is_followed_at_once_when_it_hints() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a, b, c = await three(cluster)
            left_at = now()
            resigned = await a.agent.leave()
            for each in (b, c):
                each.agent.on_hint()
            await asyncio.sleep(0.5)

            assert resigned == Fence(1, "a-2")
            (new,) = [each for each in (b, c) if each.agent.fence is not None]
            assert new.heard.when("elected", 2) - left_at <= 0.2
            for each in (b, c):
                assert each.heard.when("left", ("a", "a-1")) - left_at <= 0.2
            assert cluster.rows.nodes["a"].state is NodeState.STOPPED
            assert (a.is_running, a.ended) == (False, None)

    run(lambda _: main())


def test_a_coordinator_that_leaves_without_a_hint_is_followed_within_a_few_seconds() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a, b, c = await three(cluster)
            left_at = now()
            await a.agent.leave()
            await asyncio.sleep(5)

            (new,) = [each for each in (b, c) if each.agent.fence is not None]
            assert new.heard.when("elected", 2) - left_at <= 2.5
            for each in (b, c):
                assert each.heard.when("left", ("a", "a-1")) - left_at <= 4.1

    run(lambda _: main())


def test_a_node_that_the_others_evict_learns_it_when_the_store_is_back_and_begins_a_new_incarnation() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a, b, _ = await three(cluster)
            b.store.failing = {"*"}
            await asyncio.sleep(20)
            assert (b.agent.is_trusted(), b.ended) == (False, None)
            assert cluster.rows.nodes["b"].state is NodeState.DEAD
            b.store.failing = set()
            await asyncio.sleep(4)
            assert isinstance(b.ended, Evicted)
            again = await cluster.start("b")
            await asyncio.sleep(5)

            assert again.agent.incarnation != b.agent.incarnation
            assert a.heard.what("joined", "left")[-2:] == [("left", ("b", "b-3")), ("joined", "b")]
            assert again.agent.incarnation in a.agent.living

    run(lambda _: main())


def test_an_outage_of_the_store_costs_no_incarnation_and_ends_with_a_coordinator() -> None:
    async def main() -> None:
        async with agents() as cluster:
            nodes = await three(cluster)
            for each in nodes:
                each.store.failing = {"*"}
            await asyncio.sleep(30)
            assert [each.agent.is_trusted() for each in nodes] == [False] * 3
            for each in nodes:
                each.store.failing = set()
            back_at = now()
            await asyncio.sleep(12)

            assert [each.ended for each in nodes] == [None] * 3
            assert [each.heard.what("left") for each in nodes] == [[], [], []]
            (leading,) = [each for each in nodes if each.agent.fence is not None]
            assert leading.heard.when("elected", 2) - back_at <= 11.0

    run(lambda _: main())


def test_a_short_outage_is_not_noticed() -> None:
    async def main() -> None:
        async with agents() as cluster:
            nodes = await three(cluster)
            for _ in range(20):
                for each in nodes:
                    each.store.failing = {"*"}
                await asyncio.sleep(1.0)
                for each in nodes:
                    each.store.failing = set()
                await asyncio.sleep(9.3)

            assert [each.heard.what("trust", "stepped down", "left") for each in nodes] == [[("trust", True)]] * 3

    run(lambda _: main())


def test_of_two_nodes_with_one_id_one_lives() -> None:
    async def main() -> None:
        async with agents() as cluster:
            first = await cluster.start("a")
            first.store.failing = {"*"}
            await asyncio.sleep(1)
            second = await cluster.start("a")
            first.store.failing = set()
            await asyncio.sleep(10)

            assert isinstance(first.ended, Evicted)
            assert (second.ended, second.agent.is_trusted()) == (None, True)

    run(lambda _: main())


async def _storm(random: Random) -> None:
    """Kill, cut off and bring back nodes, and hold at each second that at most one has power and trust is no lie."""
    async with agents() as cluster:
        running = await three(cluster)
        for _ in range(120):
            victim = random.choice(running)
            match random.randrange(6):
                case 0:
                    victim.store.failing = {"*"}
                case 1:
                    victim.store.delays = {random.choice(["*", "beat", "renew", "nodes"]): random.choice([1.5, 2.5])}
                case 2 | 3:
                    victim.store.failing, victim.store.delays = set(), {}
                case 4 if victim.is_running and random.random() < 0.2:
                    victim.kill()
            await asyncio.sleep(random.uniform(0.1, 2.0))
            for position, each in enumerate(running):
                if not each.is_running:
                    each.store.failing, each.store.delays = set(), {}
                    running[position] = await cluster.start(each.agent.node_id)
            assert sum(each.agent.fence is not None for each in running) <= 1
            for each in running:
                incarnation, row = each.agent.incarnation, cluster.rows.nodes[each.agent.node_id]
                assert incarnation is not None
                is_up = (row.incarnation, row.state) == (incarnation.id, NodeState.UP)
                assert is_up or not each.agent.is_trusted()
        for each in running:
            each.store.failing, each.store.delays = set(), {}
        await asyncio.sleep(45)
        living = {Incarnation(row.node_id, row.incarnation) for row in cluster.rows.nodes.values()}
        alive = [each for each in running if each.ended is None]
        assert sum(each.agent.fence is not None for each in alive) == 1
        assert len({each.agent.coordinator for each in alive}) == 1
        assert len({each.agent.known_fence for each in alive}) == 1
        for each in alive:
            assert each.agent.is_trusted()
            assert each.agent.living <= living


@pytest.mark.parametrize("seed", range(20))
def test_a_storm_of_faults_leaves_one_coordinator_and_no_false_trust(seed: int) -> None:
    run(lambda _: _storm(Random(seed)))


def over(store: Store, node_id: str) -> ClusterAgent:
    """Return an agent over a store of whatever kind, on real time."""
    return ClusterAgent(
        store.cluster,  # type: ignore[attr-defined]
        SystemClock(),
        node_id=node_id,
        address=(f"host-{node_id}", 7611),
        heartbeat_interval=4.0,
        creation_wait=0.1,
        polling_interval=1.0,
        coordinator_address=store.members.coordinator_address,  # type: ignore[attr-defined]
        listener=Recorder(),
    )


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 20 s")


@pytest.mark.parametrize("make_shared_store", ["memory", "mariadb", "postgresql"], indirect=True)
async def test_two_agents_over_every_store_agree_and_hand_over(make_shared_store: Callable[[], Store]) -> None:
    async with AsyncExitStack() as stack:
        stores = [make_shared_store(), make_shared_store()]
        for store in stores:
            await store.open()
            stack.push_async_callback(store.close)
        a, b = (over(store, node_id) for store, node_id in zip(stores, "ab", strict=True))
        async with asyncio.TaskGroup() as tasks:
            await a.register()
            tasks.create_task(a.run())
            await until(lambda: a.fence is not None)
            await b.register()
            tasks.create_task(b.run())
            fence = a.fence
            assert fence is not None
            await until(lambda: b.coordinator == ("host-a", 7611, fence))
            await until(lambda: a.living == b.living == {a.incarnation, b.incarnation})

            assert await a.leave() == fence
            b.on_hint()
            await until(lambda: b.fence is not None and b.living == {b.incarnation})
            assert (b.known_fence.epoch, b.known_fence.term != fence.term) == (fence.epoch + 1, True)
            await b.leave()


def test_a_node_with_other_terms_does_not_start_beside_a_living_one_and_does_after_one_that_was_killed() -> None:
    async def main() -> None:
        async with agents() as cluster:
            old = await cluster.start("a", "database")
            await cluster.start("b", "database")
            with pytest.raises(TermsDiffer, match="node 'a' has 'database', this one 'peers'"):
                await cluster.start("c", "peers")
            assert "c" not in cluster.rows.nodes
            for each in cluster.incarnations:
                if each.is_running:
                    each.kill()
            began = now()
            await cluster.start("c", "peers")
            assert 10.0 <= now() - began <= 13.0
            assert old.ended is None

    run(lambda _: main())


def test_a_living_node_with_other_terms_that_can_be_called_is_not_watched_for_its_beats() -> None:
    async def main() -> None:
        async with agents() as cluster:
            await cluster.start("a", "database")
            asked: list[str] = []

            async def answers(row: NodeRow) -> bool:
                asked.append(row.incarnation)
                return True

            began = now()
            with pytest.raises(TermsDiffer, match="node 'a' has 'database', this one 'peers'"):
                await cluster.new("b", answers, "peers").agent.register()
            assert now() - began < 0.1
            assert asked == ["a-1"]

    run(lambda _: main())


async def starts(node: Started, cluster: Agents) -> str:
    """Return what keeps a node from starting; nothing if it does."""
    try:
        await node.start(cluster._tasks)
    except TermsDiffer as error:
        return str(error)
    return ""


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("apart", [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003, 0.004, 0.006, 0.01])
def test_of_two_nodes_with_different_terms_that_start_at_once_one_stays(first: str, apart: float) -> None:
    second = {"a": "b", "b": "a"}[first]
    terms = {"a": "peers", "b": "database"}

    async def main() -> None:
        async with agents() as cluster:
            nodes = {each: cluster.new(each, terms=terms[each]) for each in "ab"}
            async with asyncio.TaskGroup() as tasks:
                one = tasks.create_task(starts(nodes[first], cluster))
                await asyncio.sleep(apart)
                other = tasks.create_task(starts(nodes[second], cluster))
            refusals = {first: one.result(), second: other.result()}
            assert sum(map(bool, refusals.values())) == 1
            ended = next(each for each, refusal in refusals.items() if refusal)
            stays = {"a": "b", "b": "a"}[ended]
            assert f"node '{stays}' has '{terms[stays]}', this one '{terms[ended]}'" in refusals[ended]
            states = {each: cluster.rows.nodes[each].state for each in cluster.rows.nodes}
            assert states.pop(stays) is NodeState.UP
            assert set(states.values()) <= {NodeState.STOPPED}

    run(lambda _: main())


class View:
    """A view that sees `seen`, and says whether it is this node's turn."""

    needs_store = False

    def __init__(self, seen: str = "abc", *, is_nominated: bool = True) -> None:
        self.seen = seen
        self.turn = is_nominated

    def includes(self, member: Incarnation) -> bool:
        return member.node_id in self.seen

    def is_nominated(self, living: Collection[Incarnation]) -> bool:
        return self.turn


async def viewing(cluster: Agents, **views: View) -> list[Started]:
    """Start nodes with these views."""
    nodes = []
    for node_id, view in views.items():
        node = cluster.new(node_id)
        node.agent.view = view
        await node.start(cluster._tasks)
        nodes.append(node)
    await asyncio.sleep(5)
    return nodes


def test_only_those_that_are_seen_are_members_and_the_others_that_live_are_apart() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a, b = await viewing(cluster, a=View(""), b=View("a"))
            assert (sorted(a.agent.members), sorted(b.agent.members)) == ([], ["a"])
            assert (a.agent.size, b.agent.size) == (1, 2)
            assert {each.node_id for each in a.agent.apart} == {"b"}
            assert a.agent.living == b.agent.living
            view = a.agent.view
            assert isinstance(view, View)
            view.seen = "b"
            a.agent.on_view()
            assert (sorted(a.agent.members), a.agent.apart) == (["b"], frozenset())
            view.seen = ""
            with capture_logs() as logs:
                a.agent.on_view()
            assert [(line["event"], line["member"]) for line in logs] == [("Member left", "b")]

    run(lambda _: main())


def test_who_is_not_nominated_does_not_claim_until_it_is() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a, b = await viewing(cluster, a=View(is_nominated=False), b=View(is_nominated=False))
            await asyncio.sleep(60)
            assert [a.agent.fence, b.agent.fence] == [None, None]
            assert len(a.store.asked("read_lease")) < 60
            view = b.agent.view
            assert isinstance(view, View)
            view.turn = True
            b.agent.on_view()
            await asyncio.sleep(0.1)
            assert b.agent.fence == Fence(1, b.agent.fence.term if b.agent.fence else "")
            assert a.agent.fence is None

    run(lambda _: main())


def test_a_coordinator_that_may_not_lead_any_more_resigns_and_another_follows_at_once() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a, b = await viewing(cluster, a=View(), b=View())
            assert (a.agent.fence is not None, b.agent.fence) == (True, None)
            a.agent.may_lead = False
            a.agent.on_view()
            await asyncio.sleep(3.0)
            assert (a.agent.fence, b.agent.fence is not None) == (None, True)
            assert a.is_running
            assert a.agent.is_trusted()

    run(lambda _: main())
