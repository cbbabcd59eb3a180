"""The dead letter channel of a virtual host with the dialect `wso2` (docs/jms.md), as clients see it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.amqp.wso2_methods import Bound
from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicConsume,
    BasicGet,
    BasicGetOk,
    BasicQos,
    BasicRecover,
    BasicReject,
    ChannelClose,
    ChannelOpen,
    ExchangeBound,
    ExchangeBoundOk,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.ports.slot import ALL_LANES, Slot
from broker.queue.queue import Queue
from broker.topology.dialect import WSO2, ChannelRules
from tests.support.harness import Client, Harness
from tests.support.stage import drive

CHANNEL = "deadletterchannel"
PERSISTENT = BasicProperties(delivery_mode=2)
ATTEMPTS = 10


@pytest.fixture
def peer(harness: Harness) -> Client:
    peer = harness.peer(capabilities=(), vhost="carbon")
    peer.call(1, QueueDeclare(queue="q", durable=True))
    return peer


def with_rules(harness: Harness, **rules: Any) -> Client:
    """Return a client of a virtual host in which these rules hold."""
    harness.parts.add_vhost("carbon", dialect=replace(WSO2, channel=ChannelRules(**rules)))
    peer = harness.peer(capabilities=(), vhost="carbon")
    peer.call(1, QueueDeclare(queue="q", durable=True))
    return peer


def queue_named(harness: Harness, name: str) -> Queue:
    return harness.broker.vhosts["carbon"].queues[name]


def send(peer: Client, *bodies: bytes, properties: BasicProperties = PERSISTENT) -> None:
    peer.publish("q", *bodies, exchange="amq.direct", properties=properties)


def get(peer: Client, queue: str = "q") -> int:
    answer = peer.call(1, BasicGet(queue=queue))
    assert isinstance(answer, BasicGetOk), f"{queue} is empty"
    return answer.delivery_tag


def give_back(harness: Harness, peer: Client, times: int) -> None:
    for _ in range(times):
        peer.send(1, BasicReject(get(peer), requeue=True))
        harness.commit()


def depth(harness: Harness, queue: str = "q") -> int:
    return queue_named(harness, queue).ready_count


def headers_in(peer: Client, queue: str) -> dict[str, Any]:
    peer.contents()
    peer.send(1, BasicAck(get(peer, queue)))
    [content] = peer.contents()
    assert content.properties.headers is not None
    return dict(content.properties.headers.values)


# When a message goes there


def test_the_twelfth_delivery_is_to_the_dead_letter_channel(harness: Harness, peer: Client) -> None:
    send(peer, b"poison", b"next")
    harness.commit()
    give_back(harness, peer, ATTEMPTS)
    assert depth(harness) == 2
    give_back(harness, peer, 1)
    harness.commit()
    assert (depth(harness), depth(harness, CHANNEL)) == (1, 1)
    assert queue_named(harness, CHANNEL).is_stored
    get(peer, CHANNEL)
    [*_, dead] = peer.contents()
    assert dead.body == b"poison"
    method = dead.method
    assert isinstance(method, BasicGetOk)
    assert (method.exchange, method.routing_key, method.redelivered) == ("amq.direct", "q", False)


def test_a_rejected_message_goes_there_at_once(harness: Harness, peer: Client) -> None:
    send(peer, b"m")
    peer.send(1, BasicReject(get(peer), requeue=False))
    harness.commit()
    assert depth(harness, CHANNEL) == 1


@pytest.mark.parametrize("attempts", [0, 2])
def test_how_often_is_configured(harness: Harness, attempts: int) -> None:
    peer = with_rules(harness, redeliveries=attempts)
    send(peer, b"m")
    give_back(harness, peer, attempts)
    assert depth(harness) == 1
    give_back(harness, peer, 1)
    harness.commit()
    assert (depth(harness), depth(harness, CHANNEL)) == (0, 1)


def test_a_transaction_gives_back_at_once_and_that_counts(harness: Harness) -> None:
    peer = with_rules(harness, redeliveries=0)
    send(peer, b"m")
    harness.commit()
    peer.call(1, TxSelect())
    peer.send(1, BasicReject(get(peer), requeue=True))
    harness.commit()
    assert depth(harness, CHANNEL) == 1


def test_a_queue_keeps_what_its_arguments_say(harness: Harness, peer: Client) -> None:
    own = {"x-delivery-limit": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
    peer.call(1, QueueDeclare(queue="own", durable=True, arguments=FieldTable.of(own)))
    peer.publish("own", b"m", properties=PERSISTENT)
    peer.send(1, BasicReject(get(peer, "own"), requeue=True))
    harness.commit()
    assert (depth(harness), CHANNEL in harness.broker.vhosts["carbon"].queues) == (1, False)


def test_queues_of_one_connection_send_nothing_there(harness: Harness, peer: Client) -> None:
    peer.call(1, QueueDeclare(queue="own", exclusive=True))
    peer.publish("own", b"m")
    peer.send(1, BasicReject(get(peer, "own"), requeue=False))
    assert CHANNEL not in harness.broker.vhosts["carbon"].queues


def test_other_virtual_hosts_have_no_such_channel(harness: Harness) -> None:
    peer = harness.peer()
    peer.call(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", b"m", properties=PERSISTENT)
    peer.send(1, BasicReject(get(peer), requeue=False))
    harness.commit()
    assert list(harness.vhost.queues) == ["q"]
    assert harness.vhost.queues["q"].settings.delivery_limit is None


def test_the_count_is_in_the_store(harness: Harness, peer: Client) -> None:
    send(peer, b"m")
    harness.commit()
    give_back(harness, peer, 3)
    queue = queue_named(harness, "q")
    [stored] = drive(harness.store.read(queue, Slot(queue.queue_id, ALL_LANES, 0, (1 << 63) - 1, 1), 1, 1000))
    assert stored.redelivered == 3


# What counts


def consuming(peer: Client, prefetch: int = 500) -> None:
    peer.call(1, BasicQos(prefetch_count=prefetch))
    peer.send(1, BasicConsume(queue="q", consumer_tag="1"))


def counts(harness: Harness) -> list[int]:
    return [message.redelivered for message in queue_named(harness, "q").ready]


def test_what_comes_back_after_a_cancel_does_not_count(harness: Harness, peer: Client) -> None:
    send(peer, b"a", b"b")
    for first in range(1, 2 * ATTEMPTS, 2):
        consuming(peer)
        peer.call(1, BasicCancel("1"))
        for tag in (first, first + 1):
            peer.send(1, BasicReject(tag, requeue=True))
        assert counts(harness) == [1, 1]


def test_what_comes_back_by_the_end_of_a_channel_does_not_count(harness: Harness, peer: Client) -> None:
    send(peer, b"a", b"b")
    for _ in range(2 * ATTEMPTS):
        consuming(peer)
        peer.call(1, ChannelClose(200, "", 0, 0))
        assert counts(harness) == [1, 1]
        peer.call(1, ChannelOpen())


def test_of_a_recover_after_rejects_only_the_rejects_count(harness: Harness, peer: Client) -> None:
    send(peer, b"a", b"b")
    consuming(peer)
    tags = iter(range(1, 100, 3))  # both, and the first one again after its reject
    for tag in (next(tags) for _ in range(3)):
        peer.send(1, BasicReject(tag, requeue=True))
        peer.send(1, BasicRecover(requeue=False))
    peer.call(1, ChannelClose(200, "", 0, 0))
    assert counts(harness) == [3, 1]


def test_a_recover_alone_counts_all_that_it_gives_back(harness: Harness, peer: Client) -> None:
    send(peer, b"a", b"b")
    consuming(peer)
    for _ in range(3):
        peer.send(1, BasicRecover(requeue=False))
    peer.call(1, ChannelClose(200, "", 0, 0))
    assert counts(harness) == [3, 3]


# What is told of it


def test_headers_say_what_has_happened_without_an_array(harness: Harness, peer: Client) -> None:
    own = FieldTable.of({"color": "red", "x-death": [{"queue": "other"}]})
    send(peer, b"m", properties=replace(PERSISTENT, headers=own))
    peer.send(1, BasicReject(get(peer), requeue=False))
    harness.commit()
    headers = headers_in(peer, CHANNEL)
    assert headers.pop("x-first-death-time") == headers.pop("x-last-death-time")
    assert headers == {
        "color": "red",
        "JMSXDeliveryCount": 1,
        "x-death-count": 1,
        "x-first-death-queue": "q",
        "x-first-death-reason": "rejected",
        "x-first-death-exchange": "amq.direct",
        "x-last-death-queue": "q",
        "x-last-death-reason": "rejected",
        "x-last-death-exchange": "amq.direct",
    }


def test_each_delivery_tells_its_number_and_the_store_does_not_know_it(harness: Harness, peer: Client) -> None:
    send(peer, b"m", properties=replace(PERSISTENT, headers=FieldTable.of({"color": "red"})))
    stored = [message.header for message in queue_named(harness, "q").ready]
    consuming(peer, prefetch=1)
    for tag in (1, 2):
        peer.send(1, BasicReject(tag, requeue=True))
    tables = [content.properties.headers for content in peer.contents()]
    assert [table.values["JMSXDeliveryCount"] for table in tables if table] == [1, 2, 3]
    assert {table.types["JMSXDeliveryCount"] for table in tables if table} == {"signedint"}
    peer.call(1, ChannelClose(200, "", 0, 0))
    assert [message.header for message in queue_named(harness, "q").ready] == stored


def test_queues_with_their_own_exchange_do_not_send_letters_in_circles(harness: Harness, peer: Client) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        own = {"x-message-ttl": 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": other}
        peer.call(1, QueueDeclare(queue=name, durable=True, arguments=FieldTable.of(own)))
    peer.publish("a", b"m")
    harness.pass_time(1.1)
    assert (depth(harness, "a"), depth(harness, "b")) == (0, 1)
    harness.pass_time(1.1)
    assert (depth(harness, "a"), depth(harness, "b")) == (0, 0)


# What has expired


@pytest.mark.parametrize(("moves_expired", "dead"), [(False, 0), (True, 1)])
def test_what_has_expired_goes_there_if_that_is_configured(harness: Harness, moves_expired: bool, dead: int) -> None:
    peer = with_rules(harness, moves_expired=moves_expired)
    peer.call(1, QueueDeclare(queue=CHANNEL, durable=True))
    send(peer, b"m", properties=replace(PERSISTENT, expiration="1000"))
    harness.commit()
    harness.pass_time(1.1)
    harness.commit()
    assert (depth(harness), depth(harness, CHANNEL)) == (0, dead)
    harness.pass_time(1000)
    assert depth(harness, CHANNEL) == dead


@pytest.mark.parametrize("keeps_expiration", [False, True])
@pytest.mark.parametrize("mode", [1, 2])
def test_what_is_there_expires_if_that_is_configured(harness: Harness, keeps_expiration: bool, mode: int) -> None:
    peer = with_rules(harness, keeps_expiration=keeps_expiration)
    due = harness.clock.wall_ms() + 1000
    send(peer, b"m", properties=BasicProperties(delivery_mode=mode, expiration=str(due)))
    peer.send(1, BasicReject(get(peer), requeue=False))
    harness.commit()
    assert depth(harness, CHANNEL) == 1
    harness.pass_time(1.1)
    assert depth(harness, CHANNEL) == (0 if keeps_expiration else 1)


# Its name


def test_its_name_may_be_spelled_in_capitals(harness: Harness, peer: Client) -> None:
    other = "DeadLetterChannel"
    answer = peer.call(1, QueueDeclare(queue=other, durable=True, auto_delete=True))
    assert isinstance(answer, QueueDeclareOk)
    assert answer.queue == CHANNEL
    assert isinstance(peer.call(1, QueueDeclare(queue=other, passive=True)), QueueDeclareOk)
    peer.call(1, QueueBind(queue=other, exchange="amq.direct", routing_key="k"))
    assert peer.call(1, ExchangeBound("amq.direct", "k", other)) == ExchangeBoundOk(Bound.YES)
    peer.publish(other, b"a", exchange="amq.direct")
    peer.publish(other, b"b")
    peer.send(1, BasicConsume(queue=other, no_ack=True))
    assert peer.bodies() == [b"a", b"b"]
    assert isinstance(peer.call(1, QueueDelete(queue=other)), QueueDeleteOk)
    assert CHANNEL not in harness.broker.vhosts["carbon"].queues


def test_letters_wait_while_it_cannot_be_created(harness: Harness, peer: Client) -> None:
    vhost = harness.broker.vhosts["carbon"]
    vhost._max_queues = 1
    send(peer, b"m")
    peer.send(1, BasicReject(get(peer), requeue=False))
    harness.commit()
    assert list(vhost.queues) == ["q"]
    vhost._max_queues = 2
    harness.parts.dead_letters.retry()
    harness.run()
    harness.commit()
    assert depth(harness, CHANNEL) == 1
