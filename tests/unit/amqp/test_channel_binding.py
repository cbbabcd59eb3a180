"""Binding, purging and deleting queues, and the routes that come of it: contract Q11 to Q14, Q17 to Q19."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicGetOk,
    ChannelClose,
    ChannelCloseOk,
    ChannelOpen,
    ExchangeDeclare,
    QueueBind,
    QueueBindOk,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
    QueuePurge,
    QueuePurgeOk,
    QueueUnbind,
    QueueUnbindOk,
)
from broker.codec.properties import BasicProperties
from broker.errors import StoreUnavailable
from broker.ports.records import BindingRecord, Put
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness
from tests.support.stage import drive

PERSISTENT = BasicProperties(delivery_mode=2)


def args(**values: Any) -> FieldTable:
    return FieldTable.of({name.replace("_", "-"): value for name, value in values.items()})


def soft(code: int, text: str, method: type[Method]) -> ChannelClose:
    return ChannelClose(code, text, *method.ids)


# bind, unbind


def test_bind_is_idempotent_on_everything_that_identifies_a_binding(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    for arguments in (args(a=1), args(a=1), args(a=2)):
        assert peer.call(1, QueueBind(0, "q", "amq.topic", "k", False, arguments)) == QueueBindOk()
    assert drive(harness.store.load()).of(BindingRecord) == (
        BindingRecord("/", "amq.topic", "queue", "q", "k", args(a=1).raw),
        BindingRecord("/", "amq.topic", "queue", "q", "k", args(a=2).raw),
    )
    peer.publish("k", b"m", exchange="amq.topic")
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(1)


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (QueueBind(queue="nope", exchange="amq.direct"), "no queue 'nope' in vhost '/'"),
        (QueueBind(queue="q", exchange="nope"), "no exchange 'nope' in vhost '/'"),
    ],
)
def test_both_ends_of_a_binding_must_exist(peer: Client, method: QueueBind, text: str) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    assert peer.call(1, method) == soft(404, f"NOT_FOUND - {text}", QueueBind)


@pytest.mark.parametrize(
    "method",
    [
        QueueUnbind(queue="q", exchange="amq.direct", routing_key="k"),
        QueueUnbind(queue="nope", exchange="amq.direct"),
        QueueUnbind(queue="q", exchange="nope"),
    ],
)
def test_unbinding_what_is_not_there_is_no_error(peer: Client, method: QueueUnbind) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    assert peer.call(1, method) == QueueUnbindOk()


def test_an_unbound_queue_gets_nothing_more(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.send(1, QueueBind(queue="q", exchange="amq.direct", routing_key="k"))
    peer.publish("k", b"m", exchange="amq.direct")
    peer.send(1, QueueUnbind(queue="q", exchange="amq.direct", routing_key="k"))
    peer.publish("k", b"m", exchange="amq.direct")
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(1)
    assert drive(harness.store.load()).of(BindingRecord) == ()


def test_the_order_of_arguments_tells_no_bindings_apart(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    one, other = args(b=1, a="x", x_match="any"), args(x_match="any", a="x", b=1)
    peer.send(1, QueueBind(0, "q", "amq.headers", "", False, one))
    peer.send(1, QueueBind(0, "q", "amq.headers", "", False, other))
    assert len(drive(harness.store.load()).of(BindingRecord)) == 1
    peer.send(1, QueueUnbind(0, "q", "amq.headers", "", other))
    assert drive(harness.store.load()).of(BindingRecord) == ()


def test_a_binding_recorded_with_its_arguments_as_they_came_is_known(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    unordered = args(b=1, a="x")
    harness.live.apply(Put(BindingRecord("/", "amq.headers", "queue", "q", "", unordered.raw)))
    peer.send(1, QueueBind(0, "q", "amq.headers", "", False, unordered))
    assert len(harness.vhost.exchanges["amq.headers"].bindings) == 1
    peer.send(1, QueueUnbind(0, "q", "amq.headers", "", unordered))
    assert harness.vhost.exchanges["amq.headers"].is_unused


def test_a_binding_that_cannot_work_is_refused_before_it_is_recorded(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    assert peer.call(1, QueueBind(queue="q", exchange="amq.headers", arguments=args(x_match="some"))) == soft(
        406,
        'PRECONDITION_FAILED - Invalid x-match field value <<"some">>; expected all, any, all-with-x, or any-with-x',
        QueueBind,
    )
    assert drive(harness.store.load()).of(BindingRecord) == ()


def test_a_thousand_bindings_route_to_the_right_queue(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, QueueDeclare(queue="p"))
    for number in range(1000):
        peer.send(1, QueueBind(0, "q" if number % 2 else "p", "amq.topic", f"a.{number}.#", True))
    peer.publish("a.777.x", b"m", exchange="amq.topic")
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(1)


# purge, delete


def test_purge_removes_what_is_ready_and_leaves_what_is_delivered(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", b"one", b"two", b"three", properties=PERSISTENT)
    peer.send(1, BasicGet(queue="q"))
    harness.commit()
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(2)
    harness.commit()
    assert [row.payload for row in harness.store.state.rows.values()] == [b"one"]
    peer.send(1, BasicAck(1))
    harness.commit()
    assert harness.store.state.rows == {}


def test_purging_what_is_not_there_is_an_error(peer: Client) -> None:
    assert peer.call(1, QueuePurge(queue="q")) == soft(404, "NOT_FOUND - no queue 'q' in vhost '/'", QueuePurge)


def test_delete_tells_how_many_messages_were_ready(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.send(1, QueueBind(queue="q", exchange="amq.direct", routing_key="k"))
    peer.publish("q", b"m", b"n", properties=PERSISTENT)
    harness.commit()
    assert peer.call(1, QueueDelete(queue="q")) == QueueDeleteOk(2)
    harness.commit()
    assert harness.store.state.rows == {}
    assert drive(harness.store.load()).of(BindingRecord) == ()
    assert harness.vhost.exchanges["amq.direct"].is_unused


def test_deleting_what_is_not_there_is_no_error(peer: Client) -> None:
    assert peer.call(1, QueueDelete(queue="q")) == QueueDeleteOk(0)


def test_a_queue_with_consumers_or_messages_can_be_spared(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    assert peer.call(1, QueueDelete(queue="q", if_empty=True)) == soft(
        406, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty", QueueDelete
    )
    peer.send(1, ChannelCloseOk())
    peer.send(1, ChannelOpen())
    peer.send(2, ChannelOpen())
    peer.send(2, BasicConsume(queue="q"))
    assert peer.call(1, QueueDelete(queue="q", if_unused=True)) == soft(
        406, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use", QueueDelete
    )


def test_messages_a_consumer_holds_leave_the_store_with_their_queue(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.send(1, BasicConsume(queue="q"))
    peer.publish("q", b"stored", properties=PERSISTENT)
    harness.commit()
    peer.publish("q", b"pending", properties=PERSISTENT)
    peer.send(2, ChannelOpen())
    peer.send(2, QueueDelete(queue="q"))
    peer.send(1, ChannelClose())
    harness.commit()
    assert harness.store.state.rows == {}


@pytest.mark.parametrize("is_durable", [True, False])
def test_messages_that_are_paged_out_and_not_written_yet_go_with_their_queue(is_durable: bool) -> None:
    harness = Harness(queue_limits=QueueLimits(memory=2000, transient_memory=2000, window_size=4))
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q", durable=is_durable))
    peer.publish("q", *[b"m"] * 20, properties=PERSISTENT)
    assert len(harness.vhost.queues["q"].ready) < 20
    assert peer.call(1, QueueDelete(queue="q")) == QueueDeleteOk(20)
    harness.commit()
    assert harness.store.state.rows == {}


def test_a_queue_that_could_not_be_deleted_goes_on(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="q", durable=True))
    harness.topology.failure = StoreUnavailable("away")
    peer.send(1, QueueDelete(queue="q"))
    assert other.call(1, QueueDeclare(queue="q", durable=True)) == QueueDeclareOk("q", 0, 0)


def test_a_queue_declared_while_it_is_being_deleted_is_a_new_one(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", b"m")
    old = harness.vhost.queues["q"]
    harness.gate.is_open = False
    peer.send(1, QueueDelete(queue="q"))
    other.send(1, QueueDeclare(queue="q", durable=True))
    harness.gate.is_open = True
    harness.run()
    assert other.received() == [(1, QueueDeclareOk("q", 0, 0))]
    assert harness.vhost.queues["q"] is not old


def test_two_deletions_at_once_both_succeed(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.received()
    harness.gate.is_open = False
    peer.send(1, QueueDelete(queue="q"))
    other.send(1, QueueDelete(queue="q"))
    harness.gate.is_open = True
    harness.run()
    assert peer.received() == other.received() == [(1, QueueDeleteOk(0))]


def test_what_is_published_while_a_queue_is_being_deleted_is_gone_with_it(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="q", durable=True))
    harness.gate.is_open = False
    peer.send(1, QueueDelete(queue="q"))
    other.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    harness.gate.is_open = True
    harness.run()
    harness.commit()
    assert harness.store.state.rows == {}


# The default exchange and other virtual hosts


def test_every_queue_is_bound_to_the_default_exchange_by_its_name(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(1, False, "", "q", 0)


def test_a_route_is_found_anew_when_the_topology_changes(peer: Client) -> None:
    peer.publish("q", b"lost")
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"first")
    peer.send(1, ExchangeDeclare(exchange="x", type="fanout"))
    peer.publish("", b"lost", exchange="x")
    peer.send(1, QueueBind(queue="q", exchange="x"))
    peer.publish("", b"second", exchange="x")
    peer.send(1, QueueUnbind(queue="q", exchange="x"))
    peer.publish("", b"lost", exchange="x")
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(2)
