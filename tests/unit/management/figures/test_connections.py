"""What is told of connections and channels."""

from __future__ import annotations

from broker.codec.methods import BasicQos, ChannelFlow, ConfirmSelect, QueueDeclare, TxSelect
from broker.management.figures.connections import channel_figures, connection_figures
from broker.management.figures.view import NodeView
from tests.support.harness import Client, Harness
from tests.support.shapes import differences


def channel_of(view: NodeView) -> dict[str, object]:
    ((connection, channel),) = view.channels()
    return channel_figures(view, connection, channel)


def test_connections_and_channels_have_every_key_that_was_recorded(peer: Client, view: NodeView) -> None:
    (connection,) = view.connections()
    assert differences("connection", connection_figures(view, connection)) == {}
    assert differences("channel", channel_of(view)) == {}


def test_a_connection_tells_who_the_client_is(peer: Client, view: NodeView) -> None:
    figures = connection_figures(view, peer.connection)
    told = ("user", "vhost", "peer_host", "state", "auth_mechanism", "timeout", "channels", "ssl", "node")
    assert [figures[name] for name in told] == [
        "guest",
        "/",
        "127.0.0.1",
        "running",
        "PLAIN",
        0,
        1,
        False,
        "NODE:1",
    ]


def test_octets_that_came_are_counted(peer: Client, view: NodeView) -> None:
    before = connection_figures(view, peer.connection)
    peer.send_raw(b"\x08\0\0\0\0\0\0\xce")
    after = connection_figures(view, peer.connection)
    assert after["recv_oct"] - before["recv_oct"] == 8
    assert after["recv_cnt"] - before["recv_cnt"] == 1


def test_a_connection_that_closes_or_is_blocked_says_so(harness: Harness, peer: Client, view: NodeView) -> None:
    peer.connection.set_blocked("low on memory")
    assert connection_figures(view, peer.connection)["state"] == "blocked"
    peer.connection.force_close("enough")
    assert connection_figures(view, peer.connection)["state"] == "closing"
    harness.run()


def test_a_channel_tells_its_mode_and_what_waits(harness: Harness, peer: Client, view: NodeView) -> None:
    peer.send(1, QueueDeclare(queue="orders"))
    peer.send(1, BasicQos(0, 5))
    peer.send(1, BasicQos(0, 9, True))
    peer.send(1, TxSelect())
    peer.publish("orders", b"1", b"2")
    figures = channel_of(view)
    told = ("transactional", "confirm", "messages_uncommitted", "prefetch_count", "global_prefetch_count", "state")
    assert [figures[name] for name in told] == [True, False, 2, 5, 9, "running"]
    peer.send(1, ChannelFlow(False))
    assert channel_of(view)["state"] == "flow"


def test_a_channel_tells_how_many_publishes_wait_for_their_confirms(
    harness: Harness, peer: Client, view: NodeView
) -> None:
    from broker.codec.properties import BasicProperties

    peer.send(1, QueueDeclare(queue="orders", durable=True))
    peer.send(1, ConfirmSelect())
    peer.publish("orders", b"1", b"2", properties=BasicProperties(delivery_mode=2))
    figures = channel_of(view)
    assert (figures["confirm"], figures["messages_unconfirmed"]) == (True, 2)
    harness.commit()
    assert channel_of(view)["messages_unconfirmed"] == 0
