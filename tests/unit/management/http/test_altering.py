"""Queues are altered over HTTP, and virtual hosts told what to do with declarations that differ."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties
from tests.support.harness import Client
from tests.support.http_api import HttpNode


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


def test_arguments_are_changed_and_taken_away(node: HttpNode) -> None:
    given = {"durable": True, "arguments": {"x-message-ttl": 1000, "x-max-length": 5}}
    assert node.status("PUT", "/queues/%2F/q", given) == 201
    changes = {"arguments": {"x-max-length": 7, "x-message-ttl": None, "x-dead-letter-exchange": "amq.fanout"}}
    assert node.status("POST", "/broker/queues/%2F/q/alter", changes) == 200
    assert node.get("/queues/%2F/q")["arguments"] == {"x-max-length": 7, "x-dead-letter-exchange": "amq.fanout"}


def test_what_cannot_be_is_refused_with_the_reason(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    status, _, reason = node.refusal("POST", "/broker/queues/%2F/q/alter", {"arguments": {"x-max-priority": 5}})
    assert (status, reason) == (
        400,
        "cannot alter arg 'x-max-priority' of queue 'q' in vhost '/': a queue without priorities keeps its messages in"
        " another way; declare another queue, and redrive",
    )
    assert node.refusal("POST", "/broker/queues/%2F/nope/alter", {"arguments": {}})[0] == 404


def test_a_virtual_host_says_what_becomes_of_other_declarations(node: HttpNode) -> None:
    assert node.status("PUT", "/vhosts/%2F", {"redeclaration": "adopt"}) == 204
    assert node.get("/vhosts/%2F")["redeclaration"] == "adopt"
    assert node.status("PUT", "/queues/%2F/q", {"arguments": {"x-max-length": 5}}) == 201
    assert node.status("PUT", "/queues/%2F/q", {"arguments": {"x-max-length": 6}}) == 204
    assert node.status("PUT", "/vhosts/%2F", {"redeclaration": "strict"}) == 204
    assert node.get("/vhosts/%2F")["redeclaration"] == "strict"
    assert node.refusal("PUT", "/vhosts/%2F", {"redeclaration": "nope"})[0] == 400


def test_a_dry_run_says_what_would_be_and_changes_nothing(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-max-length": 5}})
    path, dead = "/broker/queues/%2F/q/alter", {"x-dead-letter-exchange": "dead", "x-max-length": None}
    answer = node.ask("POST", f"/api{path}", {"arguments": dead, "dry_run": True})
    told = json.loads(answer.body)
    assert (told["arguments"], told["dry_run"]) == ({"x-dead-letter-exchange": "dead"}, True)
    assert told["warnings"][0].startswith("there is no dead-letter exchange 'dead'")
    for refused in ({"x-max-priority": 5}, {"x-max-lenght": 5}, {"x-max-length": -1}, {"x-message-ttl": None}):
        given = {"arguments": refused}
        assert node.refusal("POST", path, given | {"dry_run": True}) == node.refusal("POST", path, given)
    assert node.get("/queues/%2F/q")["arguments"] == {"x-max-length": 5}


def alter(node: HttpNode, vhost: str = "%2F", **arguments: object) -> tuple[int, object]:
    changes = {f"x-{name.replace('_', '-')}": arguments[name] for name in arguments}
    status, _, reason = node.refusal("POST", f"/broker/queues/{vhost}/q/alter", {"arguments": changes})
    return status, reason


def bodies(node: HttpNode, count: int) -> list[str]:
    asked = {"count": count, "ackmode": "ack_requeue_false", "encoding": "auto"}
    answer = node.ask("POST", "/api/queues/%2F/q/get", asked)
    return [each["payload"] for each in json.loads(answer.body)]


def publish(node: HttpNode, *priorities: int) -> None:
    client = node.harness.peer()
    for priority in priorities:
        client.publish("q", b"%d" % priority, properties=BasicProperties(priority=priority, delivery_mode=2))
    node.harness.commit()


def test_more_priorities_are_told_apart_and_what_is_there_stays(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-max-priority": 2}})
    publish(node, 9, 1)

    assert alter(node, max_priority=9)[0] == 200
    publish(node, 3, 8, 2)

    assert bodies(node, 9) == ["8", "3", "9", "2", "1"]


def test_priorities_are_not_lowered(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-max-priority": 5}})
    for lower in (4, None):
        status, reason = alter(node, max_priority=lower)
        assert (status, str(reason).partition("': it ")[2][:36]) == (400, "can be raised above 5, not lowered, b"[:36])


def consuming(node: HttpNode, tag: str) -> Client:
    client = node.harness.peer()
    client.send(1, amqp.BasicQos(0, 1))
    client.send(1, amqp.BasicConsume(queue="q", consumer_tag=tag))
    client.received()
    return client


def test_a_queue_gets_a_single_active_consumer_and_loses_it(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    first, second = consuming(node, "a"), consuming(node, "b")
    publish(node, 1, 2, 3, 4)
    assert (first.bodies(), second.bodies()) == ([b"1"], [b"2"])

    assert alter(node, single_active_consumer=True)[0] == 200
    second.send(1, amqp.BasicAck(0, multiple=True))
    assert second.bodies() == []
    first.send(1, amqp.BasicAck(0, multiple=True))
    assert first.bodies() == [b"3"]

    assert alter(node, single_active_consumer=None)[0] == 200
    assert second.bodies() == [b"4"]


def test_a_queue_whose_consumers_select_messages_gets_no_single_one(node: HttpNode) -> None:
    client = node.harness.peer(capabilities=(), vhost="carbon")
    client.call(1, amqp.QueueDeclare(queue="q", durable=True))
    arguments = FieldTable.of({"x-filter-jms-selector": "a = 1"})
    client.send(1, amqp.BasicConsume(queue="q", arguments=arguments))

    assert alter(node, "carbon", single_active_consumer=True) == (
        400,
        "cannot alter arg 'x-single-active-consumer' of queue 'q' in vhost 'carbon': consumers select messages;"
        " let them end first",
    )


# Times to live


def keep_ttl(node: HttpNode, ttl: int | None, times: str = "kept") -> tuple[int, object]:
    changes = {"arguments": {"x-message-ttl": ttl}, "times_to_live": times}
    status, _, reason = node.refusal("POST", "/broker/queues/%2F/q/alter", changes)
    return status, reason


def left(node: HttpNode) -> int:
    node.harness.commit()
    return node.harness.vhost.queues["q"].ready_count


def pass_time(node: HttpNode, seconds: float) -> None:
    node.harness.pass_time(seconds)
    node.harness.commit()


def test_messages_keep_a_longer_time_and_new_ones_expire_behind_them(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-message-ttl": 60_000}})
    publish(node, 1, 2)
    node.harness.clock.advance(1)
    assert keep_ttl(node, 5000)[0] == 200
    publish(node, 3, 4)

    pass_time(node, 6)
    assert left(node) == 2
    pass_time(node, 55)
    assert left(node) == 0


def test_messages_keep_a_shorter_time(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-message-ttl": 5000}})
    publish(node, 1, 2)
    node.harness.clock.advance(1)
    assert keep_ttl(node, None)[0] == 200
    publish(node, 3)

    pass_time(node, 6)
    assert left(node) == 1
    pass_time(node, 1000)
    assert bodies(node, 9) == ["3"]


def test_messages_without_a_time_keep_that(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    publish(node, 1)
    node.harness.clock.advance(1)
    assert keep_ttl(node, 5000)[0] == 200
    publish(node, 2)

    pass_time(node, 6)
    assert bodies(node, 9) == ["1"]


def test_messages_get_the_new_time_if_nothing_else_is_said(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-message-ttl": 60_000}})
    publish(node, 1)
    node.harness.clock.advance(1)
    assert keep_ttl(node, 70_000)[0] == 200
    assert keep_ttl(node, 5000, "recomputed")[0] == 200
    publish(node, 2)

    pass_time(node, 4.5)
    assert bodies(node, 9) == ["2"]


def test_only_one_generation_of_messages_keeps_its_time(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-message-ttl": 5000}})
    assert keep_ttl(node, 6000)[0] == 200
    status, reason = keep_ttl(node, 7000)
    assert (status, str(reason).partition(":")[0]) == (400, "cannot keep the times to live of queue 'q'")
    node.harness.clock.advance(5)
    assert keep_ttl(node, 7000)[0] == 200


def test_what_is_to_become_of_times_to_live_is_said_clearly(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    assert keep_ttl(node, 5, "both") == (400, "'times_to_live' is recomputed or kept")
    changes = {"arguments": {"x-max-length": 5}, "times_to_live": "kept"}
    assert node.refusal("POST", "/broker/queues/%2F/q/alter", changes)[2] == (
        "times to live are kept when 'x-message-ttl' changes: name it"
    )


# Names, and what would be lost


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"x-max-lenght": 5}, "queues have no argument 'x-max-lenght'; did you mean 'x-max-length'?"),
        ({"max-length": 5}, "queues have no argument 'max-length'; did you mean 'x-max-length'?"),
        ({"x-mine": 5}, "queues have no argument 'x-mine'"),
        ({"x-message-ttl-kept": "5 5"}, "queues have no argument 'x-message-ttl-kept'; did you mean 'x-message-ttl'?"),
        ({"durable": False}, "'durable' is a property of a queue, not an argument: it cannot be altered"),
        ({"x-foo": None}, "queue 'q' has no argument 'x-foo' to take away"),
        ({"x-odds": None}, "queue 'q' has no argument 'x-odds' to take away; did you mean 'x-odd'?"),
    ],
)
def test_names_that_mean_nothing_are_refused(node: HttpNode, arguments: dict[str, object], reason: str) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-odd": 1}})
    refusal = node.refusal("POST", "/broker/queues/%2F/q/alter", {"arguments": arguments})
    assert (refusal[0], refusal[2]) == (400, reason)
    assert node.get("/queues/%2F/q")["arguments"] == {"x-odd": 1}


def test_what_rabbitmq_knows_is_taken_and_what_means_nothing_goes_away(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-odd": 1}})
    changes = {"arguments": {"x-odd": None, "x-ha-policy": "all", "x-queue-mode": "lazy"}}
    assert node.status("POST", "/broker/queues/%2F/q/alter", changes) == 200
    assert node.get("/queues/%2F/q")["arguments"] == {"x-ha-policy": "all", "x-queue-mode": "lazy"}


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"x-dead-letter-exchange": "nope"},
            "there is no dead-letter exchange 'nope': dead letters of queue 'q' are lost",
        ),
        (
            {"x-dead-letter-exchange": "dead"},
            "there is no dead-letter exchange 'dead': dead letters of queue 'q' are lost; to send them to the queue of"
            " this name, set x-dead-letter-exchange to the empty name, and x-dead-letter-routing-key to 'dead'",
        ),
        (
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "nope"},
            "there is no queue 'nope' for dead letters of queue 'q': they are lost",
        ),
        ({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}, ""),
        ({"x-dead-letter-exchange": "amq.fanout"}, ""),
    ],
)
def test_dead_letters_that_would_be_lost_are_warned_of(
    node: HttpNode, changes: dict[str, object], warning: str
) -> None:
    node.status("PUT", "/queues/%2F/dead", {"durable": True})
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    with capture_logs() as logs:
        answer = node.ask("POST", "/api/broker/queues/%2F/q/alter", {"arguments": changes})
    expected = [warning] if warning else []
    assert (answer.status, json.loads(answer.body)["warnings"]) == (200, expected)
    assert [each["reason"] for each in logs if each["log_level"] == "warning"] == expected


def test_a_queue_whose_dead_letters_are_lost_is_warned_of_at_the_next_change_too(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": {"x-dead-letter-exchange": "nope"}})
    answer = node.ask("POST", "/api/broker/queues/%2F/q/alter", {"arguments": {"x-message-ttl": 5}})
    assert len(json.loads(answer.body)["warnings"]) == 1


def test_a_decimal_is_shown_and_exported_as_a_number(node: HttpNode) -> None:
    arguments = FieldTable.of({"x-max-rate": Decimal("0.5")})
    node.harness.peer().call(1, amqp.QueueDeclare(queue="q", durable=True, arguments=arguments))
    assert node.get("/queues/%2F/q")["arguments"] == {"x-max-rate": 0.5}
    [queue] = node.get("/definitions")["queues"]
    assert queue["arguments"] == {"x-max-rate": 0.5}
