"""What Prometheus reads, by its own parser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicAck, BasicConsume, BasicReject, ConfirmSelect, QueueDeclare, QueueDelete
from broker.management.figures.view import NodeView
from broker.management.metrics.own import OwnFigures, own_families
from broker.management.metrics.scrape import aggregated, detailed, per_object
from broker.ports.records import Drop, VirtualHostRecord
from tests.support.harness import Client, Harness

ROOT = Path(__file__).parents[4]
BOARD = json.loads((ROOT / "tests/support/recorded/overview_board.json").read_text())
"""The names that RabbitMQ's board RabbitMQ-Overview uses."""
AMQP = {"protocol": "amqp091"}


def own() -> Iterator[str]:
    return own_families(OwnFigures())


def read(parts: Iterable[str]) -> dict[str, Metric]:
    """Return families by name."""
    return {family.name: family for family in text_string_to_metric_families("".join(parts))}


def samples(families: dict[str, Metric]) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return by the full name of a metric its values by labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in families.values():
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(parts: Iterable[str], name: str, **labels: str) -> float:
    return samples(read(parts))[name][tuple(sorted(labels.items()))]


def used(peer: Client, harness: Harness) -> None:
    """Let something happen on two queues."""
    peer.send(1, QueueDeclare(queue="a"))
    peer.send(1, QueueDeclare(queue='odd "name"\\'))
    peer.send(1, ConfirmSelect())
    peer.publish("a", b"1", b"22", b"333")
    peer.publish("nobody", b"4")
    peer.send(1, BasicConsume(queue="a", consumer_tag="c"))
    peer.send(1, BasicAck(1))


def test_every_name_of_rabbitmqs_own_board_is_there(harness: Harness, view: NodeView) -> None:
    assert set(BOARD) - set(samples(read(aggregated(view, own)))) == set()


def test_an_idle_node_has_every_metric_as_nothing(harness: Harness, view: NodeView) -> None:
    found = samples(read(aggregated(view, own)))
    assert found["rabbitmq_queue_messages"] == {(): 0}
    assert found["rabbitmq_global_messages_received_total"] == {(("protocol", "amqp091"),): 0}


def test_names_stand_once_with_their_kind(harness: Harness, peer: Client, view: NodeView) -> None:
    used(peer, harness)
    for parts in (aggregated(view, own), per_object(view, own)):
        text = "".join(parts)
        heads = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
        assert len({name for name, _ in heads}) == len(heads)
        assert all(name.endswith("_total") for name, kind in heads if kind == "counter")


def test_figures_of_all_objects_are_added_up(harness: Harness, peer: Client, view: NodeView) -> None:
    used(peer, harness)
    found = samples(read(aggregated(view, own)))
    expected = {
        "rabbitmq_queue_messages_unacked": 2,
        "rabbitmq_queue_messages_ready": 0,
        "rabbitmq_queues": 2,
        "rabbitmq_connections": 1,
        "rabbitmq_channels": 1,
        "rabbitmq_consumers": 1,
        "rabbitmq_channel_messages_acked_total": 1,
        "rabbitmq_channel_messages_published_total": 4,
        "rabbitmq_queue_messages_published_total": 3,
        "rabbitmq_connections_opened_total": 1,
        "rabbitmq_queues_created_total": 2,
    }
    assert {name: found[name][()] for name in expected} == expected
    by_protocol = {
        "rabbitmq_global_messages_received_total": 4,
        "rabbitmq_global_messages_received_confirm_total": 4,
        "rabbitmq_global_messages_confirmed_total": 4,
        "rabbitmq_global_messages_routed_total": 3,
        "rabbitmq_global_messages_unroutable_dropped_total": 1,
        "rabbitmq_global_publishers": 1,
        "rabbitmq_auth_attempts_succeeded_total": 1,
    }
    assert {name: found[name][(("protocol", "amqp091"),)] for name in by_protocol} == by_protocol
    (delivered,) = found["rabbitmq_global_messages_delivered_consume_manual_ack_total"].values()
    assert delivered == 3


def test_each_object_has_its_figures(harness: Harness, peer: Client, view: NodeView) -> None:
    used(peer, harness)
    text = list(per_object(view, own))
    assert value(text, "rabbitmq_queue_messages_unacked", vhost="/", queue="a") == 2
    assert value(text, "rabbitmq_queue_messages", vhost="/", queue='odd "name"\\') == 0
    assert value(text, "rabbitmq_exchange_messages_published_total", vhost="/", exchange="") == 4
    (channels,) = (each for each in read(text).values() if each.name == "rabbitmq_channel_consumers")
    assert [sample.labels["channel"][-4:] for sample in channels.samples] == [" (1)"]


def test_details_are_those_that_are_asked_for(harness: Harness, peer: Client, view: NodeView) -> None:
    used(peer, harness)
    text = list(detailed(view, {"queue_coarse_metrics", "exchange_bindings", "vhost_status"}, None))
    names = set(read(text))
    assert names == {
        "rabbitmq_detailed_queue_messages_ready",
        "rabbitmq_detailed_queue_messages_unacked",
        "rabbitmq_detailed_queue_messages",
        "rabbitmq_detailed_queue_process_reductions",
        "rabbitmq_cluster_exchange_bindings",
        "rabbitmq_cluster_vhost_status",
        "rabbitmq_identity_info",
    }
    assert value(text, "rabbitmq_cluster_exchange_bindings", vhost="/", exchange="amq.topic", type="topic") == 0
    assert value(text, "rabbitmq_cluster_vhost_status", vhost="carbon") == 1


def test_details_are_those_of_the_virtual_hosts_that_are_asked_for(
    harness: Harness, peer: Client, view: NodeView
) -> None:
    used(peer, harness)
    families = read(detailed(view, {"queue_coarse_metrics"}, ["carbon", "nowhere"]))
    assert families["rabbitmq_detailed_queue_messages"].samples == []


def test_deaths_are_told_by_reason_and_outlive_their_queue(harness: Harness, peer: Client, view: NodeView) -> None:
    def died(reason: str, strategy: str) -> float:
        labels = {"queue_type": "rabbit_classic_queue", "dead_letter_strategy": strategy}
        return value(aggregated(view, own), f"rabbitmq_global_messages_dead_lettered_{reason}_total", **labels)

    peer.send(1, QueueDeclare(queue="a"))
    letters = FieldTable.of({"x-dead-letter-exchange": "amq.fanout", "x-max-length": 1})
    peer.send(1, QueueDeclare(queue="b", arguments=letters))
    peer.publish("a", b"1")
    peer.publish("b", b"2", b"3")
    peer.send(1, BasicConsume(queue="a", consumer_tag="c"))
    peer.send(1, BasicReject(1, requeue=False))
    assert (died("rejected", "disabled"), died("rejected", "at_most_once")) == (1, 0)
    assert (died("maxlen", "disabled"), died("maxlen", "at_most_once")) == (0, 1)
    peer.send(1, QueueDelete(queue="b"))
    peer.send(1, QueueDelete(queue="a"))
    assert (died("rejected", "disabled"), died("maxlen", "at_most_once")) == (1, 1)
    harness.live.apply(Drop(VirtualHostRecord("/")))
    assert (died("rejected", "disabled"), died("maxlen", "at_most_once")) == (1, 1)


def test_sizes_are_those_of_the_messages_that_were_looked_at(harness: Harness, peer: Client, view: NodeView) -> None:
    peer.send(1, QueueDeclare(queue="a"))
    for _ in range(40):
        peer.publish("a", b"x" * 500)
    found = samples(read(aggregated(view, own)))
    assert found["rabbitmq_message_size_bytes_count"][(("protocol", "amqp091"),)] == 40
    assert found["rabbitmq_message_size_bytes_sum"][(("protocol", "amqp091"),)] == 20_000
    buckets = found["rabbitmq_message_size_bytes_bucket"]
    assert buckets[(("le", "100.0"), ("protocol", "amqp091"))] == 0
    assert buckets[(("le", "1000.0"), ("protocol", "amqp091"))] == 40


def test_a_scrape_of_many_objects_comes_in_parts(peer: Client) -> None:
    harness = Harness(max_queues=1000)
    view = NodeView(harness.broker, "NODE:1", now_ms=harness.clock.wall_ms)
    client = harness.peer()
    for number in range(200):
        client.send(1, QueueDeclare(queue=f"q{number}"))
    pauses = [part for part in aggregated(view, own) if not part]
    assert len(pauses) >= 8
    assert max(len(part.splitlines()) for part in per_object(view, own)) <= 500


def test_numbers_that_are_whole_have_no_point(harness: Harness, peer: Client, view: NodeView) -> None:
    used(peer, harness)
    assert 'rabbitmq_queue_messages_unacked{vhost="/",queue="a"} 2\n' in "".join(per_object(view, own))


# What is shipped for Grafana and Prometheus


def expressions(thing: Any) -> Iterator[str]:
    if isinstance(thing, dict):
        for key, each in thing.items():
            if key == "expr":
                yield each
            else:
                yield from expressions(each)
    elif isinstance(thing, list):
        for each in thing:
            yield from expressions(each)


@pytest.mark.parametrize("name", ["grafana/cordillera.json", "prometheus/alerts.yml"])
def test_every_metric_that_is_shipped_in_a_board_or_a_rule_exists(name: str, harness: Harness, view: NodeView) -> None:
    text = (ROOT / "deploy" / name).read_text()
    shipped = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    named = {
        metric for each in expressions(shipped) for metric in re.findall(r"\b(?:rabbitmq|broker)_[a-z0-9_]+", each)
    }
    assert len(named) > 8
    assert named - set(samples(read(aggregated(view, own)))) == set()


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert set(rule["annotations"]) == {"summary", "action"}
