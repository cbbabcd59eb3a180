"""What a change of topology comes to, decided but not yet recorded, and which decisions may be recorded together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from broker.ports.records import Change

T = TypeVar("T")
Resource: TypeAlias = tuple[Hashable, ...]
"""The name of something that decisions depend on: the virtual host, what kind of thing it is, and its name."""


def _nothing() -> None:
    """The result of a change that has none."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[T]):
    """`changes` are to be recorded and then applied; without any there is nothing to do.

    `lasting` are those of them whose effect survives a restart. The decision depends on the resources `reads` and
    changes the resources `writes`. When it is being recorded, `begin` is called, then `end` with whether it was
    recorded; when its changes are applied too, `result` returns what the change was asked for.
    """

    changes: Sequence[Change]
    result: Callable[[], T]
    lasting: Sequence[Change] = ()
    reads: Collection[Resource] = ()
    writes: Collection[Resource] = ()
    begin: Callable[[], None] = _nothing
    end: Callable[[bool], object] = bool


class Footprint:
    """The resources of decisions that are not applied yet: who depends on one of them has to wait."""

    __slots__ = ("_reads", "_writes")

    def __init__(self) -> None:
        self._reads: set[Resource] = set()
        self._writes: set[Resource] = set()

    def add(self, decision: Decision[T]) -> None:
        """Add the resources of a decision."""
        self._reads.update(decision.reads)
        self._writes.update(decision.writes)

    def collides(self, decision: Decision[T]) -> bool:
        """May applying what is here change this decision, or the other way round?"""
        writes = self._writes
        if not writes.isdisjoint(decision.reads) or not writes.isdisjoint(decision.writes):
            return True
        return not self._reads.isdisjoint(decision.writes)
