"""The end of a connection from either side: contract G8, C13, C14, C16."""

from __future__ import annotations

from broker.codec.method import Method
from broker.codec.methods import (
    BasicGet,
    BasicGetOk,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionUpdateSecret,
    ConnectionUpdateSecretOk,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
)
from broker.errors import StoreError
from tests.support.harness import Client, Harness


def hard(code: int, text: str, ids: tuple[int, int] = (0, 0)) -> list[tuple[int, Method]]:
    return [(0, ConnectionClose(code, text, *ids))]


# connection.close


def test_close_is_answered_and_ends_the_connection(peer: Client) -> None:
    peer.send(0, ConnectionClose(200, "Normal shutdown"))
    assert peer.received() == [(0, ConnectionCloseOk())]
    assert peer.is_closed


def test_close_ok_comes_after_exclusive_queues_are_gone_and_messages_are_back(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="mine", exclusive=True))
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    peer.send(1, BasicGet(queue="q"))
    peer.received()
    peer.send(0, ConnectionClose(200, "bye"))
    assert peer.received() == [(0, ConnectionCloseOk())]
    assert other.call(1, BasicGet(queue="q")) == BasicGetOk(1, True, "", "q", 0)
    assert other.call(1, QueueDeclare(queue="mine", passive=True)) == ChannelClose(
        404, "NOT_FOUND - no queue 'mine' in vhost '/'", 50, 10
    )


def test_close_ok_waits_for_the_store_and_nothing_more_is_heard(harness: Harness, peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", durable=True, auto_delete=True))
    peer.send(1, QueueDeclare(queue="mine", exclusive=True))
    peer.send(1, QueueBind(queue="mine", exchange="x"))
    peer.received()
    harness.gate.is_open = False
    peer.send(0, ConnectionClose(200, "bye"))
    peer.send(1, QueueDeclare(queue="late"))
    assert peer.received() == []
    harness.gate.is_open = True
    harness.run()
    assert peer.received() == [(0, ConnectionCloseOk())]
    assert list(harness.vhost.queues) == []
    assert "x" not in harness.vhost.exchanges


def test_a_lost_connection_frees_what_it_held(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="mine", exclusive=True))
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    peer.send(1, BasicGet(queue="q"))
    peer.lose()
    assert list(harness.vhost.queues) == ["q"]
    assert other.call(1, BasicGet(queue="q")) == BasicGetOk(1, True, "", "q", 0)


def test_an_exclusive_queue_whose_declaration_ends_after_its_connection_is_deleted(
    harness: Harness, peer: Client
) -> None:
    peer.send(2, ChannelOpen())
    harness.gate.is_open = False
    peer.send(1, ExchangeDeclare(exchange="x", durable=True))
    peer.send(2, QueueDeclare(queue="mine", exclusive=True))
    peer.lose()
    harness.gate.is_open = True
    harness.run()
    assert list(harness.vhost.queues) == []
    assert "x" in harness.vhost.exchanges


def test_names_of_exclusive_queues_that_are_gone_are_not_kept(harness: Harness, peer: Client) -> None:
    for _ in range(100):
        peer.send(1, QueueDeclare(queue="mine", exclusive=True))
        peer.send(1, QueueDelete(queue="mine"))
    assert len(peer.connection.channels[1].connection.exclusive) < 50


def test_what_waits_behind_a_handler_is_done_before_close_ok(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", b"m")
    peer.send(0, ConnectionClose(200, "bye"))
    assert peer.received() == []
    harness.gate.is_open = True
    harness.run()
    assert peer.received() == [(1, QueueDeclareOk("q", 0, 0)), (0, ConnectionCloseOk())]
    assert harness.vhost.queues["q"].ready_count == 1


def test_what_waits_behind_an_error_is_lost_when_the_connection_closes_too(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", b"m", exchange="nope")
    peer.publish("q", b"m")
    peer.send(0, ConnectionClose(200, "bye"))
    harness.gate.is_open = True
    harness.run()
    assert [type(method) for _, method in peer.received()] == [QueueDeclareOk, ConnectionCloseOk]
    assert harness.vhost.queues["q"].ready_count == 0


def test_a_client_that_does_not_read_close_ok_is_cut_off(harness: Harness, peer: Client) -> None:
    peer.reads = False
    peer.send(0, ConnectionClose(200, "bye"))
    harness.clock.advance(9.9)
    assert not peer.tick()
    harness.clock.advance(0.2)
    assert peer.tick()


def test_a_client_that_closes_behind_a_busy_handler_waits_without_a_deadline(harness: Harness) -> None:
    peer = harness.peer(heartbeat=10)
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.send(0, ConnectionClose(200, "bye"))
    harness.clock.advance(600.0)
    assert peer.connection.next_deadline() is None
    assert not peer.connection.on_time(harness.clock.monotonic(), may_expire=True)


# The node's side


def test_a_shutdown_is_told_with_320(peer: Client) -> None:
    peer.connection.force_close("broker forced connection closure with reason 'shutdown'")
    peer.tick()
    assert peer.received() == hard(320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")


def test_a_shutdown_before_the_login_ends_without_a_word(harness: Harness) -> None:
    client = harness.connect()
    client.connection.force_close("shutdown")
    harness.run()
    assert client.received() == []
    assert client.is_closed


def test_a_shutdown_is_told_once(peer: Client) -> None:
    peer.connection.force_close("shutdown")
    peer.connection.force_close("shutdown")
    peer.tick()
    assert len(peer.received()) == 1


def test_an_unexpected_fault_is_told_without_details(harness: Harness, peer: Client) -> None:
    harness.topology.failure = StoreError("disk on fire at /var/lib")
    peer.send(1, QueueDeclare(queue="q", durable=True))
    assert peer.received() == hard(541, "INTERNAL_ERROR - internal error", (50, 10))


def test_a_reply_text_is_cut_to_a_short_string_between_characters(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="ü" * 127, passive=True))
    ((_, close),) = peer.received()
    assert isinstance(close, ChannelClose)
    assert close.reply_text == "NOT_FOUND - no queue '" + "ü" * 116
    assert len(close.reply_text.encode()) == 254


def test_an_updated_secret_is_accepted(peer: Client) -> None:
    assert peer.call(0, ConnectionUpdateSecret(b"new", "expired")) == ConnectionUpdateSecretOk()
