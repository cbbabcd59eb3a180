"""What the listener of metrics answers: three pages, without a login as with RabbitMQ.

To add up a large node takes time. Who asks for the sums again soon gets those that were told last: so all scrapes of
`/metrics` together take no more than a fortieth of the loop's time, unless sums would get older than ten seconds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from math import inf
from typing import Final

from broker.management.figures import totals
from broker.management.figures.view import NodeView
from broker.management.http.call import Call, HttpAnswer, HttpRefusal, NotThere
from broker.management.metrics.exposition import CONTENT_TYPE
from broker.management.metrics.scrape import Own, aggregated, detailed, per_object

_AT_ONCE: Final = 4
"""Scrapes that are answered at once: one of a large node takes memory until it is read."""
_PART_STEPS: Final = 400
"""What a part of a scrape costs, in steps of work."""
_JOINED: Final = 64 * 1024
"""Characters that are written at once."""
_SHARE: Final = 40
"""One part in so many of the time is what adding up a large node may take."""
_OLDEST: Final = 10.0
"""Seconds after which sums are added up again, however long that takes."""


class MetricsPages:
    """The pages of one node."""

    def __init__(
        self,
        view: NodeView,
        own: Own,
        next_turn: Callable[[], Awaitable[None]],
        monotonic: Callable[[], float],
    ) -> None:
        """`own` yields the broker's own metrics; `next_turn` returns in a later turn of the loop."""
        self._view = view
        self._own = own
        self._next_turn = next_turn
        self._monotonic = monotonic
        self._active = 0
        self._sums = b""
        self._sums_until = -inf

    async def handle(self, call: Call) -> HttpAnswer:
        """Answer a request. Raises nothing: refusals are answers."""
        try:
            return self._answer(call)
        except HttpRefusal as refusal:
            return refusal.answer

    def _answer(self, call: Call) -> HttpAnswer:
        if call.method not in ("GET", "HEAD"):
            raise HttpRefusal(405, "method_not_allowed", "metrics are read by GET", {"Allow": "GET, HEAD"})
        path = call.path.rstrip("/")
        parts = self._parts(path, call)
        if call.method == "HEAD":
            return HttpAnswer(content_type=CONTENT_TYPE)
        is_sum = path == "/metrics"
        if is_sum and self._monotonic() < self._sums_until:
            return HttpAnswer(content_type=CONTENT_TYPE, body=self._sums)
        if self._active >= _AT_ONCE:
            raise HttpRefusal(503, "service_unavailable", "too many scrapes at once", {"Retry-After": "1"})
        stream = self._summed(parts) if is_sum and totals.is_large(self._view) else self._written(parts)
        return HttpAnswer(content_type=CONTENT_TYPE, stream=stream)

    def _parts(self, path: str, call: Call) -> Iterator[str]:
        if path == "/metrics":
            return aggregated(self._view, self._own)
        if path == "/metrics/per-object":
            return per_object(self._view, self._own)
        if path == "/metrics/detailed":
            return detailed(self._view, frozenset(_all(call.query, "family")), _all(call.query, "vhost") or None)
        raise NotThere

    async def _summed(self, parts: Iterator[str]) -> AsyncGenerator[bytes]:
        """Keep what is written for those who ask again soon."""
        began = self._monotonic()
        sums = b"".join([octets async for octets in self._written(parts)])
        now = self._monotonic()
        self._sums, self._sums_until = sums, now + min((now - began) * _SHARE, _OLDEST)
        yield sums

    async def _written(self, parts: Iterator[str]) -> AsyncGenerator[bytes]:
        self._active += 1
        try:
            work = self._view.broker.work
            written: list[str] = []
            length = 0
            for part in parts:
                written.append(part)
                length += len(part)
                work.done += _PART_STEPS
                if length > _JOINED:
                    yield "".join(written).encode("utf-8", "replace")
                    written, length = [], 0
                if work.is_over:
                    await self._next_turn()
            yield "".join(written).encode("utf-8", "replace")
        finally:
            self._active -= 1


def _all(query: Mapping[str, str], name: str) -> list[str]:
    """Return all values of a parameter, which may be there several times."""
    find = getattr(query, "getall", None)
    if find is not None:
        return list(find(name, []))
    return [query[name]] if name in query else []
