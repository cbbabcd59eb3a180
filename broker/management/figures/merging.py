"""Figures of several nodes as those of one cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol

Row = dict[str, Any]

_OF_QUEUES_ADDED: Final = (
    "consumers",
    "memory",
    "message_bytes",
    "message_bytes_paged_out",
    "message_bytes_persistent",
    "message_bytes_ram",
    "message_bytes_ready",
    "message_bytes_unacknowledged",
    "message_stats",
    "messages",
    "messages_details",
    "messages_paged_out",
    "messages_persistent",
    "messages_ram",
    "messages_ready",
    "messages_ready_details",
    "messages_ready_ram",
    "messages_unacknowledged",
    "messages_unacknowledged_details",
    "messages_unacknowledged_ram",
)
_OVERVIEW_ADDED: Final = ("churn_rates", "message_stats", "queue_totals")
_OBJECTS_ADDED: Final = ("channels", "connections", "consumers")
"""Objects that each node has for itself; exchanges and queues are those of all nodes."""
_VHOSTS_ADDED: Final = (
    "message_stats",
    "messages",
    "messages_details",
    "messages_ready",
    "messages_ready_details",
    "messages_unacknowledged",
    "messages_unacknowledged_details",
    "recv_oct",
    "recv_oct_details",
    "send_oct",
    "send_oct_details",
)


@dataclass(frozen=True)
class Elsewhere:
    """Figures of the other nodes."""

    rows: Mapping[str, list[Row]] = field(default_factory=dict)
    """By node id, of those that have answered."""
    silent: tuple[str, ...] = ()
    """Nodes that have not answered in time, or not wholly."""

    @property
    def all_rows(self) -> list[Row]:
        """The rows of all nodes, one after the other."""
        return [row for node_id in sorted(self.rows) for row in self.rows[node_id]]

    def of(self, vhost: str, name: str) -> list[Row]:
        """Return the rows of the queue, or exchange, of this name."""
        return self._by_name.get((vhost, name), [])

    def named(self, name: str) -> list[Row]:
        """Return the rows of the virtual host of this name."""
        return self._by_name.get((None, name), [])

    @cached_property
    def _by_name(self) -> dict[tuple[Any, Any], list[Row]]:
        found: dict[tuple[Any, Any], list[Row]] = {}
        for row in self.all_rows:
            found.setdefault((row.get("vhost"), row.get("name")), []).append(row)
        return found


class OtherNodes(Protocol):
    """The way to the figures of the other nodes."""

    async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
        """Return the figures of one kind (`figures.pages.KINDS`) that the other living nodes have, or one of them."""
        ...


class NobodyElse:
    """Stands where there are no other nodes."""

    async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
        return Elsewhere()


def with_queues(here: Iterable[Row], elsewhere: Elsewhere) -> list[Row]:
    """Return the queues of this node with what the others have of them. `node` is where most of the messages are."""
    rows = list(here)
    for known in rows:
        for row in elsewhere.of(known["vhost"], known["name"]):
            add_queue(known, row)
    return rows


def add_queue(known: Row, row: Row) -> None:
    """Add to a queue of this node what another has of it."""
    if row.get("messages", 0) > known["messages"]:
        known["node"] = row.get("node", known["node"])
    is_served = known["consumers"] > 0 or row.get("consumers", 0) > 0
    _add(known, row, _OF_QUEUES_ADDED)
    for name in ("exclusive_consumer_tag", "single_active_consumer_tag"):
        known[name] = known[name] or row.get(name)
    timestamps = [each for each in (known["head_message_timestamp"], row.get("head_message_timestamp")) if each]
    known["head_message_timestamp"] = min(timestamps, default=None)
    if known.get("idle_since") and row.get("idle_since"):
        known["idle_since"] = max(known["idle_since"], row["idle_since"])
    else:
        known.pop("idle_since", None)
    used = 1.0 if is_served and not known["messages_ready"] else 0.0
    known["consumer_capacity"] = known["consumer_utilisation"] = used


def add_exchange(known: Row, row: Row) -> None:
    """Add to an exchange of this node what was published to it on another."""
    _add(known, row, ("message_stats",))


def with_exchanges(here: Iterable[Row], elsewhere: Elsewhere) -> list[Row]:
    """Return the exchanges of this node with what was published to them on the others."""
    return _with_named(here, elsewhere, ("message_stats",))


def add_vhost(known: Row, row: Row) -> None:
    """Add to a virtual host of this node what another has of it."""
    _add(known, row, _VHOSTS_ADDED)


def _with_named(here: Iterable[Row], elsewhere: Elsewhere, names: Iterable[str]) -> list[Row]:
    found = {(row.get("vhost"), row["name"]): row for row in here}
    for row in elsewhere.all_rows:
        known = found.get((row.get("vhost"), row.get("name")))
        if known is not None:
            _add(known, row, names)
    return list(found.values())


def with_overviews(here: Row, elsewhere: Elsewhere) -> Row:
    """Return the overview of this node with the figures of the others."""
    for row in elsewhere.all_rows:
        _add(here, row, _OVERVIEW_ADDED)
        _add(here["object_totals"], row.get("object_totals", {}), _OBJECTS_ADDED)
        here["listeners"] = [*here["listeners"], *row.get("listeners", [])]
    return here


def _add(known: Row, row: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if name in row:
            known[name] = _sum(known.get(name), row[name])


def _sum(one: Any, other: Any) -> Any:
    """Return numbers added up, objects of numbers number by number."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            name: _sum(one.get(name), other.get(name)) for name in (*one, *(each for each in other if each not in one))
        }
    if isinstance(one, bool) or isinstance(other, bool) or not isinstance(other, int | float):
        return one
    return other if not isinstance(one, int | float) else one + other
