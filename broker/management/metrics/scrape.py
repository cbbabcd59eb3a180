"""The answers to Prometheus, in parts: between two of them others have their turns.

A scrape may tell of 100 000 queues. Of each family the samples have to stand together, so the figures of all objects of
a kind are read first, into columns of numbers, and then written family by family.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from broker.management.figures.view import NodeView
from broker.management.metrics.exposition import many, one
from broker.management.metrics.groups import OBJECTS, OF_CLUSTER, Group, Objects
from broker.management.metrics.node import (
    PREFIX,
    death_families,
    global_families,
    identity,
    node_families,
    object_families,
    size_family,
)
from broker.queue.counts import CountsInQueue

_AT_ONCE: Final = 50
"""Objects that are read without a pause: about half a millisecond."""
_DETAILED: Final = "rabbitmq_detailed_"
_CLUSTER: Final = "rabbitmq_cluster_"

FAMILIES: Final = frozenset(
    group.name for kinds in (OBJECTS, OF_CLUSTER) for objects in kinds for group in objects.groups
)
"""What `/metrics/detailed` may be asked for, beside families that RabbitMQ has and this broker has no figures for."""

Own = Callable[[], Iterable[str]]
"""Returns the broker's own metrics."""


def aggregated(view: NodeView, own: Own) -> Iterator[str]:
    """Yield the parts of `/metrics`: the figures of all objects added up. An empty part is a pause."""
    yield from node_families(view, "aggregated")
    for objects in OBJECTS:
        summed = tuple(group for group in objects.groups if group.is_summed)
        sums: list[list[float]] = [[0] * len(group.columns) for group in summed]
        for things in _some_at_once(objects.find(view, None)):
            for total, group in zip(sums, summed, strict=True):
                total[:] = map(sum, zip(total, *map(group.row, things), strict=True))
            yield ""
        for total, group in zip(sums, summed, strict=True):
            for column, value in zip(group.columns, total, strict=True):
                yield one(PREFIX, column, value)
    yield from _node_totals(view)
    yield from own()


def per_object(view: NodeView, own: Own) -> Iterator[str]:
    """Yield the parts of `/metrics/per-object`: the figures of each object."""
    yield from node_families(view, "per-object")
    for objects in OBJECTS:
        yield from _each(PREFIX, objects, objects.groups, view, None)
    yield from _node_totals(view)
    yield from own()


def detailed(view: NodeView, families: Collection[str], vhosts: Sequence[str] | None) -> Iterator[str]:
    """Yield the parts of `/metrics/detailed`: the families that are asked for, of objects in these virtual hosts."""
    for prefix, kinds in ((_DETAILED, OBJECTS), (_CLUSTER, OF_CLUSTER)):
        for objects in kinds:
            asked = tuple(group for group in objects.groups if group.name in families)
            if asked:
                yield from _each(prefix, objects, asked, view, vhosts)
    yield identity(view, "detailed")


def _each(
    prefix: str, objects: Objects, groups: Sequence[Group], view: NodeView, vhosts: Sequence[str] | None
) -> Iterator[str]:
    label: list[str] = []
    values: list[list[array[float]]] = [[array("d") for _ in group.columns] for group in groups]
    for things in _some_at_once(objects.find(view, vhosts)):
        label += map(objects.labels, things)
        for columns, group in zip(values, groups, strict=True):
            for column, read in zip(columns, zip(*map(group.row, things), strict=True), strict=True):
                column.extend(read)
        yield ""
    for columns, group in zip(values, groups, strict=True):
        for column, described in zip(columns, group.columns, strict=True):
            yield from many(prefix, described, label, _Plain(column))


def _some_at_once(things: Iterator[Any]) -> Iterator[Sequence[Any]]:
    while some := list(islice(things, _AT_ONCE)):
        yield some


class _Plain(Sequence[float]):
    """Numbers that are written without a point if they are whole."""

    def __init__(self, values: array[float]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, place: Any) -> Any:
        values = self._values[place]
        return [int(value) if value.is_integer() else value for value in values]


def _node_totals(view: NodeView) -> Iterator[str]:
    """Yield what is counted by the channels of the node, and what has died in its queues."""
    counts = view.broker.ended_channels
    channels = consumers = publishers = 0
    for channels, (_, channel) in enumerate(list(view.channels()), 1):
        read = channel.counts.read()
        counts = counts.plus(read)
        publishers += read.publish > 0
        consumers += len(channel.consumers)
        if channels % _AT_ONCE == 0:
            yield ""
    yield from global_families(counts, publishers, consumers)
    dead = CountsInQueue()
    dead.add(view.broker.churn.ended_queues)
    queues = 0
    for vhost in list(view.vhosts.values()):
        dead.add(vhost.routing.ended_queues)
        for some in _some_at_once(iter(list(vhost.queues.values()))):
            queues += len(some)
            dead.add_settled([level.counts for queue in some for level in queue.levels])
            yield ""
    yield from death_families(dead)
    yield from object_families(len(view.connections()), channels, consumers, queues)
    yield size_family(view)
