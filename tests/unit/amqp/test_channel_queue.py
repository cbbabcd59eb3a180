"""Declaring queues: contract Q1 to Q9, Q15, Q16, F12."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.codec.field_table import FieldTable, Int64
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicConsume,
    BasicConsumeOk,
    BasicGet,
    BasicGetEmpty,
    BasicGetOk,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
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
from broker.errors import StoreUnavailable
from broker.ports.records import QueueRecord
from broker.queue.settings import QueueType
from tests.support.harness import Client, Harness
from tests.support.stage import drive

LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally declared"
    " on another connection or the exclusive property value does not match that of the original declaration."
)


def args(**values: Any) -> FieldTable:
    return FieldTable.of({name.replace("_", "-"): value for name, value in values.items()})


def soft(code: int, text: str, method: type[Method]) -> ChannelClose:
    return ChannelClose(code, text, *method.ids)


# declare


def test_declare_tells_ready_messages_and_consumers(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"one", b"two")
    peer.send(1, BasicGet(queue="q"))
    peer.send(2, ChannelOpen())
    peer.send(2, BasicConsume(queue="q"))
    peer.publish("q", b"three")
    peer.send(2, ChannelClose())
    assert peer.call(1, QueueDeclare(queue="q")) == QueueDeclareOk("q", 2, 0)


def test_only_durable_shared_queues_are_recorded(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="durable", durable=True))
    peer.send(1, QueueDeclare(queue="transient"))
    peer.send(1, QueueDeclare(queue="exclusive", durable=True, exclusive=True))
    assert drive(harness.store.load()).of(QueueRecord) == (QueueRecord("/", "durable", 1),)


def test_a_queue_without_a_name_gets_one(peer: Client) -> None:
    assert peer.call(1, QueueDeclare()) == QueueDeclareOk("amq.gen-1", 0, 0)
    assert peer.call(1, QueueDeclare()) == QueueDeclareOk("amq.gen-2", 0, 0)


def test_a_name_the_broker_has_given_may_be_declared_again(peer: Client) -> None:
    peer.send(1, QueueDeclare())
    assert peer.call(1, QueueDeclare(queue="amq.gen-1")) == QueueDeclareOk("amq.gen-1", 0, 0)


def test_names_that_begin_with_amq_are_reserved(peer: Client) -> None:
    assert peer.call(1, QueueDeclare(queue="amq.mine")) == soft(
        403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'", QueueDeclare
    )


@pytest.mark.parametrize("name", ["q" * 255, "ü" * 127, "a b'c\"%s", "../../etc", "\U0001f407", "x\0y"])
def test_any_short_string_can_be_a_name(harness: Harness, peer: Client, name: str) -> None:
    assert peer.call(1, QueueDeclare(queue=name)) == QueueDeclareOk(name, 0, 0)


def test_line_ends_are_stripped_from_names(harness: Harness, peer: Client) -> None:
    assert peer.call(1, QueueDeclare(queue="q\r\n")) == QueueDeclareOk("q", 0, 0)
    peer.send(1, QueueDelete(queue="q\n"))
    assert "q" not in harness.vhost.queues


def test_an_empty_name_means_the_last_queue_declared_on_the_channel(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="other"))
    peer.send(1, QueueDeclare(queue="q"))
    assert peer.call(1, QueueBind(exchange="amq.direct", routing_key="k")) == QueueBindOk()
    peer.publish("k", b"m", exchange="amq.direct")
    assert peer.call(1, QueueDeclare(passive=True)) == QueueDeclareOk("q", 1, 0)
    assert peer.call(1, BasicGet()) == BasicGetOk(1, False, "amq.direct", "k", 0)
    assert peer.call(1, QueueUnbind(exchange="amq.direct", routing_key="k")) == QueueUnbindOk()
    assert peer.call(1, QueuePurge()) == QueuePurgeOk(0)
    assert peer.call(1, BasicConsume(consumer_tag="c")) == BasicConsumeOk("c")
    peer.send(1, BasicCancel("c"))
    assert peer.call(1, QueueDelete()) == QueueDeleteOk(0)
    assert peer.call(1, QueueDeclare(queue="other", passive=True)) == QueueDeclareOk("other", 0, 0)


@pytest.mark.parametrize(
    "method",
    [
        QueueDeclare(passive=True),
        QueueBind(exchange="amq.direct"),
        QueueUnbind(exchange="amq.direct"),
        QueuePurge(),
        QueueDelete(),
        BasicConsume(),
        BasicGet(),
    ],
)
def test_without_a_declared_queue_an_empty_name_means_nothing(peer: Client, method: Method) -> None:
    peer.send(2, ChannelOpen())
    peer.send(2, QueueDeclare(queue="q"))
    assert peer.call(1, method) == soft(404, "NOT_FOUND - no previously declared queue", type(method))


def test_an_empty_key_and_an_empty_name_bind_by_the_name_of_the_queue(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, QueueBind(exchange="amq.direct"))
    peer.publish("q", b"m", exchange="amq.direct")
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(1)
    peer.send(1, QueueUnbind(exchange="amq.direct"))
    assert harness.vhost.exchanges["amq.direct"].is_unused


def test_an_empty_key_with_a_name_stays_empty(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, QueueBind(queue="q", exchange="amq.direct"))
    peer.publish("q", b"m", exchange="amq.direct")
    peer.publish("", b"m", exchange="amq.direct")
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(1)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (
            QueueDeclare(queue="q", durable=True),
            QueueDeclare(queue="q"),
            "'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'",
        ),
        (
            QueueDeclare(queue="q"),
            QueueDeclare(queue="q", auto_delete=True),
            "'auto_delete' for queue 'q' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            QueueDeclare(queue="q"),
            QueueDeclare(queue="q", arguments=args(x_max_length=10)),
            "'x-max-length' for queue 'q' in vhost '/':"
            " received the value '10' of type 'signedint' but current is none",
        ),
        (
            QueueDeclare(queue="q", arguments=args(x_message_ttl=10)),
            QueueDeclare(queue="q"),
            "'x-message-ttl' for queue 'q' in vhost '/':"
            " received none but current is the value '10' of type 'signedint'",
        ),
        (
            QueueDeclare(queue="q", durable=True),
            QueueDeclare(queue="q", durable=True, arguments=args(x_queue_type="quorum")),
            "'x-queue-type' for queue 'q' in vhost '/':"
            " received the value 'quorum' of type 'longstr' but current is none",
        ),
        (
            QueueDeclare(queue="q", durable=True, arguments=args(x_queue_type="quorum")),
            QueueDeclare(queue="q", durable=True, arguments=args(x_queue_type="classic")),
            "'x-queue-type' for queue 'q' in vhost '/': received 'classic' but current is 'quorum'",
        ),
        (
            QueueDeclare(queue="q"),
            QueueDeclare(queue="q", arguments=args(x_message_ttl=-1)),
            "'x-message-ttl' for queue 'q' in vhost '/':"
            " received the value '-1' of type 'signedint' but current is none",
        ),
    ],
)
def test_another_declaration_of_the_same_name_is_refused(
    peer: Client, first: QueueDeclare, second: QueueDeclare, text: str
) -> None:
    peer.send(1, first)
    assert peer.call(1, second) == soft(406, f"PRECONDITION_FAILED - inequivalent arg {text}", QueueDeclare)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (args(x_message_ttl=10), args(x_message_ttl=Int64(10))),
        (args(), args(x_queue_type="classic")),
        (args(x_unknown=1), args(x_unknown=2)),
        (args(), args(x_unknown=[1])),
    ],
)
def test_arguments_that_mean_the_same_are_equal(peer: Client, first: FieldTable, second: FieldTable) -> None:
    peer.send(1, QueueDeclare(queue="q", arguments=first))
    assert peer.call(1, QueueDeclare(queue="q", arguments=second)) == QueueDeclareOk("q", 0, 0)


# Arguments and types


def test_a_queue_with_a_bad_argument_is_refused_and_not_there(harness: Harness, peer: Client) -> None:
    assert peer.call(1, QueueDeclare(queue="q", arguments=args(x_message_ttl=-1))) == soft(
        406,
        "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_negative,-1}",
        QueueDeclare,
    )
    assert "q" not in harness.vhost.queues


def test_a_quorum_queue_is_declared_again_as_it_is(harness: Harness, peer: Client) -> None:
    declare = QueueDeclare(queue="q", durable=True, arguments=args(x_queue_type="quorum", x_delivery_limit=-1))
    assert peer.call(1, declare) == QueueDeclareOk("q", 0, 0)
    assert peer.call(1, declare) == QueueDeclareOk("q", 0, 0)
    assert harness.vhost.queues["q"].settings.delivery_limit is None


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (QueueDeclare(queue="q"), "invalid property 'non-durable' for queue 'q' in vhost '/'"),
        (QueueDeclare(durable=True), "Cannot declare a server-named queue for type rabbit_quorum_queue"),
    ],
)
def test_not_every_queue_can_be_a_quorum_queue(peer: Client, declare: QueueDeclare, text: str) -> None:
    declare = replace(declare, arguments=args(x_queue_type="quorum"))
    assert peer.call(1, declare) == soft(406, f"PRECONDITION_FAILED - {text}", QueueDeclare)


def test_an_exclusive_queue_is_as_good_as_transient(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", exclusive=True, durable=True))
    assert peer.call(1, QueueDeclare(queue="q", exclusive=True)) == QueueDeclareOk("q", 0, 0)


def test_a_client_chooses_how_the_name_of_a_queue_begins(harness: Harness, peer: Client) -> None:
    declared = peer.call(1, QueueDeclare(arguments=args(x_name_prefix="billing\r", x_expires=1)))
    assert isinstance(declared, QueueDeclareOk)
    assert declared.queue.startswith("billing-")
    assert harness.vhost.queues[declared.queue].arguments == args(x_expires=1)


@pytest.mark.parametrize("prefix", ["", 5])
def test_no_prefix_is_the_usual_one(peer: Client, prefix: object) -> None:
    declared = peer.call(1, QueueDeclare(arguments=args(x_name_prefix=prefix)))
    assert isinstance(declared, QueueDeclareOk)
    assert declared.queue.startswith("amq.gen-")


def test_a_prefix_is_not_too_long(peer: Client) -> None:
    assert peer.call(1, QueueDeclare(arguments=args(x_name_prefix="ä" * 33))) == soft(
        406, f"PRECONDITION_FAILED - Queue name prefix '{'ä' * 33}' exceeds the 64-byte limit", QueueDeclare
    )


def test_a_prefix_is_not_a_reserved_one(peer: Client) -> None:
    gen = peer.call(1, QueueDeclare(arguments=args(x_name_prefix="amq.gen")))
    assert isinstance(gen, QueueDeclareOk)
    assert peer.call(1, QueueDeclare(arguments=args(x_name_prefix="amq.rabbitmq.reply-to"))) == soft(
        403,
        "ACCESS_REFUSED - queue name prefix 'amq.rabbitmq.reply-to' contains reserved prefix 'amq.*'",
        QueueDeclare,
    )


def test_the_virtual_host_has_a_default_type() -> None:
    harness = Harness(default_queue_type=QueueType.QUORUM)
    peer = harness.peer()
    for declare in (
        QueueDeclare(queue="q", durable=True),
        QueueDeclare(queue="q", durable=True, arguments=args(x_queue_type="quorum")),
        QueueDeclare(queue="transient"),
    ):
        assert peer.call(1, declare) == QueueDeclareOk(declare.queue, 0, 0)
    assert {name: queue.settings.type for name, queue in harness.vhost.queues.items()} == {
        "q": QueueType.QUORUM,
        "transient": QueueType.CLASSIC,
    }


def test_a_classic_queue_may_be_older_than_the_default_type() -> None:
    harness = Harness(default_queue_type=QueueType.QUORUM)
    peer = harness.peer()
    classic = QueueDeclare(queue="q", durable=True, arguments=args(x_queue_type="classic"))
    assert peer.call(1, classic) == QueueDeclareOk("q", 0, 0)
    assert peer.call(1, QueueDeclare(queue="q", durable=True)) == QueueDeclareOk("q", 0, 0)


def test_a_passive_declaration_asks_for_existence_only(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    assert peer.call(1, QueueDeclare(queue="q", passive=True, durable=True)) == QueueDeclareOk("q", 0, 0)
    assert peer.call(1, QueueDeclare(queue="p", passive=True)) == soft(
        404, "NOT_FOUND - no queue 'p' in vhost '/'", QueueDeclare
    )


def test_a_virtual_host_has_room_for_so_many_queues() -> None:
    peer = Harness(max_queues=2).peer()
    for name in ("a", "b", "a"):
        assert peer.call(1, QueueDeclare(queue=name)) == QueueDeclareOk(name, 0, 0)
    assert peer.call(1, QueueDeclare(queue="c")) == soft(
        406, "PRECONDITION_FAILED - cannot declare queue 'c': queue limit in vhost '/' (2) is reached", QueueDeclare
    )


def test_no_wait_is_not_answered(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", no_wait=True))
    peer.send(1, QueueBind(queue="q", exchange="amq.direct", no_wait=True))
    peer.send(1, QueuePurge(queue="q", no_wait=True))
    peer.send(1, QueueDelete(queue="q", no_wait=True))
    assert peer.received() == []
    assert "q" not in harness.vhost.queues


def test_a_declaration_that_cannot_be_recorded_changes_nothing(harness: Harness, peer: Client) -> None:
    harness.topology.failure = StoreUnavailable("away")
    peer.send(1, QueueDeclare(queue="q", durable=True))
    assert "q" not in harness.vhost.queues


# exclusive


@pytest.mark.parametrize(
    "method",
    [
        QueueDeclare(queue="q"),
        QueueDeclare(queue="q", exclusive=True),
        QueueDeclare(queue="q", passive=True),
        QueueBind(queue="q", exchange="amq.direct"),
        QueueUnbind(queue="q", exchange="amq.direct"),
        QueuePurge(queue="q"),
        QueueDelete(queue="q"),
        BasicConsume(queue="q"),
        BasicGet(queue="q"),
    ],
)
def test_an_exclusive_queue_is_locked_for_other_connections(harness: Harness, peer: Client, method: Method) -> None:
    peer.send(1, QueueDeclare(queue="q", exclusive=True))
    assert harness.peer().call(1, method) == soft(405, LOCKED, type(method))


def test_an_exclusive_queue_is_open_to_every_channel_of_its_connection(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", exclusive=True))
    peer.send(2, ChannelOpen())
    assert peer.call(2, QueueDeclare(queue="q", exclusive=True)) == QueueDeclareOk("q", 0, 0)
    assert peer.call(2, BasicGet(queue="q")) == BasicGetEmpty()


def test_others_may_publish_to_an_exclusive_queue(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", exclusive=True))
    harness.peer().publish("q", b"m")
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(1, False, "", "q", 0)


def test_a_shared_queue_cannot_be_declared_exclusive(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    assert peer.call(1, QueueDeclare(queue="q", exclusive=True)) == soft(405, LOCKED, QueueDeclare)


def test_an_exclusive_queue_cannot_be_declared_shared(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", exclusive=True))
    assert peer.call(1, QueueDeclare(queue="q")) == soft(405, LOCKED, QueueDeclare)


def test_the_name_of_an_exclusive_queue_is_free_when_its_connection_has_closed(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", exclusive=True))
    peer.send(0, ConnectionClose(200, "bye"))
    assert harness.peer().call(1, QueueDeclare(queue="q", exclusive=True)) == QueueDeclareOk("q", 0, 0)


# auto_delete


@pytest.mark.parametrize("end", [BasicCancel("c"), ChannelClose(), BasicAck(9)])
def test_an_auto_delete_queue_goes_with_its_last_consumer(harness: Harness, peer: Client, end: Method) -> None:
    peer.send(1, QueueDeclare(queue="q", auto_delete=True, durable=True))
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.send(1, end)
    assert "q" not in harness.vhost.queues
    assert drive(harness.store.load()).of(QueueRecord) == ()


def test_an_auto_delete_queue_goes_when_its_consumers_connection_is_lost(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", auto_delete=True))
    peer.send(1, BasicConsume(queue="q"))
    peer.lose()
    assert "q" not in harness.vhost.queues


def test_an_auto_delete_queue_that_was_never_consumed_stays(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", auto_delete=True))
    peer.send(1, BasicGet(queue="q"))
    peer.lose()
    assert "q" in harness.vhost.queues


def test_an_auto_delete_queue_stays_while_somebody_consumes(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", auto_delete=True))
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.send(1, BasicConsume(queue="q", consumer_tag="b"))
    peer.send(1, BasicCancel("a"))
    assert "q" in harness.vhost.queues
