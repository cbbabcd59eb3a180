"""Topologies as records: a hash to compare them by, and the changes that lead from one to another.

Knows the kinds of records and changes only; knows no virtual host and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import Any, Final

from broker.ports.kinds import KINDS, Kind, Kinds, values_of
from broker.ports.records import Change, Drop, Put, Record, Topology

_MODULUS: Final = 1 << 128


def topology_hash(topology: Topology, kinds: Kinds = KINDS) -> str:
    """Return a hash of all that is recorded, whatever its order: equal on all nodes that applied the same events."""
    total = 0
    for kind in kinds:
        values = _hashed(kind)
        total += sum(_digest(kind.name, *values(record)) for record in topology.of(kind.record))
    return f"{total % _MODULUS:032x}"


def _hashed(kind: Kind) -> Callable[[Record], tuple[Any, ...]]:
    """Return what makes a tuple of a record's fields: octets last, as nodes of every version have it."""
    in_order = sorted(fields(kind.record), key=lambda each: each.type in (bytes, "bytes"))
    return values_of([each.name for each in in_order])


def _digest(*values: str | int | bytes) -> int:
    return int.from_bytes(blake2b(ascii(values).encode(), digest_size=16).digest(), "big")


# From a topology to changes


def changes_to(topology: Topology, kinds: Kinds = KINDS) -> Iterator[Change]:
    """Yield the changes that make `topology` out of nothing, in an order in which they can be applied."""
    for kind in kinds:
        yield from map(Put, topology.of(kind.record))


def changes_between(current: Topology, wanted: Topology, kinds: Kinds = KINDS) -> Iterator[Change]:
    """Yield the changes that make `wanted` out of `current`: what is surplus goes first, and what refers to it before.

    What refers to something that goes comes again when it is wanted.
    """
    gone: dict[type[Any], list[Record]] = {}
    missing: list[Change] = []
    for kind in kinds:
        here, there = current.of(kind.record), wanted.of(kind.record)
        surplus, orphans = _surplus(kind, here, there), _orphans(kind, here, gone)
        kept = set(here) - surplus - orphans
        if kind.is_replaced:
            replaced = set(map(kind.unique_of, there))
            surplus = {record for record in surplus if kind.unique_of(record) not in replaced}
        gone[kind.record] = [record for record in here if record in surplus or record in orphans]
        missing += [Put(record) for record in there if record not in kept]
    for kind in reversed(tuple(kinds)):
        yield from (Drop(kind.key_of(record)) for record in gone[kind.record])
    yield from missing


def _surplus(kind: Kind, here: Sequence[Record], there: Sequence[Record]) -> set[Record]:
    """Return what is not wanted, and all of a group whose order is not as wanted."""
    if not kind.ordered_by:
        return set(here).difference(there)
    wanted = _groups(kind, there)
    return {
        record for value, records in _groups(kind, here).items() if records != wanted.get(value) for record in records
    }


def _groups(kind: Kind, records: Iterable[Record]) -> Mapping[Any, list[Record]]:
    groups: dict[Any, list[Record]] = {}
    for record in records:
        groups.setdefault(getattr(record, kind.ordered_by), []).append(record)
    return groups


def _orphans(kind: Kind, here: Sequence[Record], gone: Mapping[type[Any], Sequence[Record]]) -> set[Record]:
    """Return the records that refer to one that goes."""
    orphans: set[Record] = set()
    for reference in kind.references:
        targets = set(map(values_of(tuple(reference.fields)), gone[reference.to]))
        if targets:
            orphans.update(record for record in here if reference.value_of(record) in targets)
    return orphans
