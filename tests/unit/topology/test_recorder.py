"""Changes that wait together are recorded together, clients in turn; what nothing records waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from broker.codec.field_table import EMPTY_TABLE
from broker.errors import NotFound, PreconditionFailed, StoreError, StoreUnavailable
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import Change, Put
from broker.store.memory.store import MemoryStore
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration
from broker.topology.recorder import ROUND, Wakeup
from broker.topology.vhost import VirtualHost
from tests.support.composition import NodeParts, OneOfMany


class Store:
    """Records changes when it is let go on; each list in `commits` was one transaction."""

    def __init__(self) -> None:
        self.commits: list[Sequence[Change]] = []
        self.refused = "bad"
        """The name of a queue that cannot be recorded."""
        self._may_go_on = asyncio.Event()

    async def record(self, changes: Sequence[Change]) -> None:
        await self._may_go_on.wait()
        if any(isinstance(change, Put) and getattr(change.record, "name", "") == self.refused for change in changes):
            raise StoreError("no such name here")
        self.commits.append(list(changes))

    def hang(self) -> None:
        self._may_go_on.clear()

    def go_on(self) -> None:
        self._may_go_on.set()

    @property
    def queues(self) -> list[list[str]]:
        """The names of the queues that each commit has recorded or deleted."""
        return [
            [change.record.name if isinstance(change, Put) else change.key.name for change in changes]  # type: ignore[union-attr]
            for changes in self.commits
        ]


class Recording:
    """A virtual host whose store hangs until it is let go on."""

    def __init__(self, *, is_clustered: bool = False, max_queues: int = 10_000) -> None:
        self.store = Store()
        self.give_up: Callable[[], bool] = lambda: False
        self.parts = NodeParts(
            MemoryStore(), tasks=None, record=self.store.record, wait_as_client=self._wait, max_queues=max_queues
        )
        cluster = OneOfMany(Incarnation("a", "1"), self.store.record) if is_clustered else None
        self.vhost: VirtualHost = self.parts.add_vhost("/", cluster=cluster)
        self.asked: list[asyncio.Task[Any]] = []

    async def _wait(self, event: Wakeup) -> None:
        waiting = asyncio.ensure_future(event.wait())  # noqa: TID251
        while not waiting.done():
            if self.give_up():
                waiting.cancel()
                raise StoreUnavailable("away")
            await asyncio.sleep(0)

    def ask(self, change: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(change)
        self.asked.append(task)
        return task

    def declare(self, name: str, client: object = "one", *, durable: bool = True) -> asyncio.Task[Any]:
        declaration = QueueDeclaration(name, durable, False, EMPTY_TABLE, None)
        return self.ask(self.vhost.declare_queue(declaration, client=client))

    async def exchange(self, name: str, *, auto_delete: bool = False, type: str = "fanout") -> None:
        declaration = ExchangeDeclaration(name, type, True, auto_delete, False, EMPTY_TABLE)
        await self.vhost.declare_exchange(declaration)

    async def bind(self, source: str, queue: str) -> None:
        await self.vhost.bind(source, ("queue", queue), "", EMPTY_TABLE)

    async def unbind(self, source: str, queue: str) -> None:
        await self.vhost.unbind(source, ("queue", queue), "", EMPTY_TABLE)

    async def settle(self) -> None:
        """Let everything go as far as it can."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def let_go_on(self) -> list[Any]:
        """Let the store record; return what everybody who has asked gets, errors too."""
        self.store.go_on()
        return await asyncio.gather(*self.asked, return_exceptions=True)


@pytest.fixture
async def it() -> Recording:
    return Recording()


async def with_queues(it: Recording, *names: str) -> None:
    it.store.go_on()
    for name in names:
        await it.declare(name)
    await it.settle()
    it.store.commits.clear()
    it.asked.clear()
    it.store.hang()


async def test_what_comes_while_a_change_is_recorded_is_recorded_with_one_commit(it: Recording) -> None:
    for number in range(11):
        it.declare(f"q{number}")
    await it.settle()
    await it.let_go_on()

    assert it.store.queues == [["q0"], [f"q{number}" for number in range(1, 11)]]
    assert sorted(it.vhost.queues) == sorted(f"q{number}" for number in range(11))


async def test_a_round_is_bounded_and_serves_clients_in_turn(it: Recording) -> None:
    for number in range(3 * ROUND):
        it.declare(f"burst {number}", "burst")
    await it.settle()
    it.declare("mine", "another")
    await it.settle()
    await it.let_go_on()

    assert [len(queues) for queues in it.store.queues] == [1, ROUND, ROUND, ROUND]
    assert "mine" in it.store.queues[1]


async def test_maintenance_leaves_clients_half_of_a_round_and_has_the_other_half(it: Recording) -> None:
    await with_queues(it, *(f"old {number}" for number in range(2 * ROUND)))
    old = list(it.vhost.queues.values())
    for queue in old:
        it.ask(it.vhost.delete_exclusive([queue], queue))
    for number in range(2 * ROUND):
        it.declare(f"new {number}", number)
    await it.settle()
    await it.let_go_on()

    _, first, *_ = it.store.queues
    assert len([name for name in first if name.startswith("new")]) == ROUND // 2
    assert len(first) == ROUND


async def test_many_deletions_of_one_caller_take_few_commits(it: Recording) -> None:
    await with_queues(it, *(f"q{number}" for number in range(ROUND)))
    it.ask(it.vhost.delete_exclusive(list(it.vhost.queues.values())))
    await it.let_go_on()

    assert len(it.store.commits) == 1
    assert it.vhost.queues == {}


async def test_a_transient_change_that_nothing_records_waits_for_nobody(it: Recording) -> None:
    durable = it.declare("durable")
    await it.settle()
    await it.declare("transient", durable=False)
    await it.bind("amq.topic", "transient")
    assert await it.vhost.delete_queue("transient") == 0

    assert not durable.done()
    await it.let_go_on()
    assert sorted(it.vhost.queues) == ["durable"]


async def test_in_a_cluster_every_change_is_recorded() -> None:
    it = Recording(is_clustered=True)
    transient = it.declare("transient", durable=False)
    await it.settle()

    assert not transient.done()
    await it.let_go_on()
    assert it.store.queues == [["transient"]]


async def test_a_transient_change_waits_for_one_that_it_depends_on(it: Recording) -> None:
    await with_queues(it, "q")
    it.ask(it.vhost.delete_queue("q"))
    await it.settle()
    again = it.declare("q", durable=False)
    bound = it.ask(it.bind("amq.topic", "q"))
    await it.settle()

    assert not again.done()
    assert not bound.done()
    await it.let_go_on()
    assert not it.vhost.queues["q"].durable
    assert [binding.destination for binding in it.vhost.exchanges["amq.topic"].bindings] == [("queue", "q")]


async def test_a_queue_that_two_delete_at_once_is_deleted_once(it: Recording) -> None:
    await with_queues(it, "q", "other")
    it.declare("first")
    await it.settle()
    for client in ("one", "two"):
        it.ask(it.vhost.delete_queue("q", client=client))
    await it.settle()

    _, *counts = await it.let_go_on()
    assert counts == [0, 0]
    assert it.store.queues == [["first"], ["q"]]


async def test_an_exchange_that_two_declare_differently_is_as_the_first_wanted_it(it: Recording) -> None:
    it.declare("first")
    await it.settle()
    for type_ in ("fanout", "topic"):
        it.ask(it.exchange("x", type=type_))
    await it.settle()

    *_, first, second = await it.let_go_on()
    assert first is None
    assert isinstance(second, PreconditionFailed)
    assert it.vhost.exchanges["x"].type == "fanout"


async def test_a_binding_that_two_make_at_once_is_one(it: Recording) -> None:
    await with_queues(it, "q")
    it.declare("first")
    await it.settle()
    for _ in range(2):
        it.ask(it.bind("amq.topic", "q"))
    await it.settle()
    await it.let_go_on()

    assert len(it.store.commits) == 2
    assert len(it.vhost.exchanges["amq.topic"].bindings) == 1


@pytest.mark.parametrize("is_deleted", [False, True], ids=["unbound", "deleted"])
async def test_an_auto_delete_exchange_that_loses_its_last_bindings_at_once_is_deleted(
    it: Recording, is_deleted: bool
) -> None:
    await with_queues(it, "q", "r")
    it.store.go_on()
    await it.exchange("x", auto_delete=True)
    await it.bind("x", "q")
    await it.bind("x", "r")
    it.store.hang()
    it.declare("first")
    await it.settle()
    for queue in ("q", "r"):
        it.ask(it.vhost.delete_queue(queue) if is_deleted else it.unbind("x", queue))
    await it.settle()
    await it.let_go_on()

    assert "x" not in it.vhost.exchanges


async def test_a_binding_to_a_queue_that_is_being_deleted_is_refused(it: Recording) -> None:
    await with_queues(it, "q")
    it.declare("first")
    await it.settle()
    it.ask(it.vhost.delete_queue("q"))
    it.ask(it.bind("amq.topic", "q"))
    await it.settle()

    *_, bound = await it.let_go_on()
    assert isinstance(bound, NotFound)


async def test_no_round_makes_more_queues_than_are_allowed() -> None:
    it = Recording(max_queues=5)
    for number in range(9):
        it.declare(f"q{number}", durable=number % 2 == 0)
    await it.settle()
    answers = await it.let_go_on()

    assert len(it.vhost.queues) == 5
    assert sum(isinstance(answer, PreconditionFailed) for answer in answers) == 4


async def test_a_change_that_cannot_be_recorded_fails_alone(it: Recording) -> None:
    it.declare("first")
    await it.settle()
    for name in ("a", "bad", "b"):
        it.declare(name)
    await it.settle()

    _, a, bad, b = await it.let_go_on()
    assert [a.name, b.name] == ["a", "b"]
    assert isinstance(bad, StoreError)
    assert sorted(it.vhost.queues) == ["a", "b", "first"]


async def test_a_client_that_gives_up_waiting_has_changed_nothing_unless_it_is_being_recorded(it: Recording) -> None:
    first = it.declare("first")
    await it.settle()
    second = it.declare("second")
    await it.settle()
    it.give_up = lambda: True
    await it.settle()

    assert isinstance(second.exception(), StoreUnavailable)
    assert not first.done()
    it.give_up = lambda: False
    await it.let_go_on()
    assert it.store.queues == [["first"]]


async def test_others_go_on_when_the_one_that_records_is_cancelled(it: Recording) -> None:
    first = it.declare("first")
    await it.settle()
    it.declare("second")
    await it.settle()
    first.cancel()
    await it.settle()
    await it.let_go_on()

    assert it.store.queues == [["first", "second"]] or it.store.queues == [["second"]]
    assert "second" in it.vhost.queues


async def test_who_waits_is_served_when_one_that_was_to_record_is_cancelled(it: Recording) -> None:
    first, second, third = (it.declare(name) for name in ("first", "second", "third"))
    await it.settle()
    second.cancel()
    third.cancel()
    fourth = it.declare("fourth")
    await it.let_go_on()

    assert first.result().name == "first"
    assert fourth.result().name == "fourth"
    assert it.store.queues == [["first"], ["fourth"]]
