"""What takes more than its turn of the loop goes on in later ones, and others are served in between: invariant I92."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.amqp.continuation import Continuation
from broker.amqp.copies import COPIES_AT_ONCE, COPY_STEPS
from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicGetOk,
    BasicPublish,
    BasicReturn,
    ChannelClose,
    ChannelCloseOk,
    ChannelOpen,
    ConfirmSelect,
    ConnectionClose,
    ConnectionCloseOk,
    ExchangeBind,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    QueueDelete,
    QueueDeleteOk,
    TxCommit,
    TxCommitOk,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.topology.routing import CASCADE
from tests.support.harness import Client, Harness
from tests.support.peer import command

PERSISTENT = BasicProperties(delivery_mode=2)
TURN = 500
WIDE = 3 * COPIES_AT_ONCE + 10
LONGEST = TURN + COPIES_AT_ONCE * (COPY_STEPS + 2) + 50


@pytest.fixture
def harness() -> Harness:
    return Harness(turn=TURN, max_queues=10_000)


@pytest.fixture
def peer(harness: Harness) -> Client:
    """A client whose exchange `wide` leads to many queues, the last of which is `q`."""
    peer = harness.peer()
    fan_out(peer, durable=False)
    harness.turns.taken.clear()
    return peer


def fan_out(peer: Client, *, durable: bool) -> None:
    peer.send(1, ExchangeDeclare(exchange="wide", type="fanout"))
    names = [*(f"q{number}" for number in range(WIDE - 1)), "q"]
    peer.send_raw(
        b"".join(
            command(1, QueueDeclare(queue=name, durable=durable, no_wait=True))
            + command(1, QueueBind(queue=name, exchange="wide", no_wait=True))
            for name in names
        )
    )
    peer.received()


@pytest.fixture
def durable_peer(harness: Harness) -> Client:
    peer = harness.peer()
    fan_out(peer, durable=True)
    harness.turns.taken.clear()
    return peer


def publish(*bodies: bytes, exchange: str = "wide", key: str = "", properties: BasicProperties | None = None) -> bytes:
    return b"".join(
        command(1, BasicPublish(exchange=exchange, routing_key=key), properties or BasicProperties(), body)
        for body in bodies
    )


def counts(harness: Harness) -> list[int]:
    return [queue.ready_count for queue in harness.vhost.queues.values()]


def bodies_of(harness: Harness, queue: str) -> list[bytes]:
    return [message.payload for message in harness.vhost.queues[queue].ready]


def test_a_publish_to_many_queues_takes_bounded_turns(harness: Harness, peer: Client) -> None:
    peer.send_raw(publish(b"1", b"2", b"3"))
    assert counts(harness) == [3] * WIDE
    assert bodies_of(harness, "q") == [b"1", b"2", b"3"]
    assert len(harness.turns.taken) >= 9
    assert max(harness.turns.taken) <= LONGEST


def test_another_client_is_served_in_between(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    other.send(1, QueueDeclare(queue="mine"))
    other.send(1, BasicConsume(queue="mine", no_ack=True))
    other.received()
    seen: list[tuple[int, int]] = []

    def in_between() -> None:
        harness.turns.in_between = lambda: None
        other.publish("mine", b"m")
        seen.append((len(other.contents()), counts(harness).count(0)))
        harness.turns.in_between = in_between

    harness.turns.in_between = in_between
    peer.send_raw(publish(b"1"))
    assert seen[0][0] == 1
    assert seen[0][1] > 0


def test_what_comes_behind_waits_for_its_turn_and_keeps_its_order(harness: Harness, peer: Client) -> None:
    peer.send_raw(publish(b"1") + publish(b"2", exchange="", key="q") + publish(b"3") + command(1, BasicGet(queue="q")))
    assert bodies_of(harness, "q") == [b"2", b"3"]
    ((_, got),) = peer.received()
    assert isinstance(got, BasicGetOk)
    assert peer.bodies() == [b"1"]


def test_a_connection_is_closed_behind_what_it_has_published(harness: Harness, peer: Client) -> None:
    peer.send_raw(publish(b"1", b"2") + command(0, ConnectionClose(200, "", 0, 0)))
    assert counts(harness) == [2] * WIDE
    assert peer.received() == [(0, ConnectionCloseOk())]


def test_a_publish_is_confirmed_when_all_its_copies_are_safe(harness: Harness, durable_peer: Client) -> None:
    durable_peer.send(1, ConfirmSelect())
    durable_peer.received()

    def in_between() -> None:
        harness.journal.commit()
        harness.broker.flush_confirms()
        assert durable_peer.received() == []

    harness.turns.in_between = in_between
    durable_peer.send_raw(publish(b"x" * 2000, properties=PERSISTENT))
    assert durable_peer.received() == []
    harness.commit()
    assert durable_peer.received() == [(1, BasicAck(1))]
    assert counts(harness) == [1] * WIDE


def test_a_queue_that_is_deleted_meanwhile_gets_nothing(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    queue = harness.vhost.queues["q"]

    def in_between() -> None:
        harness.turns.in_between = lambda: None
        other.send(1, QueueDelete(queue="q"))

    harness.turns.in_between = in_between
    peer.send_raw(publish(b"1", b"2"))
    assert counts(harness) == [2] * (WIDE - 1)
    assert queue.ready_count == 0


def test_what_a_client_began_before_it_went_is_finished(harness: Harness, peer: Client) -> None:
    harness.turns.in_between = peer.lose
    peer.send_raw(publish(b"1"))
    assert counts(harness) == [1] * WIDE


def test_a_connection_that_has_failed_publishes_nothing_more(harness: Harness, peer: Client) -> None:
    def in_between() -> None:
        harness.turns.in_between = lambda: None
        peer.connection.force_close("shutdown")

    harness.turns.in_between = in_between
    peer.send_raw(publish(b"1", b"2"))
    assert counts(harness) == [1] * WIDE


# Routes


def chain(peer: Client, length: int) -> None:
    """Bind topic exchanges one to the next, and the queue `end` behind the last."""
    for number in range(length):
        peer.send(1, ExchangeDeclare(exchange=f"x{number}", type="topic"))
        if number:
            peer.send(1, ExchangeBind(0, f"x{number}", f"x{number - 1}", "#"))
    peer.send(1, QueueDeclare(queue="end"))
    peer.send(1, QueueBind(queue="end", exchange=f"x{length - 1}", routing_key="#"))
    peer.received()


@pytest.fixture
def far(harness: Harness) -> Client:
    peer = harness.peer()
    chain(peer, 300)
    harness.turns.taken.clear()
    harness.turns.work.begin_turn()
    return peer


def test_a_long_way_to_a_queue_takes_bounded_turns(harness: Harness, far: Client) -> None:
    far.send_raw(publish(b"1", exchange="x0", key="a") + publish(b"2", b"3", exchange="x0", key="b"))
    assert bodies_of(harness, "end") == [b"1", b"2", b"3"]
    assert len(harness.turns.taken) >= 3
    assert max(harness.turns.taken) <= TURN + 20


def test_a_route_that_took_turns_to_find_is_remembered(harness: Harness, far: Client) -> None:
    far.send_raw(publish(b"1", exchange="x0", key="a"))
    before = sum(harness.turns.taken) + harness.turns.work.done
    far.send_raw(publish(b"2", exchange="x0", key="a"))
    assert sum(harness.turns.taken) + harness.turns.work.done - before < 20


def test_a_route_is_not_remembered_when_bindings_change_while_it_is_searched(harness: Harness, far: Client) -> None:
    other = harness.peer()
    other.send(1, QueueDeclare(queue="new"))

    def in_between() -> None:
        harness.turns.in_between = lambda: None
        other.send(1, QueueBind(queue="new", exchange="x0", routing_key="#"))

    harness.turns.in_between = in_between
    far.send_raw(publish(b"1", exchange="x0", key="a"))
    far.send_raw(publish(b"2", exchange="x0", key="a"))
    assert bodies_of(harness, "end") == [b"1", b"2"]
    assert bodies_of(harness, "new")[-1:] == [b"2"]


def test_many_keys_over_a_long_way_take_bounded_turns(harness: Harness, far: Client) -> None:
    properties = BasicProperties(headers=FieldTable.of({"CC": [f"a.{number}" for number in range(50)]}))
    far.send_raw(publish(b"1", exchange="x0", key="a", properties=properties))
    assert bodies_of(harness, "end") == [b"1"]
    assert max(harness.turns.taken) <= TURN + 120


@pytest.mark.parametrize("has_headers", [False, True])
def test_a_headers_exchange_at_the_end_of_a_long_way_is_asked(harness: Harness, far: Client, has_headers: bool) -> None:
    far.send(1, QueueDeclare(queue="red"))
    far.send(1, ExchangeBind(0, "amq.headers", "x299", "#"))
    far.send(1, QueueBind(queue="red", exchange="amq.headers", arguments=FieldTable.of({"color": "red"})))
    far.send(1, QueueBind(queue="end", exchange="amq.headers"))
    headers = BasicProperties(headers=FieldTable.of({"color": "red"})) if has_headers else None
    far.send_raw(publish(b"1", b"2", exchange="x0", key="a", properties=headers))
    assert bodies_of(harness, "red") == ([b"1", b"2"] if has_headers else [])
    assert bodies_of(harness, "end") == [b"1", b"2"]


def test_an_unroutable_message_comes_back_after_a_long_search(harness: Harness, far: Client) -> None:
    far.send(1, QueueDelete(queue="end"))
    far.received()
    far.publish("a", b"1", exchange="x0", mandatory=True)
    assert [type(method) for _, method in far.received()] == [BasicReturn]


# Frames behind a handler


def test_frames_behind_a_handler_take_turns_too(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send_raw(
        command(1, QueueDeclare(queue="d", durable=True))
        + publish(b"1", b"2")
        + command(1, ChannelClose(200, "", 0, 0))
    )
    assert counts(harness) == [0] * WIDE
    harness.gate.is_open = True
    harness.turns.taken.clear()
    harness.run()
    assert counts(harness) == [2] * WIDE + [0]
    assert max(harness.turns.taken) <= LONGEST
    assert [type(method) for _, method in peer.received()][-1] is ChannelCloseOk


def test_handlers_that_wait_on_many_channels_take_turns(harness: Harness) -> None:
    peer = harness.peer()
    channels = range(2, 52)
    for channel in channels:
        peer.send(channel, ChannelOpen())
    peer.received()
    harness.turns.taken.clear()

    peer.send_raw(b"".join(command(channel, QueueDeclare(queue=f"d{channel}", durable=True)) for channel in channels))

    assert len(peer.received()) == len(channels)
    assert len(harness.turns.taken) >= len(channels) * 100 // TURN - 1
    assert max(harness.turns.taken) <= TURN + 300


def test_the_exclusive_queues_of_a_connection_that_ends_take_turns(harness: Harness) -> None:
    peer = harness.peer()
    peer.send_raw(b"".join(command(1, QueueDeclare(queue=f"own{n}", exclusive=True, no_wait=True)) for n in range(200)))
    assert len(harness.vhost.queues) == 200
    assert max(harness.turns.taken) <= TURN + 200
    harness.turns.taken.clear()
    peer.lose()
    assert not harness.vhost.queues
    assert len(harness.turns.taken) > 9
    assert max(harness.turns.taken) <= TURN + 200


def test_a_deletion_that_takes_many_exchanges_along_takes_turns(harness: Harness) -> None:
    peer = harness.peer()
    before = len(harness.vhost.exchanges)
    names = ["root", *(f"x{number}" for number in range(2 * CASCADE))]
    octets = command(1, QueueDeclare(queue="q", no_wait=True))
    octets += b"".join(
        command(1, ExchangeDeclare(exchange=name, type="fanout", auto_delete=True, no_wait=True)) for name in names
    )
    for name in names[1:]:
        octets += command(1, ExchangeBind(0, name, "root", "", True)) + command(1, QueueBind(0, "q", name, "", True))
    peer.send_raw(octets)
    assert len(harness.vhost.exchanges) == before + len(names)
    harness.turns.taken.clear()
    peer.send(1, QueueDelete(queue="q"))
    assert len(harness.vhost.exchanges) == before
    assert [type(method) for _, method in peer.received()] == [QueueDeleteOk]
    assert len(harness.turns.taken) > 9


# Transactions


def committed(client: Client) -> list[type]:
    client.send(1, TxCommit())
    return [type(method) for _, method in client.received()]


@pytest.mark.parametrize("kind", ["transient", "persistent"])
def test_a_commit_of_many_messages_takes_bounded_turns(
    harness: Harness, request: pytest.FixtureRequest, kind: str
) -> None:
    client: Client = request.getfixturevalue("peer" if kind == "transient" else "durable_peer")
    client.send(1, TxSelect())
    client.send_raw(publish(b"1", b"2", b"3", properties=PERSISTENT if kind == "persistent" else None))
    client.received()
    assert counts(harness) == [0] * WIDE
    harness.turns.taken.clear()
    assert committed(client) == [TxCommitOk]
    assert counts(harness) == [3] * WIDE
    assert bodies_of(harness, "q") == [b"1", b"2", b"3"]
    assert len(harness.turns.taken) >= 9
    assert max(harness.turns.taken) <= LONGEST


def test_nothing_of_a_stored_transaction_is_seen_before_the_store_has_all_of_it(
    harness: Harness, durable_peer: Client
) -> None:
    durable_peer.send(1, TxSelect())
    durable_peer.send_raw(publish(b"1", b"2", properties=PERSISTENT))
    harness.gate.is_open = False
    assert committed(durable_peer)[1:] == []
    assert counts(harness) == [0] * WIDE
    assert all(not queue.can_hand_off for queue in harness.vhost.queues.values())
    harness.gate.is_open = True
    harness.run()
    assert counts(harness) == [2] * WIDE
    assert all(queue.can_hand_off for queue in harness.vhost.queues.values())


def test_a_stored_transaction_has_a_bounded_number_of_messages(
    harness: Harness, durable_peer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.amqp.transaction.MAX_STORED", 2 * WIDE)
    durable_peer.send(1, TxSelect())
    durable_peer.send_raw(publish(b"1", b"2", properties=PERSISTENT))
    durable_peer.received()
    durable_peer.send_raw(publish(b"3", properties=PERSISTENT))
    ((_, close),) = durable_peer.received()
    assert isinstance(close, ConnectionClose)
    assert close.reply_code == 506
    assert "messages to store" in close.reply_text


# By itself


def steps(done: list[str], *names: str) -> Iterator[None]:
    for name in names:
        done.append(name)
        yield


def test_a_continuation_asks_for_a_turn_for_each_pause() -> None:
    asked: list[bool] = []
    done: list[str] = []
    continuation = Continuation(lambda: asked.append(True))
    continuation.put_off(1, steps(done, "a", "b"))
    assert (asked, done, continuation.is_waiting) == ([True], [], True)
    assert not continuation.go_on()
    assert not continuation.go_on()
    assert (len(asked), done) == (3, ["a", "b"])
    assert continuation.go_on()
    assert not continuation.is_waiting


def test_a_continuation_without_a_rest_waits_for_one_turn() -> None:
    continuation = Continuation(lambda: None)
    continuation.put_off(1)
    assert continuation.is_waiting
    assert continuation.go_on()


def test_nobody_is_asked_when_the_connection_is_over() -> None:
    asked: list[bool] = []
    continuation = Continuation(lambda: asked.append(True))
    continuation.put_off(1, steps([], "a"))
    continuation.detach()
    assert not continuation.go_on()
    assert len(asked) == 1
