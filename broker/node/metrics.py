"""Builds the listener of metrics of an incarnation, and finds what its own metrics tell."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

from broker.config.configuration import Configuration
from broker.machine.address import endpoint
from broker.management.figures.view import Listening
from broker.management.http.server import METRICS, HttpServer
from broker.management.metrics.own import Distribution, OwnFigures, own_families
from broker.management.metrics.pages import MetricsPages
from broker.node.descriptors import rooms
from broker.node.incarnation import NodeIncarnation
from broker.node.loop_lag import LoopLag
from broker.node.tls_listeners import METRICS_TLS, TlsListeners
from broker.ports.names import DEAD_LETTER_CHANNEL
from broker.server.listener import AmqpServer
from broker.store.journal_limits import Spread


class Metrics:
    """The metrics of one incarnation."""

    def __init__(
        self, config: Configuration, incarnation: NodeIncarnation, server: AmqpServer, certificates: TlsListeners
    ) -> None:
        self._config = config
        self._certificates = certificates
        self._incarnation = incarnation
        self._pressure = server.pressure
        self._lag = LoopLag(incarnation.clock.monotonic)
        pages = MetricsPages(incarnation.view, self._own, server.turns.next, incarnation.clock.monotonic)
        self._server = HttpServer(pages.handle, incarnation.tasks, rooms(config).clients)
        self._watch: asyncio.Task[None] | None = None

    async def listen(self) -> dict[str, str]:
        """Open the listeners; return their addresses. Raises `ConfigError`."""
        addresses = {}
        if self._config.management.metrics.plain:
            addresses["metrics"] = await self._listen(self._config.metrics_port, "metrics")
        tls = self._certificates.context(METRICS_TLS)
        if tls is not None:
            element = "metrics/sslConnection"
            addresses["metrics with TLS"] = await self._listen(self._config.metrics_tls_port, element, tls)
            self._certificates.on_change(METRICS_TLS, lambda context: self._server.use_certificate(element, context))
        self._watch = self._incarnation.tasks.create_task(self._lag.run(asyncio.sleep), name="lag of the loop")
        return addresses

    async def _listen(self, port: int, element: str, tls: ssl.SSLContext | None = None) -> str:
        section = self._config.management.metrics
        host = section.bind_address or self._config.transports.amqp.bind_address
        port = await self._server.listen(host, port, element, tls, what=METRICS)
        protocol = "http" if tls is None else "https"
        self._incarnation.view.listening.append(Listening(f"{protocol}/prometheus", host, port))
        return f"{protocol}://{endpoint(host, port)}/metrics"

    async def stop(self) -> None:
        """Serve nobody any more."""
        if self._watch is not None:
            self._watch.cancel()
        await self._server.stop()

    def _own(self) -> Iterator[str]:
        return own_families(self._figures())

    def _figures(self) -> OwnFigures:
        parts = self._incarnation
        state = None if parts.health is None else parts.health.state
        members = parts.members
        counters = parts.journal.counters
        return OwnFigures(
            is_coordinator=any(each.is_coordinator for each in members if each.node_id == parts.view.name),
            members=len(members),
            takes_clients=not parts.broker.refusal,
            epoch=parts.epoch,
            is_store_up=state is None or state.is_up,
            unsafe=len(parts.unsafe()),
            outages=0 if state is None else state.outages,
            probe_seconds=0.0 if state is None else state.latency,
            commit_seconds=_distribution(counters.seconds),
            batch_rows=_distribution(counters.rows),
            inserted=counters.inserted,
            deleted=counters.deleted,
            cancelled=counters.cancelled,
            retries=counters.retries,
            loop_lag=self._lag.worst,
            slots=sum([queue.slots.count for queue in parts.levels]),
            dead_letters=sum(
                [
                    vhost.queues[DEAD_LETTER_CHANNEL].ready_count
                    for vhost in parts.vhosts.values()
                    if DEAD_LETTER_CHANNEL in vhost.queues
                ]
            ),
            blocked=len(self._pressure.blocked),
            delayed=sum([each.schedule.ready_count for each in parts.vhosts.values() if each.schedule is not None]),
            fired=parts.services.firing.fired,
            fired_nowhere=parts.services.firing.dropped,
        )


def _distribution(spread: Spread) -> Distribution:
    return Distribution(spread.bounds, tuple(spread.counts), spread.total)
