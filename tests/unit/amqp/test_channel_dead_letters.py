"""Dead letters as clients see them: contract F4, F5, L1 to L5."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicGet,
    BasicGetEmpty,
    BasicGetOk,
    BasicNack,
    BasicReject,
    ConfirmSelect,
    ExchangeDeclare,
    QueueBind,
    QueueDelete,
    QueuePurge,
    TxCommit,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness
from tests.support.peer import Content
from tests.unit.amqp.test_channel_ttl import declare, everything, living, ready, stored

PERSISTENT = BasicProperties(delivery_mode=2)


def fetch(peer: Client, name: str, *, no_ack: bool = True) -> tuple[BasicGetOk, Content]:
    peer.contents()
    answer = peer.call(1, BasicGet(queue=name, no_ack=no_ack))
    assert isinstance(answer, BasicGetOk), f"nothing in {name}"
    return answer, peer.contents()[0]


def deaths(content: Content) -> list[dict[str, Any]]:
    assert content.properties.headers is not None
    table = content.properties.headers.values["x-death"]
    return [dict(each.values if isinstance(each, FieldTable) else each) for each in table]


def with_letters(peer: Client, **arguments: object) -> Client:
    """Declare q, whose dead letters go to dead."""
    declare(peer, "dead")
    return declare(peer, dead_letter_exchange="", dead_letter_routing_key="dead", **arguments)


@pytest.mark.parametrize("properties", [BasicProperties(), PERSISTENT])
def test_what_is_rejected_goes_to_the_dead_letter_exchange(
    harness: Harness, peer: Client, properties: BasicProperties
) -> None:
    with_letters(peer)
    peer.publish("q", b"m", properties=properties)
    harness.commit()
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicReject(1, False))
    assert ready(peer) == 0
    method, content = fetch(peer, "dead")
    assert (method.exchange, method.routing_key, method.redelivered, content.body) == ("", "dead", False, b"m")
    (death,) = deaths(content)
    assert death["reason"] == "rejected"
    assert death["queue"] == "q"
    assert death["count"] == 1
    assert death["exchange"] == ""
    assert death["routing-keys"] == ["q"]
    harness.commit()
    assert stored(harness) == 0


def test_what_expires_goes_to_the_dead_letter_exchange_in_order(harness: Harness, peer: Client) -> None:
    with_letters(peer, message_ttl=1000)
    peer.publish("q", b"a", b"b", b"c", properties=PERSISTENT)
    peer.publish("q", b"sooner", properties=living(500))
    harness.pass_time(1)
    assert everything(peer, "dead") == [b"sooner", b"a", b"b", b"c"]


def test_an_expiration_is_remembered_and_removed(harness: Harness, peer: Client) -> None:
    with_letters(peer)
    peer.publish("q", b"m", properties=BasicProperties(expiration="10", delivery_mode=2, message_id="7"))
    harness.pass_time(0.01)
    _, content = fetch(peer, "dead")
    assert content.properties.expiration is None
    assert content.properties.message_id == "7"
    (death,) = deaths(content)
    assert (death["reason"], death["original-expiration"]) == ("expired", "10")


def test_a_dead_letter_keeps_its_keys_without_another(harness: Harness, peer: Client) -> None:
    peer.call(1, ExchangeDeclare(exchange="dlx", type="direct"))
    declare(peer, "by key")
    declare(peer, "by copy")
    peer.call(1, QueueBind(queue="by key", exchange="dlx", routing_key="q"))
    peer.call(1, QueueBind(queue="by copy", exchange="dlx", routing_key="copy"))
    declare(peer, dead_letter_exchange="dlx", message_ttl=10)
    headers = FieldTable.of({"CC": ["copy"], "BCC": ["hidden"]})
    peer.publish("q", b"m", properties=BasicProperties(headers=headers))
    harness.pass_time(0.01)
    for name in ("by key", "by copy"):
        method, content = fetch(peer, name)
        assert (method.exchange, method.routing_key) == ("dlx", "q")
        assert content.properties.headers.values["CC"] == ["copy"]
        assert deaths(content)[0]["routing-keys"] == ["q", "copy"]


@pytest.mark.parametrize("properties", [BasicProperties(), PERSISTENT])
def test_what_was_given_back_too_often_goes_to_the_dead_letter_exchange(
    harness: Harness, peer: Client, properties: BasicProperties
) -> None:
    with_letters(peer, delivery_limit=1)
    peer.publish("q", b"m", properties=properties)
    harness.commit()
    for tag in (1, 2):
        fetch(peer, "q", no_ack=False)
        peer.send(1, BasicNack(tag))
        harness.commit()
    method, content = fetch(peer, "dead")
    assert (method.redelivered, ready(peer)) == (False, 0)
    assert [(death["queue"], death["reason"], death["count"]) for death in deaths(content)] == [
        ("q", "delivery_limit", 1)
    ]
    assert content.properties.headers is not None
    assert "x-delivery-count" not in content.properties.headers.values
    harness.commit()
    assert stored(harness) == 0


def test_an_exchange_that_is_not_there_gets_nothing(harness: Harness, peer: Client) -> None:
    declare(peer, dead_letter_exchange="missing", message_ttl=10)
    with capture_logs() as logs:
        for _ in range(2):
            peer.publish("q", b"m", properties=PERSISTENT)
            harness.commit()
            harness.pass_time(0.01)
            harness.commit()
    assert stored(harness) == 0
    told = [log for log in logs if log["log_level"] == "warning"]
    assert [(log["exchange"], log["queue"], log["vhost"]) for log in told] == [("missing", "q", "/")]


def test_a_cycle_without_a_client_ends(harness: Harness, peer: Client) -> None:
    declare(peer, "one", dead_letter_exchange="", dead_letter_routing_key="two", message_ttl=10)
    declare(peer, "two", dead_letter_exchange="", dead_letter_routing_key="one", message_ttl=10)
    peer.publish("one", b"m", properties=PERSISTENT)
    for _ in range(10):
        harness.pass_time(0.01)
        harness.commit()
    assert stored(harness) == 0
    assert (ready(peer, "one"), ready(peer, "two")) == (0, 0)


def test_a_retry_by_rejecting_goes_round_as_often_as_it_is_rejected(harness: Harness, peer: Client) -> None:
    declare(peer, "work", dead_letter_exchange="", dead_letter_routing_key="wait")
    declare(peer, "wait", dead_letter_exchange="", dead_letter_routing_key="work", message_ttl=10)
    peer.publish("work", b"m", properties=PERSISTENT)
    for count in range(1, 6):
        method, _ = fetch(peer, "work", no_ack=False)
        peer.send(1, BasicReject(method.delivery_tag, False))
        harness.pass_time(0.01)
        _, content = fetch(peer, "work", no_ack=False)
        peer.send(1, BasicNack(method.delivery_tag + 1, False, True))
        assert [(death["queue"], death["reason"], death["count"]) for death in deaths(content)] == [
            ("wait", "expired", count),
            ("work", "rejected", count),
        ]


def test_all_queues_of_the_exchange_get_the_letter(harness: Harness, peer: Client) -> None:
    peer.call(1, ExchangeDeclare(exchange="dlx", type="fanout"))
    for name in ("a", "b"):
        declare(peer, name)
        peer.call(1, QueueBind(queue=name, exchange="dlx", routing_key=""))
    declare(peer, dead_letter_exchange="dlx", message_ttl=10)
    body = b"x" * 200_000
    peer.publish("q", body, properties=PERSISTENT)
    harness.commit()
    harness.pass_time(0.01)
    assert fetch(peer, "a")[1].body == fetch(peer, "b")[1].body == body
    harness.commit()
    assert stored(harness) == 0


def test_what_is_rejected_in_a_transaction_becomes_a_letter_with_its_commit(harness: Harness, peer: Client) -> None:
    with_letters(peer)
    peer.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    peer.call(1, TxSelect())
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicReject(1, False))
    assert ready(peer, "dead") == 0
    peer.call(1, TxCommit())
    assert fetch(peer, "dead", no_ack=False)[1].body == b"m"


def test_a_message_is_in_one_of_its_two_places_in_the_store(harness: Harness, peer: Client) -> None:
    with_letters(peer, message_ttl=10)
    peer.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    harness.gate.is_open = False
    harness.pass_time(0.01)
    harness.commit()
    assert stored(harness) == 1
    assert (ready(peer), ready(peer, "dead")) == (0, 0)
    harness.gate.is_open = True
    harness.run()
    assert stored(harness) == 1
    assert (ready(peer), ready(peer, "dead")) == (0, 1)
    assert harness.journal.held == 0


def test_a_publisher_is_confirmed_when_its_message_is_safe_somewhere(harness: Harness, peer: Client) -> None:
    with_letters(peer, message_ttl=10)
    peer.call(1, ConfirmSelect())
    harness.gate.is_open = False
    peer.publish("q", b"m", properties=PERSISTENT)
    harness.pass_time(0.01)
    assert peer.received() == []
    harness.gate.is_open = True
    harness.run()
    harness.broker.flush_confirms()
    harness.run()
    assert peer.received() == [(1, BasicAck(1))]


def test_deleting_and_purging_makes_no_letters(harness: Harness, peer: Client) -> None:
    with_letters(peer)
    peer.publish("q", b"m")
    peer.call(1, QueuePurge(queue="q"))
    peer.publish("q", b"m")
    peer.call(1, QueueDelete(queue="q"))
    assert isinstance(peer.call(1, BasicGet(queue="dead")), BasicGetEmpty)


def test_letters_that_must_not_be_lost_wait_for_a_queue(harness: Harness, peer: Client) -> None:
    declare(peer, dead_letter_exchange="later", dead_letter_strategy="at-least-once", overflow="reject-publish")
    peer.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicReject(1, False))
    harness.commit()
    assert stored(harness) == 1
    declare(peer, "dead")
    peer.call(1, ExchangeDeclare(exchange="later", type="fanout"))
    peer.call(1, QueueBind(queue="dead", exchange="later", routing_key=""))
    harness.parts.dead_letters.retry()
    harness.run()
    assert fetch(peer, "dead")[1].body == b"m"


def test_a_dead_letter_is_stored_if_the_message_was(harness: Harness, peer: Client) -> None:
    with_letters(peer, message_deduplication=True)
    keyed = BasicProperties(delivery_mode=1, headers=FieldTable.of({"x-dedup-id": "1"}))
    peer.publish("q", b"stored", properties=keyed)
    harness.commit()
    assert stored(harness) == 1
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicReject(1, False))
    harness.commit()
    assert ready(peer, "dead") == 1
    assert stored(harness) == 1
