"""Exchange types as clients meet them (contract E4 to E8): what is refused, and that no route is remembered that chance
or the message decides."""

from __future__ import annotations

import runpy
from functools import partial
from typing import Any

import pytest

from broker.codec.constants import FRAME_BODY, FRAME_HEADER
from broker.codec.field_table import FieldTable
from broker.codec.method import frame
from broker.codec.methods import (
    BasicPublish,
    ChannelClose,
    ChannelCloseOk,
    ChannelOpen,
    ChannelOpenOk,
    ConfirmSelect,
    ConfirmSelectOk,
    ExchangeBind,
    ExchangeBindOk,
    ExchangeDeclare,
    ExchangeDeclareOk,
    QueueBind,
    QueueBindOk,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    TxCommit,
    TxCommitOk,
    TxRollback,
    TxRollbackOk,
    TxSelect,
    TxSelectOk,
)
from broker.codec.properties import BasicProperties, encode_header
from broker.message import TRANSIENT, published_ms
from broker.topology.exchange import ExchangeTypes
from broker.topology.exchange_types.own import OwnRouter
from tests.support.harness import Client, Harness
from tests.support.peer import raw_frame


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def peer(harness: Harness) -> Client:
    return harness.peer()


def declare(peer: Client, type: str, name: str = "x", **arguments: Any) -> None:
    table = FieldTable.of({key.replace("_", "-"): value for key, value in arguments.items()})
    peer.send(1, ExchangeDeclare(exchange=name, type=type, arguments=table))
    assert peer.received() == [(1, ExchangeDeclareOk())]


def bind(peer: Client, *queues: str, key: str = "1", durable: bool = False) -> None:
    for queue in queues:
        peer.send(1, QueueDeclare(queue=queue, durable=durable))
        peer.send(1, QueueBind(queue=queue, exchange="x", routing_key=key))
        assert [type(method) for _, method in peer.received()] == [QueueDeclareOk, QueueBindOk]


def bodies(harness: Harness, queue: str) -> list[bytes]:
    return [message.payload for message in harness.vhost.queues[queue].ready]


def counts(harness: Harness) -> dict[str, int]:
    return {name: queue.ready_count for name, queue in harness.vhost.queues.items()}


def headers(**values: Any) -> BasicProperties:
    return BasicProperties(headers=FieldTable.of({key.replace("_", "-"): value for key, value in values.items()}))


# What is refused


@pytest.mark.parametrize(
    ("type", "arguments", "text"),
    [
        (
            "x-consistent-hash",
            {"hash-header": "a", "hash-property": "timestamp"},
            "hash-header and hash-property are mutually exclusive",
        ),
        ("x-consistent-hash", {"hash-property": "app_id"}, "Unsupported property: app_id"),
        (
            "x-recent-history",
            {"x-recent-history-length": 0},
            "Invalid argument 0, 'x-recent-history-length' must be a positive integer",
        ),
    ],
)
def test_arguments_of_an_exchange_that_make_no_sense_are_refused(
    peer: Client, harness: Harness, type: str, arguments: dict[str, Any], text: str
) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", type=type, arguments=FieldTable.of(arguments)))
    assert peer.received() == [(1, ChannelClose(406, f"PRECONDITION_FAILED - {text}", 40, 10))]
    assert "x" not in harness.vhost.exchanges


def test_a_weight_that_is_none_is_refused(peer: Client, harness: Harness) -> None:
    declare(peer, "x-consistent-hash")
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, QueueBind(queue="q", exchange="x", routing_key="heavy"))
    text = 'PRECONDITION_FAILED - The binding key must be an integer: <<"heavy">>'
    assert peer.received()[1:] == [(1, ChannelClose(406, text, 50, 20))]
    assert harness.vhost.exchanges["x"].is_unused


# Where messages go


def test_what_is_hashed_of_a_message_decides_where_it_goes(peer: Client, harness: Harness) -> None:
    declare(peer, "x-consistent-hash", hash_property="correlation_id")
    bind(peer, "a", "b", "c")
    for number in range(60):
        peer.publish("same", b"m", exchange="x", properties=BasicProperties(correlation_id=str(number % 20)))
    assert sum(counts(harness).values()) == 60
    assert all(count and count % 3 == 0 for count in counts(harness).values())


def test_a_message_with_further_keys_goes_to_one_queue_of_a_hashing_exchange(peer: Client, harness: Harness) -> None:
    declare(peer, "x-consistent-hash")
    bind(peer, "a", "b", "c")
    peer.publish("k", b"m", exchange="x", properties=headers(CC=[str(number) for number in range(50)]))
    assert sum(counts(harness).values()) == 1


def test_keys_that_were_routed_before_move_with_the_bindings(peer: Client, harness: Harness) -> None:
    declare(peer, "x-modulus-hash")
    bind(peer, "a")
    peer.publish("k", b"m", exchange="x")
    bind(peer, *"bcdefgh")
    for number in range(40):
        peer.publish(str(number), b"m", exchange="x")
        peer.publish("k", b"m", exchange="x")
    assert sorted(counts(harness).values())[-1] >= 40
    assert min(counts(harness).values()) > 0


def test_chance_is_asked_for_each_message(peer: Client, harness: Harness) -> None:
    declare(peer, "x-random")
    bind(peer, "a", "b")
    peer.publish("k", b"1", exchange="x")
    bind(peer, "c")
    peer.publish("k", b"2", exchange="x")
    peer.publish("k", b"3", exchange="x")
    assert counts(harness) == {"a": 0, "b": 1, "c": 2}


def test_chance_behind_another_exchange_is_asked_for_each_message() -> None:
    numbers = iter([0, 1, 0])
    harness = Harness(exchange_types=ExchangeTypes(lambda count: next(numbers)))
    peer = harness.peer()
    declare(peer, "x-random")
    bind(peer, "a", "b")
    peer.send(1, ExchangeBind(source="amq.direct", destination="x", routing_key="k"))
    assert peer.received() == [(1, ExchangeBindOk())]
    for body in (b"1", b"2", b"3"):
        peer.publish("k", body, exchange="amq.direct")
    assert (bodies(harness, "a"), bodies(harness, "b")) == ([b"1", b"3"], [b"2"])


def test_a_persistent_message_that_chance_sends_somewhere_is_confirmed_when_it_is_stored(
    peer: Client, harness: Harness
) -> None:
    declare(peer, "x-random")
    bind(peer, "a", durable=True)
    peer.send(1, ConfirmSelect())
    assert peer.received() == [(1, ConfirmSelectOk())]
    peer.publish("k", b"m", exchange="x", properties=BasicProperties(delivery_mode=2))
    assert peer.received() == []
    harness.commit()
    assert [method.name for _, method in peer.received()] == ["basic.ack"]


# Recent history


def test_a_new_binding_gets_the_last_messages_before_newer_ones(peer: Client, harness: Harness) -> None:
    declare(peer, "x-recent-history", x_recent_history_length=2)
    bind(peer, "early")
    for body in (b"1", b"2", b"3"):
        peer.publish("k", body, exchange="x")
    bind(peer, "late")
    peer.publish("k", b"4", exchange="x")
    assert (bodies(harness, "early"), bodies(harness, "late")) == ([b"1", b"2", b"3", b"4"], [b"2", b"3", b"4"])
    bind(peer, "late")
    assert bodies(harness, "late") == [b"2", b"3", b"4"]
    bind(peer, "late", key="other")
    assert bodies(harness, "late") == [b"2", b"3", b"4", b"3", b"4"]


def test_what_a_new_binding_gets_is_as_it_was_published(peer: Client, harness: Harness) -> None:
    declare(peer, "x-recent-history")
    properties = BasicProperties(headers=FieldTable.of({"a": 1, "BCC": ["k2"]}), message_id="7", delivery_mode=2)
    peer.publish("key", b"m", exchange="x", properties=properties)
    bind(peer, "q", durable=True)
    bind(peer, "r")
    [stored], [transient] = harness.vhost.queues["q"].ready, harness.vhost.queues["r"].ready
    assert stored.routing == transient.routing == b"\x01x\x03key"
    assert stored.header == transient.header
    assert b"BCC" not in stored.header
    assert transient.state == TRANSIENT
    harness.commit()
    assert list(harness.store.state.rows) == [stored.id]


def test_a_new_binding_gets_no_more_than_its_queue_has_room_for(peer: Client, harness: Harness) -> None:
    declare(peer, "x-recent-history")
    peer.publish("k", b"1", b"2", b"3", exchange="x")
    arguments = FieldTable.of({"x-max-length": 2, "x-overflow": "reject-publish"})
    peer.send(1, QueueDeclare(queue="q", arguments=arguments))
    peer.send(1, QueueBind(queue="q", exchange="x"))
    assert bodies(harness, "q") == [b"1", b"2"]


def test_what_a_new_binding_gets_expires_counted_from_then(peer: Client, harness: Harness) -> None:
    declare(peer, "x-recent-history")
    peer.publish("k", b"m", exchange="x", properties=BasicProperties(expiration="5000"))
    harness.broker.ids.advance(published_ms(harness.broker.ids.last) + 60_000)
    bind(peer, "q")
    [copy] = harness.vhost.queues["q"].ready
    assert copy.due == published_ms(copy.id) + 5000


def test_a_body_of_many_frames_is_in_the_history(harness: Harness) -> None:
    peer = harness.peer(frame_max=4096)
    declare(peer, "x-recent-history")
    publish, header = BasicPublish(exchange="x", routing_key="k"), encode_header(8000, BasicProperties())
    parts = [(FRAME_HEADER, header), (FRAME_BODY, bytes(4000)), (FRAME_BODY, bytes(4000))]
    peer.send_raw(frame(1, publish.encode()) + b"".join(raw_frame(kind, 1, part) for kind, part in parts))
    bind(peer, "q")
    assert bodies(harness, "q") == [bytes(8000)]


def test_an_exchange_that_is_bound_passes_the_history_on(peer: Client, harness: Harness) -> None:
    declare(peer, "x-recent-history", "h")
    declare(peer, "direct")
    bind(peer, "q", key="k")
    for key in ("k", "other", "k"):
        peer.publish(key, key.encode(), exchange="h")
    peer.send(1, ExchangeBind(source="h", destination="x"))
    assert peer.received() == [(1, ExchangeBindOk())]
    assert bodies(harness, "q") == [b"k", b"k"]


def test_the_newest_of_a_history_go_on_when_an_exchange_leads_to_many_queues(peer: Client, harness: Harness) -> None:
    declare(peer, "x-recent-history", "h", x_recent_history_length=200)
    declare(peer, "fanout")
    bind(peer, *(f"q{number}" for number in range(80)))
    for number in range(200):
        peer.publish("k", b"%d" % number, exchange="h")
    peer.send(1, ExchangeBind(source="h", destination="x"))
    assert peer.received() == [(1, ExchangeBindOk())]
    for name in ("q0", "q79"):
        got = bodies(harness, name)
        assert got == [b"%d" % number for number in range(200 - len(got), 200)]
        assert 30 < len(got) < 130


def test_a_transaction_enters_the_history_when_it_is_committed(peer: Client, harness: Harness) -> None:
    declare(peer, "x-recent-history")
    peer.send(1, TxSelect())
    peer.publish("k", b"rolled back", exchange="x")
    peer.send(1, TxRollback())
    peer.publish("k", b"committed", exchange="x")
    peer.send(1, TxCommit())
    assert peer.received() == [(1, TxSelectOk()), (1, TxRollbackOk()), (1, TxCommitOk())]
    bind(peer, "q")
    assert bodies(harness, "q") == [b"committed"]


def test_routes_of_other_types_are_found_once(peer: Client, harness: Harness) -> None:
    declare(peer, "x-consistent-hash")
    bind(peer, "a", "b", "c")
    peer.publish("k", b"m", exchange="x")
    [routes] = harness.vhost.routing._caches.values()
    [route] = routes.values()
    assert route.queue is not None
    assert not route.dynamic


# Types of one's own


def own(type: str, new: Any, faults: list[Exception] | None = None) -> Harness:
    told = [] if faults is None else faults
    router = partial(OwnRouter, type, new, lambda type, error: told.append(error))
    return Harness(exchange_types=ExchangeTypes(len, {type: router}))


def test_the_example_of_an_own_type_routes_by_the_longest_prefix() -> None:
    harness = own("x-prefix", runpy.run_path("examples/prefix_exchange/prefix_exchange.py")["PrefixExchange"])
    peer = harness.peer()
    declare(peer, "x-prefix", separator=".")
    for queue, key in (("all", ""), ("eu", "eu"), ("eu.de", "eu.de")):
        bind(peer, queue, key=key)
    for key in ("eu.de.berlin", "eu.de", "eu.debt", "eur", "us"):
        peer.publish(key, key.encode(), exchange="x")
    assert {name: bodies(harness, name) for name in harness.vhost.queues} == {
        "all": [b"eur", b"us"],
        "eu": [b"eu.debt"],
        "eu.de": [b"eu.de.berlin", b"eu.de"],
    }
    peer.send(1, QueueDelete(queue="eu.de"))
    peer.publish("eu.de", b"m", exchange="x")
    assert bodies(harness, "eu") == [b"eu.debt", b"m"]
    peer.received()
    peer.send(1, ExchangeDeclare(exchange="y", type="x-prefix", arguments=FieldTable.of({"separator": 7})))
    text = "PRECONDITION_FAILED - separator must be a string"
    assert peer.received() == [(1, ChannelClose(406, text, 40, 10))]


class Failing:
    def __init__(self, arguments: Any) -> None:
        self.routes_by_key_alone = arguments.get("static", False)

    def bind(self, *_: Any) -> None:
        """Nothing to do."""

    unbind = bind

    def route(self, *_: Any) -> Any:
        raise RuntimeError("out of order")


@pytest.mark.parametrize("static", [False, True])
def test_an_own_type_that_fails_closes_the_channel_and_nothing_else(static: bool) -> None:
    faults: list[Exception] = []
    harness = own("x-own", Failing, faults)
    peer, other = harness.peer(), harness.peer()
    declare(peer, "x-own", static=static)
    bind(peer, "q")
    peer.send(2, ChannelOpen())
    peer.send(1, ConfirmSelect())
    peer.received()
    for _ in range(2):
        peer.publish("k", b"m", exchange="x")
        text = "PRECONDITION_FAILED - cannot route through exchange 'x': its type 'x-own' has failed"
        assert peer.received() == [(1, ChannelClose(406, text, 60, 40))]
        peer.send(1, ChannelCloseOk())
        peer.send(1, ChannelOpen())
        assert peer.received() == [(1, ChannelOpenOk())]
    assert [repr(fault) for fault in faults] == ["RuntimeError('out of order')"] * 2
    peer.publish("q", b"1", channel=2)
    other.publish("q", b"2")
    assert bodies(harness, "q") == [b"1", b"2"]


def test_a_history_is_not_replayed_into_an_exchange_that_fails() -> None:
    harness = own("x-own", Failing)
    peer = harness.peer()
    declare(peer, "x-recent-history", "h")
    declare(peer, "x-own")
    peer.publish("k", b"m", exchange="h")
    peer.send(1, ExchangeBind(source="h", destination="x"))
    assert peer.received() == [(1, ExchangeBindOk())]
