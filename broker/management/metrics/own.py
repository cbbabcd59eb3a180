"""Metrics that only this broker has: its store, its cluster, its event loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.management.metrics.exposition import Column, family, histogram, labels, one

PREFIX: Final = "broker_"
_COMMIT: Final = labels({"op": "commit"})


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often something was how large: `counts` has one number for each bound, and one for what is above."""

    bounds: Sequence[float] = ()
    counts: Sequence[int] = (0,)
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class OwnFigures:
    """What is told of this node alone."""

    is_coordinator: bool = False
    members: int = 1
    """Nodes that live, as this one sees it."""
    takes_clients: bool = True
    epoch: int = 0
    """How often the coordinator has changed."""
    is_store_up: bool = True
    unsafe: int = 0
    """Settings of the database under which it can lose what it has committed."""
    outages: int = 0
    probe_seconds: float = 0.0
    """How long the last probe of the store took."""
    commit_seconds: Distribution = field(default_factory=Distribution)
    batch_rows: Distribution = field(default_factory=Distribution)
    inserted: int = 0
    deleted: int = 0
    cancelled: int = 0
    """Rows that were never written, because their messages were settled before."""
    retries: int = 0
    loop_lag: float = 0.0
    """Seconds by which the event loop was late at the most, lately."""
    slots: int = 0
    dead_letters: int = 0
    """Messages in dead letter channels."""
    blocked: int = 0
    """Connections whose publishing is held back."""
    delayed: int = 0
    """Messages that wait for their time on this node."""
    fired: int = 0
    """Those whose time has come."""
    fired_nowhere: int = 0
    """Those of them for which there was no queue."""


def own_families(figures: OwnFigures) -> Iterator[str]:
    """Yield the broker's own metrics."""
    for name, text, value in (
        ("cluster_coordinator", "Is this node the coordinator?", int(figures.is_coordinator)),
        ("cluster_members", "Nodes that live, as this one sees it", figures.members),
        ("cluster_takes_clients", "Does this node see enough members to take clients?", int(figures.takes_clients)),
        ("store_healthy", "Does the store answer?", int(figures.is_store_up)),
        ("store_unsafe_settings", "Settings of the database under which it can lose a commit", figures.unsafe),
        ("store_probe_seconds", "How long the last probe of the store took", figures.probe_seconds),
        ("loop_lag_seconds", "How late the event loop was at the most, in the last 15 seconds", figures.loop_lag),
        ("slot_assigned", "Slots of messages that this node has still to read", figures.slots),
        ("dlc_messages", "Messages in dead letter channels", figures.dead_letters),
        ("delayed_messages", "Messages that wait for their time on this node", figures.delayed),
        ("publishers_blocked", "Connections whose publishing is held back", figures.blocked),
    ):
        yield one(PREFIX, Column(name, "gauge", text), value)
    for name, text, value in (
        ("election_total", "How often the coordinator has changed", figures.epoch),
        ("delayed_fired_total", "Delayed messages whose time has come", figures.fired),
        ("delayed_dropped_total", "Delayed messages for which there was no queue then", figures.fired_nowhere),
        ("store_outages_total", "How often the store was away", figures.outages),
        ("store_retries_total", "Writes that had to be tried again", figures.retries),
        (
            "store_rows_cancelled_total",
            "Rows of messages that were settled before they were written",
            figures.cancelled,
        ),
    ):
        yield one(PREFIX, Column(name, "counter", text), value)
    rows = Column("store_rows_total", "counter", "Rows of messages written")
    by_kind = (("insert", figures.inserted), ("delete", figures.deleted))
    yield family(PREFIX, rows, [(labels({"op": op}), value) for op, value in by_kind])
    seconds = Column("store_op_seconds", "histogram", "How long commits of the store take")
    yield _told(seconds, figures.commit_seconds, _COMMIT)
    yield _told(Column("store_batch_rows", "histogram", "Rows in one transaction of the store"), figures.batch_rows, "")


def _told(column: Column, told: Distribution, label: str) -> str:
    return histogram(PREFIX, column, [str(float(bound)) for bound in told.bounds], told.counts, told.total, label)
