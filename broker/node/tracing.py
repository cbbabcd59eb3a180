"""Spans of OpenTelemetry for messages whose headers say that they are traced (W3C's `traceparent`): ADR 75.

Three functions are wrapped when the process starts, and only if tracing is switched on: otherwise nothing of this is
imported, and publish, deliver and commit are what they are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog

from broker import __version__
from broker.amqp.consumer import Consumer
from broker.amqp.publishing import Publisher
from broker.codec.properties import decode_properties
from broker.config.broker_xml import TracingSection
from broker.errors import BrokerError, ConfigError
from broker.message import Message, routing_of
from broker.store.journal import GroupCommitJournal

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_log = structlog.get_logger(__name__)

_PARENT: Final = b"traceparent"
_LINKS: Final = 32
"""Messages of one commit that its span names."""
_SAY_AGAIN: Final = 60.0
"""Seconds between two lines about spans that cannot be sent."""
_TEXT: Final = ("traceparent", "tracestate")


class Tracing:
    """Makes spans while it is installed."""

    def __init__(self, tracer: Tracer, shut_down: Callable[[], None] = lambda: None) -> None:
        """`shut_down` sends what is left; it may take seconds."""
        self._tracer = tracer
        self.shut_down: Final = shut_down
        self._before: dict[tuple[type, str], Any] = {}

    def install(self) -> None:
        """Make spans from now on: of channels and consumers that are made later."""
        self._wrap(Publisher, "publish", self._publishing)
        self._wrap(Consumer, "take", self._delivering)
        self._wrap(GroupCommitJournal, "_write", self._committing)

    def restore(self) -> None:
        """Make no more spans."""
        for (owner, name), before in self._before.items():
            setattr(owner, name, before)
        self._before = {}

    def _wrap(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        before = self._before[owner, name] = getattr(owner, name)
        setattr(owner, name, make(before))

    def _publishing(self, publish: Any) -> Any:
        def publish_traced(publisher: Any, route: Any, header: bytes, *content: Any) -> Any:
            if _PARENT not in header:
                return publish(publisher, route, header, *content)
            begun = time.time_ns()
            has_to_wait = publish(publisher, route, header, *content)
            self._note("publish", header, route.routing, begun)
            return has_to_wait

        return publish_traced

    def _delivering(self, take: Any) -> Any:
        def take_traced(consumer: Consumer, ready: Any, limit: int) -> Any:
            next_ones: list[Message] = list(islice(ready, limit))
            begun = time.time_ns()
            taken = take(consumer, ready, limit)
            for message in next_ones[:taken]:
                if _PARENT in message.header:
                    self._note("deliver", message.header, message.routing, begun, queue=consumer.queue.name)
            return taken

        return take_traced

    def _committing(self, write: Any) -> Any:
        async def write_traced(journal: Any, batch: Any, groups: Any) -> None:
            headers = [message.header for message in batch.inserts if _PARENT in message.header]
            begun = time.time_ns()
            await write(journal, batch, groups)
            if headers:
                self._note_commit(headers, begun, rows=len(batch.inserts) + len(batch.deletes))

        return write_traced

    def _note(self, operation: str, header: bytes, routing: bytes, begun: int, queue: str = "") -> None:
        from opentelemetry.trace import SpanKind

        exchange, routing_key = routing_of(routing)
        attributes = {
            "messaging.system": "cordillera",
            "messaging.operation.name": operation,
            "messaging.destination.name": queue or exchange or "amq.default",
            "messaging.rabbitmq.destination.routing_key": routing_key,
        }
        kind = SpanKind.PRODUCER if operation == "deliver" else SpanKind.CONSUMER
        name = f"{operation} {attributes['messaging.destination.name']}"
        span = self._tracer.start_span(name, _context(header), kind, attributes, start_time=begun)
        span.end()

    def _note_commit(self, headers: Iterable[bytes], begun: int, rows: int) -> None:
        """Note a commit as a part of the first message's trace, with links to the others."""
        from opentelemetry.trace import Link, get_current_span

        first, *others = [_context(header) for header in islice(headers, _LINKS)]
        links = [Link(get_current_span(each).get_span_context()) for each in others]
        attributes: dict[str, str | int] = {"db.operation.name": "commit", "db.operation.batch.size": rows}
        span = self._tracer.start_span("store commit", first, attributes=attributes, links=links, start_time=begun)
        span.end()


def _context(header: bytes) -> Any:
    """Return the trace that a message belongs to: an empty context if its header names none after all."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    try:
        headers = decode_properties(header[4:-1]).headers
    except BrokerError:
        headers = None
    carrier = {name: value for name in _TEXT if headers and isinstance(value := headers.get(name), str)}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def start_tracing(section: TracingSection, node_id: str) -> Tracing:
    """Return what makes spans and sends them to `section.endpoint`. Raises `ConfigError` without the extra `otel`."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
    except ImportError as error:
        raise ConfigError(
            f"management/tracing: OpenTelemetry is not installed ({error.name}): pip install 'cordillera[otel]'"
        ) from error
    about = {"service.name": section.service_name, "service.instance.id": node_id, "service.version": __version__}
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=Resource(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=section.endpoint)))
    exporters = logging.getLogger("opentelemetry")
    exporters.propagate = False
    exporters.addHandler(_ToTheLog())
    tracing = Tracing(provider.get_tracer("cordillera", __version__), provider.shutdown)
    tracing.install()
    return tracing


class _ToTheLog(logging.Handler):
    """Says in the node's log, not too often, that spans cannot be sent."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._says_next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now >= self._says_next:
            self._says_next = now + _SAY_AGAIN
            _log.warning("spans cannot be sent", reason=record.getMessage())
