"""What policies do to queues and exchanges that are there, as clients see it (contract A1 to A4)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicNack,
    BasicPublish,
    BasicReturn,
    ConfirmSelect,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
)
from broker.codec.properties import BasicProperties
from broker.ports.records import Drop, PolicyKey, PolicyRecord, Put
from broker.queue.settings import QueueLimits
from broker.topology.administration import to_json
from tests.support.harness import Client, Harness
from tests.unit.amqp.test_channel_dead_letters import deaths, fetch
from tests.unit.amqp.test_channel_ttl import declare, everything, ready

PERSISTENT = BasicProperties(delivery_mode=2)


def put(harness: Harness, definition: dict[str, Any], **fields: Any) -> None:
    """Let a policy apply to everything in the virtual host."""
    harness.live.apply(Put(PolicyRecord("/", fields.pop("name", "p"), definition=to_json(definition), **fields)))
    harness.broker.dispatch()
    harness.commit()


def drop(harness: Harness, name: str = "p") -> None:
    harness.live.apply(Drop(PolicyKey("/", name)))
    harness.broker.dispatch()
    harness.commit()


@pytest.mark.parametrize("arguments", [{}, {"max_priority": 2}])
def test_a_shorter_length_drops_what_is_too_much_at_once(
    harness: Harness, peer: Client, arguments: dict[str, Any]
) -> None:
    declare(peer, **arguments)
    peer.publish("q", *[b"%d" % number for number in range(5)], properties=PERSISTENT)
    harness.commit()
    put(harness, {"max-length": 2})
    assert ready(peer) == 2
    peer.publish("q", b"5")
    assert everything(peer) == [b"4", b"5"]
    drop(harness)
    peer.publish("q", b"a", b"b", b"c")
    assert ready(peer) == 3


@pytest.mark.parametrize("arguments", [{}, {"max_priority": 2}])
def test_octets_are_counted_from_when_they_are_limited(arguments: dict[str, Any]) -> None:
    harness = Harness(queue_limits=QueueLimits(memory=3000, transient_memory=3000, window_size=4, read_ahead=4))
    peer = declare(harness.peer(), **arguments)
    for number in range(30):
        peer.publish("q", b"%02d" % number * 50, properties=PERSISTENT)
        harness.commit()
    put(harness, {"max-length-bytes": 1000})
    for _ in range(20):
        harness.commit()
    assert ready(peer) == 10
    assert harness.vhost.queues["q"].ready_octets == 1000
    assert everything(peer) == [b"%02d" % number * 50 for number in range(20, 30)]
    assert harness.vhost.queues["q"].ready_octets == 0


def test_a_time_to_live_is_counted_from_the_publish(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"old")
    harness.pass_time(2)
    peer.publish("q", b"young")
    put(harness, {"message-ttl": 1000})
    assert everything(peer) == [b"young"]
    peer.publish("q", b"later")
    harness.pass_time(1.1)
    assert ready(peer) == 0
    drop(harness)
    peer.publish("q", b"stays")
    harness.pass_time(5)
    assert everything(peer) == [b"stays"]


def test_a_lease_begins_when_it_is_given(harness: Harness, peer: Client) -> None:
    declare(peer)
    harness.pass_time(10)
    put(harness, {"expires": 2000})
    harness.pass_time(1)
    assert "q" in harness.vhost.queues
    harness.pass_time(1.1)
    harness.commit()
    assert "q" not in harness.vhost.queues


def test_dead_letters_go_where_a_policy_says(harness: Harness, peer: Client) -> None:
    declare(peer)
    declare(peer, "dead")
    put(harness, {"dead-letter-exchange": "", "dead-letter-routing-key": "dead", "max-length": 1}, pattern="^q$")
    peer.publish("q", b"first", b"second")
    harness.commit()
    _, content = fetch(peer, "dead")
    assert deaths(content)[0]["reason"] == "maxlen"


def test_publishers_are_refused_from_when_a_policy_says_so(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, ConfirmSelect())
    peer.publish("q", b"first")
    harness.commit()
    assert peer.received()[-1] == (1, BasicAck(1))
    put(harness, {"max-length": 1, "overflow": "reject-publish"})
    peer.publish("q", b"second")
    harness.commit()
    assert peer.received()[-1] == (1, BasicNack(2, requeue=False))
    drop(harness)
    peer.publish("q", b"third")
    harness.commit()
    assert peer.received()[-1] == (1, BasicAck(3))


def test_deliveries_are_to_be_answered_in_time_from_when_a_policy_says_so(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, BasicConsume(queue="q"))
    peer.publish("q", b"before")
    put(harness, {"consumer-timeout": 1000})
    peer.publish("q", b"after")
    assert peer.bodies() == [b"before", b"after"]
    harness.pass_time(1.1)
    assert peer.bodies() == [b"after"]
    put(harness, {"consumer-timeout": 5000})
    harness.pass_time(1.5)
    assert peer.bodies() == []
    harness.pass_time(4)
    assert peer.bodies() == [b"after"]
    drop(harness)
    harness.pass_time(10)
    assert peer.bodies() == []


def test_an_alternate_exchange_of_a_policy_gets_what_leads_nowhere(harness: Harness, peer: Client) -> None:
    peer.call(1, ExchangeDeclare(exchange="x", type="direct"))
    peer.call(
        1, ExchangeDeclare(exchange="own", type="direct", arguments=FieldTable.of({"alternate-exchange": "none"}))
    )
    declare(peer)
    peer.call(1, QueueBind(queue="q", exchange="amq.fanout"))
    peer.send(1, BasicPublish(0, "x", "k", mandatory=True), body=b"returned")
    assert [type(method) for _, method in peer.received()] == [BasicReturn]
    assert peer.bodies() == [b"returned"]
    put(harness, {"alternate-exchange": "amq.fanout"}, apply_to="exchanges", pattern="^(x|own)$")
    peer.send(1, BasicPublish(0, "x", "k", mandatory=True), body=b"kept")
    peer.send(1, BasicPublish(0, "own", "k"), body=b"lost")
    assert everything(peer) == [b"kept"]
    peer.call(1, ExchangeDeclare(exchange="x2", type="direct"))
    put(harness, {"alternate-exchange": "amq.fanout"})
    drop(harness)
    peer.send(1, BasicPublish(0, "x", "k", mandatory=True), body=b"returned")
    assert [type(method) for _, method in peer.received()] == [BasicReturn]


def test_what_is_declared_later_has_the_policy_too(harness: Harness, peer: Client) -> None:
    put(harness, {"max-length": 1, "alternate-exchange": "amq.fanout"})
    declare(peer)
    peer.publish("q", b"1", b"2")
    assert ready(peer) == 1
    peer.call(1, ExchangeDeclare(exchange="x", type="direct"))
    peer.call(1, QueueBind(queue="q", exchange="amq.fanout"))
    peer.send(1, BasicPublish(0, "x", "k"), body=b"3")
    assert everything(peer) == [b"3"]


def test_the_arguments_of_a_queue_stay_what_they_were(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=9)
    put(harness, {"max-length": 1})
    declare(peer, max_length=9)
    peer.publish("q", b"1", b"2")
    assert ready(peer) == 1


def test_many_queues_are_set_in_steps() -> None:
    harness = Harness(max_queues=1000)
    peer = harness.peer()
    for number in range(450):
        peer.call(1, QueueDeclare(queue=f"q{number}"))
    steps: list[Any] = []
    harness.live.go_on = steps.append
    put(harness, {"max-length": 1})
    is_set = [queue.settings.max_length == 1 for queue in harness.vhost.queues.values()]
    assert is_set == [True] * 200 + [False] * 250
    assert len(list(steps[0])) == 2
    assert all(queue.settings.max_length == 1 for queue in harness.vhost.queues.values())
