"""The exchange class: contract X1 to X15."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicReturn,
    ChannelClose,
    ChannelOpen,
    ExchangeBind,
    ExchangeBindOk,
    ExchangeDeclare,
    ExchangeDeclareOk,
    ExchangeDelete,
    ExchangeDeleteOk,
    ExchangeUnbind,
    ExchangeUnbindOk,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueUnbind,
)
from broker.errors import StoreUnavailable
from broker.ports.records import BindingRecord, ExchangeRecord
from tests.support.harness import Client, Harness
from tests.support.stage import drive


def args(**values: Any) -> FieldTable:
    return FieldTable.of({name.replace("_", "-"): value for name, value in values.items()})


def ready(peer: Client, queue: str) -> int:
    answer = peer.call(1, QueueDeclare(queue=queue, passive=True))
    assert isinstance(answer, QueueDeclareOk)
    return answer.message_count


def soft(code: int, text: str, method: type[Method]) -> ChannelClose:
    return ChannelClose(code, text, *method.ids)


# declare


def test_declare_is_idempotent(harness: Harness, peer: Client) -> None:
    for _ in range(2):
        assert peer.call(1, ExchangeDeclare(exchange="x", type="topic", durable=True)) == ExchangeDeclareOk()
    assert drive(harness.store.load()).of(ExchangeRecord) == (ExchangeRecord("/", "x", "topic"),)


def test_line_ends_are_stripped_from_names(harness: Harness, peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x\r\n"))
    assert "x" in harness.vhost.exchanges
    peer.send(1, ExchangeDelete(exchange="x\n"))
    assert "x" not in harness.vhost.exchanges


def test_a_transient_exchange_is_not_recorded(harness: Harness, peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x"))
    assert drive(harness.store.load()).of(ExchangeRecord) == ()


@pytest.mark.parametrize(
    ("other", "name", "received", "current"),
    [
        (ExchangeDeclare(exchange="x", type="fanout", durable=True), "type", "fanout", "direct"),
        (ExchangeDeclare(exchange="x", durable=False), "durable", "false", "true"),
        (ExchangeDeclare(exchange="x", durable=True, auto_delete=True), "auto_delete", "true", "false"),
        (ExchangeDeclare(exchange="x", durable=True, internal=True), "internal", "true", "false"),
    ],
)
def test_another_declaration_of_the_same_name_is_refused(
    peer: Client, other: ExchangeDeclare, name: str, received: str, current: str
) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", durable=True))
    assert peer.call(1, other) == soft(
        406,
        f"PRECONDITION_FAILED - inequivalent arg '{name}' for exchange 'x' in vhost '/':"
        f" received '{received}' but current is '{current}'",
        ExchangeDeclare,
    )


def test_another_alternate_exchange_is_refused_and_other_arguments_are_not_compared(peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", arguments=args(alternate_exchange="a", other=1)))
    same = ExchangeDeclare(exchange="x", arguments=args(alternate_exchange="a", other=2))
    assert peer.call(1, same) == ExchangeDeclareOk()
    assert peer.call(1, ExchangeDeclare(exchange="x")) == soft(
        406,
        "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/':"
        " received none but current is the value 'a' of type 'longstr'",
        ExchangeDeclare,
    )


def test_a_passive_declaration_asks_for_existence_only(peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x"))
    passive = ExchangeDeclare(exchange="x", type="no such type", passive=True, durable=True)
    assert peer.call(1, passive) == ExchangeDeclareOk()
    assert peer.call(1, ExchangeDeclare(exchange="y", passive=True)) == soft(
        404, "NOT_FOUND - no exchange 'y' in vhost '/'", ExchangeDeclare
    )


def test_an_unknown_type_is_refused(peer: Client) -> None:
    assert peer.call(1, ExchangeDeclare(exchange="x", type="x-weird")) == soft(
        406, "PRECONDITION_FAILED - unknown exchange type 'x-weird'", ExchangeDeclare
    )


@pytest.mark.parametrize(
    ("name", "type"),
    [("amq.direct", "direct"), ("amq.fanout", "fanout"), ("amq.topic", "topic"), ("amq.headers", "headers"),
     ("amq.match", "headers")],
)  # fmt: skip
def test_the_predeclared_exchanges_exist_and_are_durable(peer: Client, name: str, type: str) -> None:
    assert peer.call(1, ExchangeDeclare(exchange=name, type=type, durable=True)) == ExchangeDeclareOk()


def test_the_trace_exchange_is_internal(peer: Client) -> None:
    trace = ExchangeDeclare(exchange="amq.rabbitmq.trace", type="topic", durable=True, internal=True)
    assert peer.call(1, trace) == ExchangeDeclareOk()


def test_names_that_begin_with_amq_are_reserved(peer: Client) -> None:
    assert peer.call(1, ExchangeDeclare(exchange="amq.mine")) == soft(
        403, "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'", ExchangeDeclare
    )


@pytest.mark.parametrize(
    "method",
    [
        ExchangeDeclare(exchange="", durable=True),
        ExchangeDeclare(exchange="", passive=True),
        ExchangeDelete(exchange=""),
        ExchangeBind(destination="", source="amq.direct"),
        ExchangeBind(destination="amq.direct", source=""),
        ExchangeUnbind(destination="", source="amq.direct"),
        ExchangeUnbind(destination="amq.direct", source=""),
        QueueBind(queue="q", exchange=""),
        QueueBind(queue="missing", exchange=""),
        QueueUnbind(queue="q", exchange=""),
    ],
)
def test_nobody_may_change_the_default_exchange(peer: Client, method: Method) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    assert peer.call(1, method) == soft(
        403, "ACCESS_REFUSED - operation not permitted on the default exchange", type(method)
    )


def test_an_alternate_exchange_that_is_no_string_is_refused(peer: Client) -> None:
    assert peer.call(1, ExchangeDeclare(exchange="x", arguments=args(alternate_exchange=5))) == soft(
        406,
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'",
        ExchangeDeclare,
    )


def test_no_wait_is_not_answered_but_errors_are(harness: Harness, peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", no_wait=True))
    peer.send(1, ExchangeBind(destination="amq.fanout", source="x", no_wait=True))
    peer.send(1, ExchangeUnbind(destination="amq.fanout", source="x", no_wait=True))
    peer.send(1, ExchangeDelete(exchange="x", no_wait=True))
    assert peer.received() == []
    assert "x" not in harness.vhost.exchanges
    peer.send(1, ExchangeDeclare(exchange="x", type="weird", no_wait=True))
    assert [type(method) for _, method in peer.received()] == [ChannelClose]


def test_a_declaration_that_cannot_be_recorded_changes_nothing(harness: Harness, peer: Client) -> None:
    harness.topology.failure = StoreUnavailable("away")
    peer.send(1, ExchangeDeclare(exchange="x", durable=True))
    assert "x" not in harness.vhost.exchanges


# delete


def test_delete_removes_the_exchange_with_its_bindings(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.send(1, ExchangeDeclare(exchange="x", durable=True))
    peer.send(1, QueueBind(queue="q", exchange="x"))
    peer.send(1, ExchangeBind(destination="x", source="amq.topic"))
    assert peer.call(1, ExchangeDelete(exchange="x")) == ExchangeDeleteOk()
    assert harness.vhost.exchanges["amq.topic"].is_unused
    assert drive(harness.store.load()).of(BindingRecord) == ()


def test_deleting_what_is_not_there_is_no_error(peer: Client) -> None:
    assert peer.call(1, ExchangeDelete(exchange="x")) == ExchangeDeleteOk()


def test_system_exchanges_cannot_be_deleted(peer: Client) -> None:
    assert peer.call(1, ExchangeDelete(exchange="amq.direct")) == soft(
        403, "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed", ExchangeDelete
    )


def test_an_exchange_in_use_can_be_spared(peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x"))
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, QueueBind(queue="q", exchange="x"))
    assert peer.call(1, ExchangeDelete(exchange="x", if_unused=True)) == soft(
        406, "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use", ExchangeDelete
    )


def test_an_unused_exchange_is_not_spared(peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x"))
    assert peer.call(1, ExchangeDelete(exchange="x", if_unused=True)) == ExchangeDeleteOk()


# auto_delete


def test_an_auto_delete_exchange_goes_with_its_last_binding(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, ExchangeDeclare(exchange="x", auto_delete=True))
    peer.send(1, QueueBind(queue="q", exchange="x", routing_key="a"))
    peer.send(1, QueueBind(queue="q", exchange="x", routing_key="b"))
    peer.send(1, QueueUnbind(queue="q", exchange="x", routing_key="a"))
    assert "x" in harness.vhost.exchanges
    peer.send(1, QueueUnbind(queue="q", exchange="x", routing_key="b"))
    assert "x" not in harness.vhost.exchanges


def test_an_auto_delete_exchange_that_was_never_bound_stays(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, ExchangeDeclare(exchange="x", auto_delete=True))
    peer.send(1, QueueUnbind(queue="q", exchange="x"))
    assert "x" in harness.vhost.exchanges


def test_bindings_to_an_auto_delete_exchange_do_not_count(harness: Harness, peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", auto_delete=True))
    peer.send(1, ExchangeBind(destination="x", source="amq.topic"))
    peer.send(1, ExchangeUnbind(destination="x", source="amq.topic"))
    assert "x" in harness.vhost.exchanges


def test_deleting_a_queue_takes_auto_delete_exchanges_along_a_whole_chain(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    for name in ("a", "b", "c"):
        peer.send(1, ExchangeDeclare(exchange=name, durable=True, auto_delete=True))
    peer.send(1, ExchangeDeclare(exchange="kept", durable=True))
    peer.send(1, QueueBind(queue="q", exchange="c"))
    peer.send(1, ExchangeBind(destination="c", source="b"))
    peer.send(1, ExchangeBind(destination="b", source="a"))
    peer.send(1, ExchangeBind(destination="a", source="kept"))
    peer.send(1, QueueDelete(queue="q"))
    assert not {"a", "b", "c"} & harness.vhost.exchanges.keys()
    assert harness.vhost.exchanges["kept"].is_unused
    recorded = drive(harness.store.load())
    assert ([exchange.name for exchange in recorded.of(ExchangeRecord)], recorded.of(BindingRecord)) == (["kept"], ())


def test_deleting_and_unbinding_exchanges_cascades_too(harness: Harness, peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="a", auto_delete=True))
    peer.send(1, ExchangeDeclare(exchange="b", auto_delete=True))
    peer.send(1, ExchangeBind(destination="b", source="a"))
    peer.send(1, ExchangeBind(destination="amq.fanout", source="b"))
    peer.send(1, ExchangeUnbind(destination="amq.fanout", source="b"))
    assert not {"a", "b"} & harness.vhost.exchanges.keys()


def test_an_exchange_with_another_way_out_survives_the_cascade(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, ExchangeDeclare(exchange="a", auto_delete=True))
    peer.send(1, QueueBind(queue="q", exchange="a"))
    peer.send(1, ExchangeBind(destination="amq.fanout", source="a"))
    peer.send(1, QueueDelete(queue="q"))
    assert "a" in harness.vhost.exchanges


# bind, unbind


def test_exchanges_are_bound_to_exchanges(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, ExchangeDeclare(exchange="x", type="fanout", durable=True))
    peer.send(1, QueueBind(queue="q", exchange="x"))
    bind = ExchangeBind(destination="x", source="amq.topic", routing_key="#")
    assert peer.call(1, bind) == ExchangeBindOk()
    assert peer.call(1, bind) == ExchangeBindOk()
    assert drive(harness.store.load()).of(BindingRecord) == (BindingRecord("/", "amq.topic", "exchange", "x", "#"),)
    peer.publish("any", b"m", exchange="amq.topic")
    assert ready(peer, "q") == 1
    unbind = ExchangeUnbind(destination="x", source="amq.topic", routing_key="#")
    assert peer.call(1, unbind) == ExchangeUnbindOk()
    assert peer.call(1, unbind) == ExchangeUnbindOk()
    assert ExchangeUnbindOk.ids == (40, 51)
    peer.publish("any", b"m", exchange="amq.topic")
    assert ready(peer, "q") == 1
    assert drive(harness.store.load()).of(BindingRecord) == ()


@pytest.mark.parametrize(
    "method",
    [ExchangeBind(destination="nope", source="amq.topic"), ExchangeBind(destination="amq.topic", source="nope")],
)
def test_both_ends_of_a_binding_must_exist(peer: Client, method: ExchangeBind) -> None:
    assert peer.call(1, method) == soft(404, "NOT_FOUND - no exchange 'nope' in vhost '/'", ExchangeBind)


def test_a_message_comes_once_to_a_queue_through_a_cycle(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    for name in ("a", "b"):
        peer.send(1, ExchangeDeclare(exchange=name, type="fanout"))
        peer.send(1, QueueBind(queue="q", exchange=name))
    peer.send(1, ExchangeBind(destination="b", source="a"))
    peer.send(1, ExchangeBind(destination="a", source="b"))
    peer.publish("", b"m", exchange="a")
    assert ready(peer, "q") == 1


# internal and alternate exchanges


def test_a_client_cannot_publish_to_an_internal_exchange(peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", internal=True))
    peer.received()
    peer.publish("k", b"m", exchange="x")
    assert peer.received() == [
        (1, ChannelClose(403, "ACCESS_REFUSED - cannot publish to internal exchange 'x' in vhost '/'", 60, 40))
    ]


def test_an_internal_exchange_takes_what_comes_by_bindings_and_as_an_alternate(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, ExchangeDeclare(exchange="in", type="fanout", internal=True))
    peer.send(1, QueueBind(queue="q", exchange="in"))
    peer.send(1, ExchangeBind(destination="in", source="amq.fanout"))
    peer.send(1, ExchangeDeclare(exchange="x", arguments=args(alternate_exchange="in")))
    peer.publish("", b"m", exchange="amq.fanout")
    peer.publish("", b"m", exchange="x")
    assert ready(peer, "q") == 2


def test_what_cannot_be_routed_goes_to_the_alternate_exchange_and_is_not_returned(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="rest"))
    peer.send(1, ExchangeDeclare(exchange="x", arguments=args(alternate_exchange="amq.fanout")))
    peer.send(1, QueueBind(queue="rest", exchange="amq.fanout"))
    peer.received()
    peer.publish("k", b"m", exchange="x", mandatory=True)
    assert peer.received() == []
    assert ready(peer, "rest") == 1


def test_what_can_be_routed_does_not_go_to_the_alternate_exchange(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, QueueDeclare(queue="rest"))
    peer.send(1, ExchangeDeclare(exchange="x", arguments=args(alternate_exchange="amq.fanout")))
    peer.send(1, QueueBind(queue="q", exchange="x", routing_key="k"))
    peer.send(1, QueueBind(queue="rest", exchange="amq.fanout"))
    peer.publish("k", b"m", exchange="x")
    assert (ready(peer, "q"), ready(peer, "rest")) == (1, 0)


@pytest.mark.parametrize("alternate", ["x", "y", "missing"])
def test_a_cycle_or_a_missing_alternate_exchange_leaves_a_message_unroutable(peer: Client, alternate: str) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", arguments=args(alternate_exchange=alternate)))
    peer.send(1, ExchangeDeclare(exchange="y", arguments=args(alternate_exchange="x")))
    peer.received()
    peer.publish("k", b"m", exchange="x", mandatory=True)
    assert peer.received() == [(1, BasicReturn(312, "NO_ROUTE", "x", "k"))]


# Concurrency


def test_two_declarations_of_one_name_at_once_make_one_exchange(harness: Harness, peer: Client) -> None:
    peer.send(2, ChannelOpen())
    peer.received()
    harness.gate.is_open = False
    peer.send(1, ExchangeDeclare(exchange="x", durable=True))
    peer.send(2, ExchangeDeclare(exchange="x", type="fanout", durable=True))
    harness.gate.is_open = True
    harness.run()
    assert [type(method) for _, method in peer.received()] == [ExchangeDeclareOk, ChannelClose]
    assert harness.vhost.exchanges["x"].type == "direct"
