"""Who consumes what, as WSO2's console lists it (docs/jms.md)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicCancel,
    BasicConsume,
    BasicPublish,
    ChannelClose,
    QueueBind,
    QueueDeclare,
)
from broker.codec.properties import BasicProperties
from broker.errors import AdministrationError, CoordinationError, PreconditionFailed
from broker.topology.subscription_list import (
    ConsumersElsewhere,
    FoundSubscriptions,
    SeenConsumer,
    Subscription,
    SubscriptionList,
    WantedSubscriptions,
)
from tests.support.harness import Client, Harness
from tests.support.topology_node import Company

ADDRESS = "127.0.0.1:50000"


class Desk:
    """An administrator of a node to which clients of JMS are connected."""

    def __init__(self) -> None:
        self.harness = Harness()
        broker = self.harness.broker
        self.list = SubscriptionList(broker.vhosts, lambda: broker.open_connections, "n1", self.harness.turns.next)

    def client(self, *capabilities: str) -> Client:
        return self.harness.peer(capabilities=capabilities, vhost="carbon")

    def do(self, action: Coroutine[Any, Any, Any]) -> Any:
        """Carry it out; return its result, or raise its error."""
        outcome: list[Any] = []

        async def carry_out() -> None:
            try:
                outcome.append(await action)
            except Exception as error:
                outcome.append(error)

        self.harness.stage.spawn(carry_out())
        self.harness.run()
        [result] = outcome
        if isinstance(result, Exception):
            raise result
        return result

    def listed(self, **wanted: Any) -> list[Subscription]:
        found: FoundSubscriptions = self.do(self.list.listed("carbon", WantedSubscriptions(**wanted)))
        return list(found.rows)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def subscribe(peer: Client, queue: str, topic: str, *, durable: bool, selector: str = "", tag: str = "1") -> None:
    peer.call(1, QueueDeclare(queue=queue, durable=durable, exclusive=True, auto_delete=not durable))
    arguments = FieldTable.of({"x-filter-jms-selector": selector})
    peer.call(1, QueueBind(queue=queue, exchange="amq.topic", routing_key=topic, arguments=arguments))
    peer.call(1, BasicConsume(queue=queue, consumer_tag=tag, exclusive=True))


def test_consumers_of_queues_and_subscribers_of_topics_are_listed(desk: Desk) -> None:
    peer = desk.client()
    peer.call(1, QueueDeclare(queue="q", durable=True))
    peer.call(1, BasicConsume(queue="q", consumer_tag="1"))
    subscribe(peer, "tmp_1", "news.#", durable=False, tag="2")
    subscribe(peer, "carbon:s", "news", durable=True, selector="a = 1", tag="3")
    assert desk.listed() == [
        Subscription(
            f"carbon:s@n1/{ADDRESS}/1/3", "durable", "carbon", "carbon:s", "news", "amq.topic", "a = 1",
            True, True, "n1", ADDRESS, 0,
        ),
        Subscription(
            f"q@n1/{ADDRESS}/1/1", "queue", "carbon", "q", "q", "amq.direct", "", True, True, "n1", ADDRESS, 0
        ),
        Subscription(
            f"tmp_1@n1/{ADDRESS}/1/2", "topic", "carbon", "tmp_1", "news.#", "amq.topic", "",
            False, True, "n1", ADDRESS, 0,
        ),
    ]  # fmt: skip
    assert [each.queue for each in desk.listed(kind="topic")] == ["tmp_1"]
    assert [each.queue for each in desk.listed(queue="q")] == ["q"]
    assert [each.queue for each in desk.listed(after="carbon:s@z", limit=1)] == ["q"]
    assert desk.do(desk.list.listed("/")) == FoundSubscriptions([], ())


def test_a_durable_subscription_without_a_consumer_is_listed_with_what_waits(desk: Desk) -> None:
    peer = desk.client()
    subscribe(peer, "carbon:s", "news", durable=True)
    peer.call(1, BasicCancel("1"))
    peer.send(1, BasicPublish(0, "amq.topic", "news"), BasicProperties(), b"m")
    [found] = desk.listed()
    assert (found.id, found.is_active, found.node, found.origin, found.pending) == ("carbon:s@", False, "", "", 1)


def test_what_is_asked_for_is_checked(desk: Desk) -> None:
    with pytest.raises(AdministrationError, match="there is no virtual host 'none'"):
        desk.do(desk.list.listed("none"))
    with pytest.raises(AdministrationError, match="as many as 1 to 10000"):
        desk.listed(limit=0)


@pytest.mark.parametrize(
    ("capabilities", "told"),
    [
        (("consumer_cancel_notify",), BasicCancel("1", True)),
        ((), ChannelClose(406, "PRECONDITION_FAILED - subscription closed by an administrator", 60, 20)),
    ],
)
def test_a_subscription_is_closed_and_its_client_told(desk: Desk, capabilities: tuple[str, ...], told: object) -> None:
    peer = desk.client(*capabilities)
    subscribe(peer, "carbon:s", "news", durable=True)
    desk.do(desk.list.close("carbon", f"carbon:s@n1/{ADDRESS}/1/1"))
    assert peer.received() == [(1, told)]
    [found] = desk.listed()
    assert not found.is_active
    with pytest.raises(AdministrationError, match="there is no active subscription 'carbon:s@'"):
        desk.do(desk.list.close("carbon", "carbon:s@"))


def test_a_subscriber_that_is_not_durable_ends_with_its_consumer(desk: Desk) -> None:
    subscribe(desk.client(), "tmp_1", "news", durable=False)
    desk.do(desk.list.close("carbon", f"tmp_1@n1/{ADDRESS}/1/1"))
    assert (desk.listed(), "tmp_1" in desk.harness.broker.vhosts["carbon"].queues) == ([], False)


def test_a_durable_subscription_is_deleted_when_nobody_consumes_it(desk: Desk) -> None:
    peer = desk.client()
    subscribe(peer, "carbon:s", "news", durable=True)
    peer.call(1, QueueDeclare(queue="q", durable=True))
    with pytest.raises(PreconditionFailed, match="in use"):
        desk.do(desk.list.delete("carbon", "carbon:s"))
    with pytest.raises(AdministrationError, match="there is no durable subscription 'q'"):
        desk.do(desk.list.delete("carbon", "q"))
    peer.call(1, BasicCancel("1"))
    peer.send(1, BasicPublish(0, "amq.topic", "news"), BasicProperties(), b"m")
    assert desk.do(desk.list.delete("carbon", "carbon:s")) == 1
    assert desk.listed() == []


async def _now() -> None:
    return


class TwoNodes:
    """The list of node b, beside a node a that has consumers."""

    def __init__(self) -> None:
        self.company = Company()
        self.told: list[SeenConsumer] = []
        self.is_silent = False
        self.asked: list[tuple[str, WantedSubscriptions]] = []
        self.closed: list[tuple[str, str, str]] = []

    async def elsewhere(self, vhost: str, wanted: WantedSubscriptions) -> ConsumersElsewhere:
        self.asked.append((vhost, wanted))
        return (
            ConsumersElsewhere({}, ("a",)) if self.is_silent else ConsumersElsewhere({"a": self.told[: wanted.limit]})
        )

    async def begin(self) -> SubscriptionList:
        a, b = await self.company.node("a"), await self.company.node("b")
        await a.declare("q")
        await a.declare("own", owner=object(), auto_delete=True)
        await a.consume("q")
        self.told = [SeenConsumer("own", "10.0.0.1:5000", 1, "1"), SeenConsumer("q", "10.0.0.1:5000", 2, "t")]
        return SubscriptionList({"/": b.vhost}, lambda: (), "b", _now, self.elsewhere, self.close_there)

    async def close_there(self, node_id: str, vhost: str, subscription_id: str) -> bool:
        if self.is_silent:
            raise CoordinationError("no answer")
        self.closed.append((node_id, vhost, subscription_id))
        return subscription_id.endswith("/t")


def shown(found: FoundSubscriptions) -> list[tuple[str, bool, str, str]]:
    return [(each.id, each.is_active, each.node, each.origin) for each in found.rows]


async def test_consumers_of_other_nodes_are_listed_one_by_one() -> None:
    nodes = TwoNodes()
    listing = await nodes.begin()
    found = await listing.listed("/")
    assert shown(found) == [
        ("own@a/10.0.0.1:5000/1/1", True, "a", "10.0.0.1:5000"),
        ("q@a/10.0.0.1:5000/2/t", True, "a", "10.0.0.1:5000"),
    ]
    assert (found.silent, nodes.asked) == ((), [("/", WantedSubscriptions())])
    await listing.close("/", "q@a/10.0.0.1:5000/2/t")
    with pytest.raises(AdministrationError, match="there is no active subscription 'q@a/"):
        await listing.close("/", "q@a/10.0.0.1:5000/2/u")
    assert [each[:2] for each in nodes.closed] == [("a", "/")] * 2


async def test_of_a_node_that_does_not_answer_it_is_told_which_queues_it_has_consumers_of() -> None:
    nodes = TwoNodes()
    listing = await nodes.begin()
    nodes.is_silent = True
    found = await listing.listed("/")
    assert shown(found) == [("own@a", True, "a", ""), ("q@a", True, "a", "")]
    assert found.silent == ("a",)
    with pytest.raises(AdministrationError, match="'q@a' stands for what node 'a' has not told of: list"):
        await listing.close("/", "q@a")
    with pytest.raises(CoordinationError, match="no answer"):
        await listing.close("/", "q@a/10.0.0.1:5000/2/t")
    with pytest.raises(AdministrationError, match="there is no active subscription 'q@c'"):
        await listing.close("/", "q@c")


async def test_what_a_full_answer_of_a_node_did_not_reach_is_told_as_recorded() -> None:
    nodes = TwoNodes()
    listing = await nodes.begin()
    assert shown(await listing.listed("/", WantedSubscriptions(limit=1))) == [
        ("own@a/10.0.0.1:5000/1/1", True, "a", "10.0.0.1:5000")
    ]
    nodes.told = nodes.told[:1] * 2
    assert ("q@a", True, "a", "") in shown(await listing.listed("/", WantedSubscriptions(limit=2, after="p")))


def test_a_node_tells_others_of_its_own_consumers(desk: Desk) -> None:
    peer = desk.client()
    peer.call(1, QueueDeclare(queue="q"))
    peer.call(1, BasicConsume(queue="q", consumer_tag="1"))
    subscribe(peer, "carbon:s", "news", durable=True, tag="2")
    both = [SeenConsumer("carbon:s", ADDRESS, 1, "2"), SeenConsumer("q", ADDRESS, 1, "1")]
    assert desk.do(desk.list.consumers("carbon", WantedSubscriptions())) == both
    assert desk.do(desk.list.consumers("carbon", WantedSubscriptions(limit=1))) == both[:1]
    assert desk.do(desk.list.consumers("carbon", WantedSubscriptions(kind="queue"))) == both[1:]
    assert desk.do(desk.list.consumers("carbon", WantedSubscriptions(after="carbon:t"))) == both[1:]
    assert desk.do(desk.list.consumers("none", WantedSubscriptions())) == []
