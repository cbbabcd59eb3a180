"""Queues are altered while they are there: what is in them stays, and what they say from then on holds for it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicGetEmpty,
    ChannelClose,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.codec.properties import BasicProperties
from broker.errors import NotFound, PreconditionFailed
from broker.ports.records import Drop, Put, QueueKey, QueueRecord, VirtualHostSettingsRecord
from broker.queue.settings import QueueType
from broker.topology.alteration import altered
from broker.topology.alteration_log import AdoptedDeclarations
from broker.topology.diff import changes_between
from tests.support.harness import Client, Harness
from tests.support.stage import drive

PERSISTENT = BasicProperties(delivery_mode=2)


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def peer(harness: Harness) -> Client:
    return harness.peer()


def declare(peer: Client, **values: object) -> None:
    assert isinstance(peer.call(1, declaration(**values)), QueueDeclareOk)


def declaration(**values: object) -> QueueDeclare:
    arguments = FieldTable.of({f"x-{name.replace('_', '-')}": value for name, value in values.items()})
    return QueueDeclare(queue="q", durable=True, arguments=arguments)


def alter(harness: Harness, **changes: object) -> None:
    queue = harness.vhost.queues["q"]
    changed = {f"x-{name.replace('_', '-')}": value for name, value in changes.items()}
    drive(harness.vhost.alter_queue("q", altered(queue.arguments, changed)))
    harness.run()


def redeclare_as(harness: Harness, how: str) -> None:
    harness.live.apply(Put(VirtualHostSettingsRecord("/", redeclaration=how)))


def test_messages_and_consumers_stay_when_a_queue_is_altered(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.send(1, BasicConsume(queue="q"))
    peer.publish("q", b"held", properties=PERSISTENT)
    queue = harness.vhost.queues["q"]
    alter(harness, max_length=1, dead_letter_exchange="x")
    peer.publish("q", b"later", properties=PERSISTENT)
    assert harness.vhost.queues["q"] is queue
    assert peer.bodies() == [b"held", b"later"]
    peer.send(1, BasicAck(0, multiple=True))
    harness.commit()
    assert harness.store.state.rows == {}


def test_what_is_in_the_queue_is_as_long_as_the_new_arguments_let_it_be(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"1", b"2", b"3")
    alter(harness, max_length=2)
    peer.send(1, BasicGet(queue="q", no_ack=True))
    assert peer.bodies() == [b"2"]


def test_a_time_to_live_holds_for_messages_that_are_there(harness: Harness, peer: Client) -> None:
    declare(peer, message_ttl=60_000)
    peer.publish("q", b"old")
    harness.pass_time(5)
    alter(harness, message_ttl=10_000)
    harness.pass_time(4)
    assert harness.vhost.queues["q"].ready_count == 1
    harness.pass_time(2)
    assert harness.vhost.queues["q"].ready_count == 0


def test_an_argument_that_is_taken_away_has_no_effect_any_more(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=1, message_ttl=1000)
    alter(harness, max_length=None, message_ttl=None)
    peer.publish("q", b"1", b"2")
    harness.pass_time(5)
    assert harness.vhost.queues["q"].ready_count == 2
    declare(peer)


def test_a_classic_queue_becomes_a_quorum_queue_and_another_again(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"1", properties=PERSISTENT)
    alter(harness, queue_type="quorum")
    assert harness.vhost.queues["q"].settings.type is QueueType.QUORUM
    assert harness.vhost.queues["q"].settings.delivery_limit == 20
    declare(peer, queue_type="quorum")
    alter(harness, queue_type="classic")
    assert harness.vhost.queues["q"].settings.type is QueueType.CLASSIC


def test_dead_letters_go_to_the_new_exchange(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.send(1, QueueDeclare(queue="dead", durable=True))
    peer.send(1, ExchangeDeclare(exchange="x", type="fanout"))
    peer.send(1, QueueBind(queue="dead", exchange="x"))
    peer.publish("q", b"1", b"2")
    alter(harness, max_length=1, dead_letter_exchange="x")
    harness.commit()
    assert harness.vhost.queues["dead"].ready_count == 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"max_priority": 5}, "cannot alter arg 'x-max-priority' of queue 'q' in vhost '/'"),
        ({"message_groups": True}, "cannot alter arg 'x-message-groups'"),
        ({"max_length": -1}, "invalid arg 'x-max-length' for queue 'q' in vhost '/': {value_negative,-1}"),
        ({"queue_type": "stream"}, "cannot alter arg 'x-queue-type'"),
        ({"queue_type": "nope"}, "unsupported queue type 'nope'"),
    ],
)
def test_what_cannot_be_altered_is_refused_and_changes_nothing(
    harness: Harness, peer: Client, changes: dict[str, object], text: str
) -> None:
    declare(peer)
    with pytest.raises(PreconditionFailed, match=text.replace("(", r"\(").replace("{", r"\{")):
        alter(harness, **changes)
    assert harness.vhost.queues["q"].arguments.values == {}


def test_a_queue_that_is_not_there_cannot_be_altered(harness: Harness) -> None:
    with pytest.raises(NotFound):
        drive(harness.vhost.alter_queue("nope", FieldTable.of({})))


def test_what_was_altered_is_so_after_a_restart(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=5)
    alter(harness, max_length=7)
    (record,) = [each for each in drive(harness.store.load()).of(QueueRecord) if each.name == "q"]
    assert FieldTable(record.arguments).values == {"x-max-length": 7}


def test_another_node_takes_an_altered_queue_over_without_dropping_it(harness: Harness, peer: Client) -> None:
    declare(peer)
    before = harness.live.snapshot()
    alter(harness, max_length=7)
    changes = list(changes_between(before, harness.live.snapshot()))
    assert [type(change) for change in changes] == [Put]
    queue = harness.vhost.queues["q"]
    assert not [change for change in changes if change == Drop(QueueKey("/", "q", queue.queue_id))]


def test_a_declaration_that_differs_is_refused_as_a_rule(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=5)
    answer = peer.call(1, declaration(max_length=7))
    assert isinstance(answer, ChannelClose)
    assert "inequivalent arg 'x-max-length'" in answer.reply_text


def test_a_virtual_host_may_let_a_queue_be_as_it_is_whatever_is_declared(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=5)
    redeclare_as(harness, "adopt")
    declare(peer, max_length=7)
    declare(peer)
    assert harness.vhost.queues["q"].settings.max_length == 5
    answer = peer.call(1, QueueDeclare(queue="q", durable=False))
    assert isinstance(answer, ChannelClose)
    assert "inequivalent arg 'durable'" in answer.reply_text


def test_a_virtual_host_may_alter_queues_to_what_is_declared(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=5)
    peer.publish("q", b"stays")
    redeclare_as(harness, "upgrade")
    declare(peer, max_length=7, message_ttl=60_000)
    settings = harness.vhost.queues["q"].settings
    assert (settings.max_length, settings.message_ttl) == (7, 60_000)
    answer = peer.call(1, declaration(max_priority=5))
    assert isinstance(answer, ChannelClose)
    assert "cannot alter arg 'x-max-priority'" in answer.reply_text
    other = harness.peer()
    other.send(1, BasicGet(queue="q"))
    assert other.bodies() == [b"stays"]
    assert isinstance(other.call(1, BasicGet(queue="q")), BasicGetEmpty)


# What the log says


def logged(logs: list[MutableMapping[str, Any]]) -> list[tuple[str, Any]]:
    return [(each["event"], each.get("changes", each.get("declared"))) for each in logs]


def test_the_log_says_what_a_declaration_has_altered(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=5, dead_letter_exchange="amq.fanout")
    redeclare_as(harness, "upgrade")
    with capture_logs() as logs:
        declare(peer, max_length=7, message_ttl=10)
        declare(peer, max_length=7, message_ttl=10)
    changes = ["x-max-length: 5 -> 7", "x-dead-letter-exchange: 'amq.fanout' -> none", "x-message-ttl: none -> 10"]
    assert logged(logs) == [("a declaration has altered a queue", changes)]


def test_the_log_says_once_what_a_declaration_has_not_altered(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=5)
    redeclare_as(harness, "adopt")
    with capture_logs() as logs:
        for length in (7, 7, 5, 8):
            declare(peer, max_length=length)
    told = "a queue stays as it is, though declared otherwise"
    assert logged(logs) == [(told, ["x-max-length: 5 -> 7"]), (told, ["x-max-length: 5 -> 8"])]


def test_the_log_says_what_was_altered(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=5)
    with capture_logs() as logs:
        alter(harness, max_length=None)
        alter(harness, max_length=None)
    assert logged(logs) == [("a queue is altered", ["x-max-length: 5 -> none"])]


def test_what_was_told_of_declarations_is_forgotten_in_the_end(harness: Harness, peer: Client) -> None:
    declare(peer)
    adopted, queue = AdoptedDeclarations(), harness.vhost.queues["q"]
    with capture_logs() as logs:
        for number in [*range(1001), 0, 1000]:
            adopted.tell("/", queue, FieldTable.of({"x-max-length": number}))
    assert len(logs) == 1002
