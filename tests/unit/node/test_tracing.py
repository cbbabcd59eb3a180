"""Spans of messages that say they are traced, and nothing of others, or when it is off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from broker.amqp.consumer import Consumer
from broker.amqp.publishing import Publisher
from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicConsume, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.node.tracing import Tracing
from broker.ports.store import Batch
from broker.store.journal import GroupCommitJournal
from tests.support.harness import Harness
from tests.support.stage import drive

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def traced(flags: str = "01", **more: str) -> BasicProperties:
    headers = FieldTable.of({"traceparent": f"00-{TRACE}-{SPAN}-{flags}", **more})
    return BasicProperties(headers=headers, delivery_mode=2)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Those that were made; tracing is on."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider.get_tracer("test"))
    tracing.install()
    yield exporter
    tracing.restore()


def told(exporter: InMemorySpanExporter) -> list[tuple[str, str, str]]:
    found = exporter.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in found} <= {TRACE}
    return [(span.name, f"{span.parent.span_id:016x}", span.kind.name) for span in found]


def test_a_message_is_followed_from_its_publish_to_its_delivery(spans: InMemorySpanExporter) -> None:
    client = Harness().peer()
    client.send(1, QueueDeclare(queue="q"))
    client.publish("q", b"one", properties=traced())
    client.publish("q", b"two")
    client.send(1, BasicConsume(queue="q"))
    assert told(spans) == [("publish amq.default", SPAN, "CONSUMER"), ("deliver q", SPAN, "PRODUCER")]
    publish, deliver = spans.get_finished_spans()
    assert publish.attributes["messaging.rabbitmq.destination.routing_key"] == "q"
    assert publish.start_time <= publish.end_time <= deliver.end_time


@pytest.mark.parametrize(
    "properties",
    [
        traced("00"),
        BasicProperties(headers=FieldTable.of({"traceparent": "nonsense"})),
        BasicProperties(headers=FieldTable.of({"traceparent": 7})),
        BasicProperties(content_type="traceparent"),
    ],
)
def test_what_is_not_sampled_or_no_trace_has_no_span(spans: InMemorySpanExporter, properties: BasicProperties) -> None:
    client = Harness().peer()
    client.send(1, QueueDeclare(queue="q"))
    client.publish("q", b"one", properties=properties)
    client.send(1, BasicConsume(queue="q"))
    assert told(spans) == []


def test_a_commit_is_part_of_the_first_messages_trace_and_names_the_others(spans: InMemorySpanExporter) -> None:
    harness = Harness()
    client = harness.peer()
    client.send(1, QueueDeclare(queue="q", durable=True))
    client.publish("q", b"1", b"2", properties=traced())
    client.publish("q", b"3", properties=BasicProperties(delivery_mode=2))
    batch = Batch(list(harness.broker.vhosts["/"].queues["q"].ready))
    written: list[Batch] = []

    class Journal:
        """What stands for a journal: its own write is not what is tested."""

    async def write(journal: Any, batch: Batch, groups: Any) -> None:
        written.append(batch)

    tracing = Tracing(TracerProvider(sampler=ParentBased(ALWAYS_OFF)).get_tracer("test"))
    drive(tracing._committing(write)(Journal(), batch, []))
    assert written == [batch]
    spans.clear()
    drive(_installed(spans)(write)(Journal(), batch, []))
    [commit] = spans.get_finished_spans()
    assert (commit.name, len(commit.links), commit.attributes["db.operation.batch.size"]) == ("store commit", 1, 3)


def _installed(exporter: InMemorySpanExporter) -> Any:
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider.get_tracer("test"))._committing


def test_when_it_is_off_the_functions_are_the_brokers_own() -> None:
    functions = (Publisher.publish, Consumer.take, GroupCommitJournal._write)
    tracing = Tracing(TracerProvider().get_tracer("test"))
    tracing.install()
    assert all(new is not old for new, old in zip(_now(), functions, strict=True))
    tracing.restore()
    assert _now() == functions
    assert {function.__module__ for function in functions} == {
        "broker.amqp.publishing",
        "broker.amqp.consumer",
        "broker.store.journal",
    }


def _now() -> tuple[Any, ...]:
    return Publisher.publish, Consumer.take, GroupCommitJournal._write


def test_without_a_switch_nothing_of_it_is_imported_and_with_it_spans_are_sent_in_the_end() -> None:
    code = (
        "import asyncio, sys\n"
        "from broker.config.broker_xml import TracingSection\n"
        "from broker.node.traced import traced\n"
        "async def run(section):\n"
        "    async with traced(section, 'NODE:1'):\n"
        "        return [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "assert asyncio.run(run(TracingSection())) == []\n"
        "assert asyncio.run(run(TracingSection(enabled=True)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
