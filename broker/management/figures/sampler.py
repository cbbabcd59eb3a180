"""Takes samples of all figures every five seconds, so that they have rates and a history.

What does not change costs a look, and no memory. What changes has rings of samples as long as all rings together stay
within their octets; then shorter ones, then only the last two samples.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from broker.management.figures import totals
from broker.management.figures.history import SampleSpan
from broker.management.figures.messages import OF_CHANNELS, OF_EXCHANGES, OF_QUEUES, counted, counted_in_queue
from broker.management.figures.nodes import USED, used_figures
from broker.management.figures.queues import counts_of
from broker.management.figures.series import (
    NONE_KEPT,
    OF_MANY_OBJECTS,
    OF_NODES,
    OF_OBJECTS,
    TICK,
    Series,
    Tier,
    octets_of,
)
from broker.management.figures.totals import OF_LENGTH
from broker.management.figures.view import NodeView
from broker.queue.queue import Queue
from broker.topology.counts import MessageCounts
from broker.topology.vhost import VirtualHost

MAX_OCTETS: Final = 32 * 1024 * 1024
"""What rings may occupy; beyond that they are short, and beyond half as much again there are no further ones."""
_AT_ONCE: Final = 200
"""Objects of which samples are taken without a pause: about a millisecond."""

_OCTETS: Final = ("recv_oct", "send_oct")
_OF_CONSUMERS: Final = ("deliver", "deliver_get", "deliver_no_ack", "redeliver")
_OF_VHOSTS: Final = (*OF_CHANNELS, *OF_LENGTH, *_OCTETS)
_STORE: Final = ("disk_reads", "disk_writes")
_OF_NODE: Final = (*OF_CHANNELS, *OF_LENGTH, *totals.CHURN, *USED, *_STORE)


class _Kind:
    """Figures of one kind of object: their names, and how long samples are kept."""

    __slots__ = ("index", "tiers", "width", "zeros")

    def __init__(self, names: Sequence[str], tiers: tuple[Tier, ...]) -> None:
        self.index = {name: number for number, name in enumerate(names)}
        self.width = len(names)
        self.tiers = tiers
        self.zeros = (0,) * self.width


_QUEUES: Final = _Kind((*OF_QUEUES, *OF_LENGTH), OF_OBJECTS)
_EXCHANGES: Final = _Kind(OF_EXCHANGES, OF_OBJECTS)
_CHANNELS: Final = _Kind(OF_CHANNELS, OF_OBJECTS)
_CONNECTIONS: Final = _Kind(_OCTETS, OF_OBJECTS)
_CONSUMERS: Final = _Kind(_OF_CONSUMERS, NONE_KEPT)
_VHOSTS: Final = _Kind(_OF_VHOSTS, OF_NODES)
_NODE: Final = _Kind(_OF_NODE, OF_NODES)


class Sampler:
    """The history of one node's figures."""

    def __init__(self, view: NodeView, *, max_octets: int = MAX_OCTETS) -> None:
        self._view = view
        self._max_octets = max_octets
        self._series: dict[object, tuple[_Kind, Series]] = {}
        self._seen: set[object] = set()
        self._tick = 0
        self._open_now: dict[VirtualHost, MessageCounts] = {}
        self._octets_of: dict[str, tuple[int, int]] = {}
        self.octets = 0
        """About what all series occupy."""

    def __len__(self) -> int:
        """How many objects have a series."""
        return len(self._series)

    # Taking samples

    def next_deadline(self) -> int:
        """Return when the next samples are due, in milliseconds since 1970."""
        return (self._view.now_ms() // (1000 * TICK) + 1) * 1000 * TICK

    def sample(self) -> Iterator[None]:
        """Take a sample of everything; pauses every millisecond or so."""
        tick = self._view.now_ms() // (1000 * TICK)
        if tick <= self._tick:
            return
        self._seen.clear()
        for looks, _ in enumerate(chain(self._look_at_all(tick), self._forgetting(tick)), 1):
            if looks % _AT_ONCE == 0:
                yield

    def _look_at_all(self, tick: int) -> Iterator[None]:
        yield from self._look_at_clients(tick)  # first: queues and exchanges hear of the last publishes by that
        for _, exchange in list(self._view.exchanges()):
            key = (exchange.published_in, exchange.published_out)
            self._note(_EXCHANGES, exchange, key, key, tick)
            yield
        yield from self._look_at_queues(tick)
        self._tick = tick

    def _look_at_clients(self, tick: int) -> Iterator[None]:
        self._open_now.clear()
        self._octets_of.clear()
        for connection in self._view.connections():
            octets = (connection.received, connection.output.sent)
            self._note(_CONNECTIONS, connection, octets, octets, tick)
            received, sent = self._octets_of.get(connection.vhost, (0, 0))
            self._octets_of[connection.vhost] = (received + octets[0], sent + octets[1])
            yield
            for channel in list(connection.channels.values()):
                if channel.is_closing:
                    continue
                counts = channel.counts.read()
                if channel not in self._series or self._series[channel][1].key != counts:
                    self._note(_CHANNELS, channel, counts, tuple(counted(counts).values()), tick)
                else:
                    self._seen.add(channel)
                vhost = channel.vhost
                self._open_now[vhost] = self._open_now.get(vhost, MessageCounts()).plus(counts)
                for consumer in channel.consumers.values():
                    key = (consumer.delivered, consumer.redelivered)
                    by_kind = (0, key[0], key[0]) if consumer.no_ack else (key[0], key[0], 0)
                    self._note(_CONSUMERS, consumer, key, (*by_kind, key[1]), tick)
                yield

    def _look_at_queues(self, tick: int) -> Iterator[None]:
        ready_here = unacked_here = 0
        for vhost in list(self._view.vhosts.values()):
            ready = unacked = 0
            for queue in list(vhost.queues.values()):
                lengths = self._look_at_queue(queue, tick)
                ready += lengths[0]
                unacked += lengths[1]
                yield
            ready_here, unacked_here = ready_here + ready, unacked_here + unacked
            counts = vhost.ended_channels.plus(self._open_now.get(vhost, MessageCounts()))
            octets = self._octets_of.get(vhost.name, (0, 0))
            values = (*counted(counts).values(), ready + unacked, ready, unacked, *octets)
            self._note(_VHOSTS, vhost, values, values, tick)
        counts = self._view.broker.ended_channels
        for each in self._open_now.values():
            counts = counts.plus(each)
        store = self._view.store()
        values = (
            *counted(counts).values(),
            ready_here + unacked_here,
            ready_here,
            unacked_here,
            *totals.churn(self._view).values(),
            *used_figures(self._view).values(),
            *(store.get(name, 0) for name in _STORE),
        )
        self._note(_NODE, self._view, values, values, tick)

    def _look_at_queue(self, queue: Queue, tick: int) -> tuple[int, int]:
        counts, ready, unacked = counts_of(queue), queue.ready_count, queue.unacked_count
        key = (counts.published, counts.taken, counts.got, counts.got_no_ack, counts.got_nothing, counts.acked, ready,
               unacked)  # fmt: skip
        known = self._series.get(queue)
        if known is None and not any(key):
            return 0, 0
        if known is not None and known[1].key == key:
            self._seen.add(queue)
        else:
            values = (*counted_in_queue(counts).values(), ready + unacked, ready, unacked)
            self._note(_QUEUES, queue, key, values, tick)
        return ready, unacked

    def _note(self, kind: _Kind, owner: object, key: object, values: tuple[int, ...], tick: int) -> None:
        known = self._series.get(owner)
        if known is None:
            if not any(values):
                return
            # What was there before the first samples did not come in the last seconds.
            series = Series(None, kind.zeros, tick - 1) if self._tick else Series(key, values, tick - 1)
            self._series[owner] = (kind, series)
            self.octets += octets_of(NONE_KEPT, kind.width)
        else:
            series = known[1]
        self._seen.add(owner)
        if series.key != key:
            if kind.tiers and not series.tiers:
                self._keep(kind, series)
            series.note(key, values, tick)

    def _keep(self, kind: _Kind, series: Series) -> None:
        """Figures of an object change: keep as many samples as there is room for."""
        for tiers, most in ((kind.tiers, self._max_octets), (OF_MANY_OBJECTS, self._max_octets * 3 // 2)):
            octets = octets_of(tiers, kind.width) - octets_of(NONE_KEPT, kind.width)
            if tiers is OF_NODES or self.octets + octets <= most:
                self.octets += octets
                series.keep(tiers)
                return

    def _forgetting(self, tick: int) -> Iterator[None]:
        """Forget objects that are gone, and the samples of those that have not changed for as long as they are kept."""
        for owner in list(self._series):
            kind, series = self._series[owner]
            tiers = series.tiers
            if owner not in self._seen:
                del self._series[owner]
                self.octets -= octets_of(tiers, kind.width)
            elif tiers and (tick - series.changed_at) * TICK > tiers[-1].seconds:
                self.octets -= octets_of(tiers, kind.width) - octets_of(NONE_KEPT, kind.width)
                series.keep(NONE_KEPT)
            yield

    async def run(self, sleep: Callable[[float], Awaitable[None]], next_turn: Callable[[], Awaitable[None]]) -> None:
        """Take samples until cancelled; `next_turn` returns in a later turn of the loop."""
        while True:
            await sleep((self.next_deadline() - self._view.now_ms()) / 1000)
            for _ in self.sample():
                await next_turn()

    # Asking for them

    def details(self, owner: object, name: str, span: SampleSpan | None = None) -> dict[str, Any]:
        """Return the rate of a figure, and the samples of a span (`History.details`)."""
        kind, series = self._series.get(owner, (None, None))
        index = None if kind is None else kind.index.get(name)
        if series is None or index is None:
            return _never_changed(span, self._tick)
        rate = series.growth(index, self._tick) / TICK
        if span is None:
            return {"rate": rate}
        last = self._tick * TICK // span.increment * span.increment
        times = range(last, last - span.age - 1, -span.increment)
        values = [series.at(index, time // TICK) for time in times]
        return {
            "rate": rate,
            "samples": [{"sample": value, "timestamp": time * 1000} for value, time in zip(values, times, strict=True)],
            "avg_rate": (values[0] - values[-1]) / max(times[0] - times[-1], 1),
            "avg": sum(values) / len(values),
        }

    def idle_since(self, owner: object) -> int | None:
        """Return since when figures of `owner` are what they are (`History.idle_since`)."""
        known = self._series.get(owner)
        if known is None or known[1].changed_at >= self._tick:
            return None
        return known[1].changed_at * TICK * 1000

    def totals(self, owner: object) -> dict[str, int]:
        """Return the figures of the last sample; nothing if there is none."""
        known = self._series.get(owner)
        return {} if known is None else dict(zip(known[0].index, known[1].last, strict=True))


def _never_changed(span: SampleSpan | None, tick: int) -> dict[str, Any]:
    if span is None:
        return {"rate": 0.0}
    last = tick * TICK // span.increment * span.increment
    times = range(last, last - span.age - 1, -span.increment)
    samples = [{"sample": 0, "timestamp": time * 1000} for time in times if time > 0]
    return {"rate": 0.0, "samples": samples, "avg_rate": 0.0, "avg": 0.0}
