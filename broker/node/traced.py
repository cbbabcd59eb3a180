"""Switches tracing on for as long as a node runs, if it is configured: `tracing` is imported only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.config.broker_xml import TracingSection


@asynccontextmanager
async def traced(section: TracingSection, node_id: str) -> AsyncIterator[None]:
    """Make spans meanwhile. Raises `ConfigError` when OpenTelemetry is not installed."""
    if not section.enabled:
        yield
        return
    from broker.node.tracing import start_tracing

    tracing = start_tracing(section, node_id)
    try:
        yield
    finally:
        tracing.restore()
        await asyncio.to_thread(tracing.shut_down)  # what is left is sent
