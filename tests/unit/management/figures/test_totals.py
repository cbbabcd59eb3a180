"""What is added up over a node, and what channels count for it."""

from __future__ import annotations

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    ChannelClose,
    ConfirmSelect,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    QueueDelete,
    TxCommit,
    TxRollback,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.management.figures import totals
from broker.management.figures.exchanges import exchange_figures
from broker.management.figures.view import NodeView
from tests.support.harness import Client, Harness


def counted(view: NodeView) -> dict[str, int]:
    """Return what is not 0 of the node's message counts."""
    return {name: value for name, value in totals.message_counts(view)._asdict().items() if value}


def published(view: NodeView, harness: Harness, exchange: str) -> tuple[int, int]:
    """Return what came to an exchange, and what it led to queues."""
    totals.message_counts(view)
    figures = exchange_figures(view, harness.vhost, harness.vhost.exchange(exchange))["message_stats"]
    return figures["publish_in"], figures["publish_out"]


def test_a_node_that_nobody_uses_has_counted_nothing(harness: Harness, view: NodeView) -> None:
    assert counted(view) == {}
    assert set(totals.churn(view).values()) == {0}
    assert totals.objects(view)["queues"] == 0


def test_publishes_through_a_fanout_count_once_and_in_each_queue(
    harness: Harness, peer: Client, view: NodeView
) -> None:
    peer.send(1, ExchangeDeclare(exchange="all", type="fanout"))
    for name in ("a", "b"):
        peer.send(1, QueueDeclare(queue=name))
        peer.send(1, QueueBind(queue=name, exchange="all"))
    peer.publish("", b"1", b"2", b"3", exchange="all")
    peer.publish("a", b"4")
    assert counted(view) == {"publish": 4, "routed": 7}
    assert published(view, harness, "all") == (3, 6)
    assert published(view, harness, "") == (1, 1)
    assert [queue.counts.published for queue in view.queues()] == [4, 3]


def test_publishes_whose_queues_depend_on_the_message_count_where_they_went(
    harness: Harness, peer: Client, view: NodeView
) -> None:
    peer.send(1, ExchangeDeclare(exchange="chosen", type="headers"))
    peer.send(1, QueueDeclare(queue="a"))
    peer.send(1, QueueBind(queue="a", exchange="chosen", arguments=FieldTable.of({"kind": "x"})))
    peer.publish("", b"1", exchange="chosen", properties=BasicProperties(headers=FieldTable.of({"kind": "x"})))
    peer.publish("", b"2", exchange="chosen")
    assert published(view, harness, "chosen") == (2, 1)
    assert counted(view) == {"publish": 2, "routed": 1, "drop_unroutable": 1}


def test_what_has_no_queue_is_dropped_or_sent_back(harness: Harness, peer: Client, view: NodeView) -> None:
    peer.publish("nobody", b"1", b"2")
    peer.publish("nobody", b"3", mandatory=True)
    assert counted(view) == {"publish": 3, "drop_unroutable": 2, "return_unroutable": 1}
    assert published(view, harness, "") == (3, 0)


def test_confirms_are_counted_when_they_go_out(harness: Harness, peer: Client, view: NodeView) -> None:
    peer.send(1, QueueDeclare(queue="orders", durable=True))
    peer.send(1, ConfirmSelect())
    peer.publish("orders", b"1", b"2", properties=BasicProperties(delivery_mode=2))
    assert counted(view) == {"publish": 2, "publish_in_confirm_mode": 2, "routed": 2}
    harness.commit()
    assert counted(view)["confirm"] == 2


def test_what_a_full_queue_refuses_is_published_and_not_confirmed(
    harness: Harness, peer: Client, view: NodeView
) -> None:
    arguments = FieldTable.of({"x-max-length": 1, "x-overflow": "reject-publish"})
    peer.send(1, QueueDeclare(queue="small", arguments=arguments))
    peer.send(1, ConfirmSelect())
    peer.publish("small", b"1", b"2")
    assert counted(view) == {"publish": 2, "publish_in_confirm_mode": 2, "confirm": 1, "routed": 1}
    (queue,) = view.queues()
    assert (queue.counts.published, queue.counts.refused) == (1, 1)


def test_a_transaction_counts_when_it_is_committed(harness: Harness, peer: Client, view: NodeView) -> None:
    peer.send(1, QueueDeclare(queue="orders"))
    peer.send(1, TxSelect())
    peer.publish("orders", b"1")
    peer.publish("nobody", b"2")
    assert counted(view) == {}
    peer.send(1, TxCommit())
    assert counted(view) == {"publish": 2, "routed": 1, "drop_unroutable": 1}
    peer.publish("orders", b"3")
    peer.send(1, TxRollback())
    assert counted(view)["publish"] == 2


def test_deliveries_gets_and_acks_are_counted_by_kind(harness: Harness, peer: Client, view: NodeView) -> None:
    peer.send(1, QueueDeclare(queue="orders"))
    peer.publish("orders", b"1", b"2", b"3")
    peer.send(1, BasicGet(queue="orders"))
    peer.send(1, BasicGet(queue="orders", no_ack=True))
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c"))
    peer.send(1, BasicAck(0, multiple=True))
    peer.send(1, BasicGet(queue="orders"))
    expected = {"publish": 3, "routed": 3, "deliver": 1, "get": 1, "get_no_ack": 1, "get_empty": 1, "ack": 2}
    assert counted(view) == expected


def test_what_a_closed_channel_has_counted_stays_with_node_and_virtual_host(
    harness: Harness, peer: Client, view: NodeView
) -> None:
    peer.send(1, QueueDeclare(queue="orders"))
    peer.publish("orders", b"1", b"2")
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c"))
    before = counted(view)
    peer.send(1, ChannelClose(200, "", 0, 0))
    assert counted(view) == before
    assert totals.message_counts(view, harness.vhost) == totals.message_counts(view)
    peer.lose()
    assert counted(view) == before


def test_what_comes_and_goes_is_counted(harness: Harness, peer: Client, view: NodeView) -> None:
    peer.send(1, QueueDeclare(queue="orders"))
    peer.send(1, QueueDeclare(queue="orders"))
    peer.send(1, QueueDelete(queue="orders"))
    peer.send(1, ChannelClose(200, "", 0, 0))
    peer.lose()
    assert totals.churn(view) == {
        "channel_closed": 1,
        "channel_created": 1,
        "connection_closed": 1,
        "connection_created": 1,
        "queue_created": 1,
        "queue_declared": 2,
        "queue_deleted": 1,
    }


def test_logins_are_counted(harness: Harness, view: NodeView) -> None:
    from broker.codec.constants import PROTOCOL_HEADER
    from tests.support.harness import start_ok

    client = harness.connect()
    client.send_raw(PROTOCOL_HEADER)
    client.send(0, start_ok(response=b"\0guest\0wrong"))
    harness.peer()
    assert (harness.broker.churn.auth_failures, harness.broker.churn.auth_successes) == (1, 1)


def test_objects_and_lengths_are_added_up(harness: Harness, peer: Client, view: NodeView) -> None:
    for name in ("a", "b"):
        peer.send(1, QueueDeclare(queue=name))
        peer.publish(name, b"1", b"2")
    peer.send(1, BasicConsume(queue="a", consumer_tag="c"))
    assert totals.lengths(view) == {"messages": 4, "messages_ready": 2, "messages_unacknowledged": 2}
    assert totals.lengths(view, "carbon") == {"messages": 0, "messages_ready": 0, "messages_unacknowledged": 0}
    objects = totals.objects(view)
    assert (objects["channels"], objects["connections"], objects["consumers"], objects["queues"]) == (1, 1, 1, 2)
