"""Compares topologies: a hash of all records, and the changes that lead from one topology to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import Any, Final

from broker.ports.kinds import KINDS, Kind, Kinds, added_later, told, values_of
from broker.ports.records import Change, Drop, Put, Record, Topology

_MODULUS: Final = 1 << 128
_RECORDS_PER_STEP: Final = 500


def topology_hash(topology: Topology, kinds: Kinds = KINDS) -> str:
    """Return a hash of all records in any order: equal on all nodes that applied the same events."""
    *_, found = hashing(lambda kind: topology.of(kind.record), kinds)
    return found


def hashing(records: Callable[[Kind], Iterable[Record]], kinds: Kinds = KINDS) -> Iterator[str]:
    """Hash all records in steps of a few milliseconds; yield an empty text after each, and the hash at the end."""
    total = number = 0
    for kind in kinds:
        values = _hashed(kind)
        for record in records(kind):
            total += _digest(kind.name, *values(record))
            number += 1
            if number % _RECORDS_PER_STEP == 0:
                yield ""
    yield f"{total % _MODULUS:032x}"


def _hashed(kind: Kind) -> Callable[[Record], tuple[Any, ...]]:
    """Return a function from a record to the tuple of its fields that is hashed.

    Octets come last, and what was added later only where it says more, as on nodes of every version: they compare
    their hashes.
    """
    added = added_later(kind.record)
    in_order = sorted(fields(kind.record), key=lambda each: each.type in (bytes, "bytes"))
    values = values_of([each.name for each in in_order if each.name not in added])
    if not added:
        return values
    return lambda record: (*values(record), *(value for name, value in told(record).items() if name in added))


def _digest(*values: str | int | bytes) -> int:
    return int.from_bytes(blake2b(ascii(values).encode(), digest_size=16).digest(), "big")


# From a topology to changes


def changes_to(topology: Topology, kinds: Kinds = KINDS) -> Iterator[Put]:
    """Yield the changes that build `topology` from nothing, in an order in which they can be applied."""
    for kind in kinds:
        yield from map(Put, topology.of(kind.record))


def changes_between(current: Topology, wanted: Topology, kinds: Kinds = KINDS) -> Iterator[Change]:
    """Yield the changes that turn `current` into `wanted`: drops first, and before each drop those of what refers to
    it.

    A wanted record that refers to a dropped one is dropped and put again.
    """
    gone: dict[type[Any], list[Record]] = {}
    missing: list[Change] = []
    for kind in kinds:
        here, there = current.of(kind.record), wanted.of(kind.record)
        surplus, orphans = _surplus(kind, here, there), _orphans(kind, here, gone)
        kept = set(here) - surplus - orphans
        if kind.is_replaced:
            replaced = set(map(kind.key_of, there))
            surplus = {record for record in surplus if kind.key_of(record) not in replaced}
        gone[kind.record] = [record for record in here if record in surplus or record in orphans]
        missing += [Put(record) for record in there if record not in kept]
    for kind in reversed(tuple(kinds)):
        yield from (Drop(kind.key_of(record)) for record in gone[kind.record])
    yield from missing


def _surplus(kind: Kind, here: Sequence[Record], there: Sequence[Record]) -> set[Record]:
    """Return the records that are not wanted; of a group whose order is not the wanted one, all."""
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
    """Return the records that refer to a dropped one."""
    orphans: set[Record] = set()
    for reference in kind.references:
        targets = set(map(values_of(tuple(reference.fields)), gone[reference.to]))
        if targets:
            orphans.update(record for record in here if reference.value_of(record) in targets)
    return orphans
