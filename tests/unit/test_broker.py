"""The broker's batches of work, and what only shows when its parts work together on a whole node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from broker.broker import Broker
from broker.codec import methods as amqp
from broker.codec.properties import BasicProperties
from broker.errors import NotAllowed
from broker.ports.cluster import NoOtherNodes
from broker.queue.settings import QueueLimits
from broker.store.journal_limits import JournalLimits
from broker.store.memory.store import MemoryState, MemoryStore
from tests.support.composition import new_broker
from tests.support.node_in_process import Client, NodeInProcess, UnhurriedStore, turns

PERSISTENT = BasicProperties(delivery_mode=2)
NOTHING: Any = None


class Dispatched:
    """A queue that notes its dispatches, and touches another one with the first."""

    def __init__(self, log: list[str], name: str, broker: Broker | None = None, other: Any = None) -> None:
        self._log = log
        self._name = name
        self._broker = broker
        self._other = other

    def dispatch(self) -> bool:
        self._log.append(self._name)
        if self._broker is not None:
            self._broker.touched.add(self._other)
            self._broker = None
        return False


class Confirms:
    def __init__(self, log: list[str]) -> None:
        self._log = log

    def flush(self) -> None:
        self._log.append("confirms")


def broker() -> Broker:
    return new_broker()


def test_queues_are_dispatched_before_confirms_go_out() -> None:
    it, log = broker(), list[str]()
    it.touched_confirms.add(Confirms(log))
    it.touched.add(Dispatched(log, "orders"))  # type: ignore[arg-type]
    it.dispatch()
    it.dispatch()
    assert log == ["orders", "confirms"]


def test_a_queue_touched_by_a_dispatch_is_dispatched_too() -> None:
    it, log = broker(), list[str]()
    it.touched.add(Dispatched(log, "orders", it, Dispatched(log, "invoices")))  # type: ignore[arg-type]
    it.dispatch()
    assert log == ["orders", "invoices"]


def test_a_virtual_host_is_found_with_a_slash_before_its_name() -> None:
    it = broker()
    it.vhosts["carbon"] = carbon = object()  # type: ignore[assignment]
    assert it.vhost("/carbon") is it.vhost("carbon") is carbon


def test_an_unknown_virtual_host_is_refused() -> None:
    with pytest.raises(NotAllowed, match="vhost nowhere not found"):
        broker().vhost("nowhere")


async def start(state: MemoryState) -> NodeInProcess:
    limits = QueueLimits(memory=4096, transient_memory=4096, window_size=3, read_ahead=2)
    store: Any = UnhurriedStore(MemoryStore(state))
    node = NodeInProcess(store, queue_limits=limits, journal_limits=JournalLimits(), clock=count())
    await node.open()
    await node.start()
    return node


@pytest.fixture
async def node() -> AsyncIterator[NodeInProcess]:
    made = await start(MemoryState())
    yield made
    await made.crash()


async def settle(node: NodeInProcess) -> None:
    while await node.step():
        pass


def open_channel(node: NodeInProcess) -> Client:
    client = node.connect()
    client.send(1, amqp.ChannelOpen())
    return client


def bodies(client: Client) -> list[bytes]:
    return [content.body for _, _, content in client.receive() if content is not None]


async def test_acknowledging_frees_shared_credit_for_every_consumer_of_the_channel(node: NodeInProcess) -> None:
    client = open_channel(node)
    for queue in ("orders", "invoices"):
        client.send(1, amqp.QueueDeclare(queue=queue))
        await settle(node)
        client.send(1, amqp.BasicPublish(routing_key=queue), body=queue.encode())
    client.send(1, amqp.BasicQos(prefetch_count=1, global_=True))
    client.send(1, amqp.BasicConsume(queue="orders"))
    client.send(1, amqp.BasicConsume(queue="invoices"))
    assert bodies(client) == [b"orders"]
    client.send(1, amqp.BasicAck(1))
    assert bodies(client) == [b"invoices"]


async def test_an_ack_that_is_not_committed_frees_no_credit(node: NodeInProcess) -> None:
    client = open_channel(node)
    client.send(1, amqp.QueueDeclare(queue="orders"))
    await settle(node)
    client.send(1, amqp.BasicQos(prefetch_count=1, global_=True))
    client.send(1, amqp.BasicConsume(queue="orders"))
    client.send(1, amqp.BasicPublish(routing_key="orders"), body=b"one")
    client.send(1, amqp.TxSelect())
    client.send(1, amqp.BasicAck(1))
    open_channel(node).send(1, amqp.BasicPublish(routing_key="orders"), body=b"two")
    assert bodies(client) == [b"one"]


async def test_a_deleted_queue_leaves_nothing_of_what_was_paged_out_unwritten(node: NodeInProcess) -> None:
    client = open_channel(node)
    client.send(1, amqp.QueueDeclare(queue="orders", durable=True))
    await settle(node)
    for _ in range(20):
        client.send(1, amqp.BasicPublish(routing_key="orders"), PERSISTENT, b"hello")
    client.send(1, amqp.QueueDelete(queue="orders"))
    await settle(node)
    assert await node.store.backlog() == []


async def test_a_deleted_queue_leaves_nothing_of_what_was_delivered_before_it_was_written(
    node: NodeInProcess,
) -> None:
    client = open_channel(node)
    client.send(1, amqp.QueueDeclare(queue="orders", durable=True))
    await settle(node)
    client.send(1, amqp.BasicConsume(queue="orders"))
    client.send(1, amqp.BasicPublish(routing_key="orders"), PERSISTENT, b"hello")
    client.send(1, amqp.QueueDelete(queue="orders"))
    client.send(1, amqp.ChannelClose(200, "done", 0, 0))
    await settle(node)
    assert await node.store.backlog() == []


async def test_what_is_given_back_when_the_node_stops_goes_to_no_consumer_that_is_stopped_too() -> None:
    state = MemoryState()
    node = await start(state)
    first, second = open_channel(node), open_channel(node)
    first.send(1, amqp.QueueDeclare(queue="orders", durable=True))
    await settle(node)
    first.send(1, amqp.BasicConsume(queue="orders"))
    first.send(1, amqp.BasicPublish(routing_key="orders"), PERSISTENT, b"hello")
    second.send(1, amqp.BasicConsume(queue="orders", no_ack=True))
    await settle(node)
    await node.stop([first, second])
    again = await start(state)
    assert again.queues["orders"].ready_count == 1
    await again.crash()


async def test_a_crash_with_much_in_slots_is_still_known_after_an_orderly_restart() -> None:
    state = MemoryState()
    node = await start(state)
    client = open_channel(node)
    client.send(1, amqp.QueueDeclare(queue="orders", durable=True))
    await settle(node)
    for _ in range(20):
        client.send(1, amqp.BasicPublish(routing_key="orders"), PERSISTENT, b"hello")
    client.send(1, amqp.BasicConsume(queue="orders"))
    await settle(node)
    await node.crash()
    second = await start(state)
    await second.stop([])
    third = await start(state)
    client = open_channel(third)
    client.send(1, amqp.BasicConsume(queue="orders"))
    await settle(third)
    deliveries = [method for _, method, content in client.receive() if content is not None]
    assert [getattr(method, "redelivered", None) for method in deliveries] == [True] * 20
    await third.crash()


class Trust(NoOtherNodes):
    """A cluster that may have taken over what this node has."""

    __slots__ = ("is_there",)

    def __init__(self, node: NodeInProcess | None = None) -> None:
        nothing: Any = None
        super().__init__(nothing, node.journal.forget if node is not None else nothing)
        self.is_there = True
        if node is not None:
            node.broker._cluster = self

    def is_trusted(self) -> bool:
        return self.is_there


async def test_nothing_is_delivered_while_another_node_may_have_taken_over_and_all_of_it_after(
    node: NodeInProcess,
) -> None:
    trust = Trust(node)
    client = open_channel(node)
    client.send(1, amqp.QueueDeclare(queue="orders", durable=True))
    await settle(node)
    client.send(1, amqp.BasicConsume(queue="orders"))
    client.receive()
    trust.is_there = False
    client.send(1, amqp.BasicPublish(routing_key="orders"), PERSISTENT, b"one")
    client.send(1, amqp.BasicPublish(routing_key="orders"), body=b"two")
    await settle(node)
    assert bodies(client) == []
    trust.is_there = True
    node.broker.dispatch()
    assert bodies(client) == [b"one", b"two"]


async def test_a_get_without_trust_finds_nothing(node: NodeInProcess) -> None:
    trust = Trust(node)
    client = open_channel(node)
    client.send(1, amqp.QueueDeclare(queue="orders"))
    await settle(node)
    client.send(1, amqp.BasicPublish(routing_key="orders"), body=b"one")
    client.receive()
    trust.is_there = False
    client.send(1, amqp.BasicGet(queue="orders"))
    await settle(node)
    assert [method for _, method, _ in client.receive()] == [amqp.BasicGetEmpty()]
    trust.is_there = True
    client.send(1, amqp.BasicGet(queue="orders"))
    assert bodies(client) == [b"one"]


def test_confirms_go_out_without_trust() -> None:
    it, log = broker(), list[str]()
    it._cluster = trust = Trust()
    trust.is_there = False
    it.touched_confirms.add(Confirms(log))
    it.touched.add(Dispatched(log, "orders"))  # type: ignore[arg-type]
    assert not it.dispatch()
    assert (log, len(it.touched)) == (["confirms"], 1)


async def publish(node: NodeInProcess, client: Client, count: int) -> list[int]:
    """Publish to a new queue, orders; return the ids of its messages."""
    client.send(1, amqp.QueueDeclare(queue="orders", durable=True))
    await settle(node)
    for _ in range(count):
        client.send(1, amqp.BasicPublish(routing_key="orders"), PERSISTENT, b"hello")
    await settle(node)
    return [message.id for message in node.queues["orders"].ready]


async def test_what_clients_hold_is_what_was_delivered_and_not_settled(node: NodeInProcess) -> None:
    first, second = open_channel(node), open_channel(node)
    ids = await publish(node, first, 4)
    second.send(1, amqp.BasicGet(queue="orders"))
    first.send(1, amqp.BasicQos(prefetch_count=2))
    first.send(1, amqp.BasicConsume(queue="orders"))
    assert node.broker.held_ids(node.queues["orders"]) == ids[:3]
    first.send(1, amqp.BasicQos(prefetch_count=1))
    first.send(1, amqp.BasicAck(1))
    assert node.broker.held_ids(node.queues["orders"]) == [ids[0], ids[2]]
    second.lose()
    await settle(node)
    assert ids[0] not in node.broker.held_ids(node.queues["orders"])


async def test_what_was_delivered_without_acknowledgement_is_held_by_nobody(node: NodeInProcess) -> None:
    client = open_channel(node)
    await publish(node, client, 2)
    client.send(1, amqp.BasicGet(queue="orders", no_ack=True))
    client.send(1, amqp.BasicConsume(queue="orders", no_ack=True))
    assert node.broker.held_ids(node.queues["orders"]) == []


async def test_messages_of_other_queues_are_not_named(node: NodeInProcess) -> None:
    client = open_channel(node)
    (message_id,) = await publish(node, client, 1)
    client.send(1, amqp.QueueDeclare(queue="invoices"))
    await settle(node)
    client.send(1, amqp.BasicPublish(routing_key="invoices"), body=b"hello")
    for queue in ("orders", "invoices"):
        client.send(1, amqp.BasicGet(queue=queue))
    assert node.broker.held_ids(node.queues["orders"]) == [message_id]


async def test_what_a_transaction_is_to_settle_is_held_until_the_commit(node: NodeInProcess) -> None:
    client = open_channel(node)
    ids = await publish(node, client, 3)
    client.send(1, amqp.TxSelect())
    for _ in range(3):
        client.send(1, amqp.BasicGet(queue="orders"))
    client.send(1, amqp.BasicAck(1))
    client.send(1, amqp.BasicReject(2, True))
    assert node.broker.held_ids(node.queues["orders"]) == ids
    client.send(1, amqp.TxRollback())
    assert node.broker.held_ids(node.queues["orders"]) == ids
    client.send(1, amqp.BasicAck(1))
    client.send(1, amqp.TxCommit())
    await settle(node)
    assert node.broker.held_ids(node.queues["orders"]) == ids[1:]


async def test_what_a_transaction_gives_back_may_not_be_given_to_other_nodes_during_its_commit(
    node: NodeInProcess,
) -> None:
    client = open_channel(node)
    ids = await publish(node, client, 2)
    client.send(1, amqp.TxSelect())
    for _ in range(2):
        client.send(1, amqp.BasicGet(queue="orders"))
    client.send(1, amqp.BasicAck(1))
    client.send(1, amqp.BasicReject(2, True))
    client.send(1, amqp.TxCommit())
    await turns(1)
    queue = node.queues["orders"]
    assert queue.ready_count == 0
    assert queue._window.open_transactions or ids[1] in node.broker.held_ids(queue)
