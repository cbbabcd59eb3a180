"""How what a node hands off becomes slots: closed ranges that hold no message that a client holds (invariant I52).

Knows message ids and slots; knows no queue, no consumer and no store.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

from broker.message import TRANSIENT, Message
from broker.ports.slot import Slot


@dataclass(slots=True)
class Cut:
    """What `SlotStore.cut` is to do: rows to replace, slots that stay with this node, slots that become free."""

    removed: list[int] = field(default_factory=list)
    kept: list[Slot] = field(default_factory=list)
    given: list[Slot] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.removed or self.given)

    def add(self, other: Cut) -> None:
        """Do what `other` says in the same transaction."""
        self.removed += other.removed
        self.kept += other.kept
        self.given += other.given


def close(kind: Slot, messages: Iterable[Message], barriers: Sequence[int], size: int) -> list[Slot]:
    """Return slots like `kind` of at most `size` for messages of a window, which are ascending by id.

    No slot reaches over or to an id of `barriers`, which are ascending: what is held, or begins another slot.
    """
    slots: list[Slot] = []
    for message in messages:
        last = slots[-1] if slots else None
        transient = kind.transient or message.state == TRANSIENT
        if last is None or last.count >= size or _is_between(barriers, last.end, message.id):
            start = message.id
            slots.append(replace(kind, start=start, end=start, count=1, transient=transient, row=start))
        else:
            last.end = message.id
            last.count += 1
            last.transient |= transient
    return slots


def split(row: Slot, given: Sequence[int], kept: Sequence[int], rest: Slot | None, gives_rest: bool) -> Cut:
    """Divide the slot `row` into what is `given` and what is `kept`, both ascending ids, and its unread `rest`.

    Ids of the row that are in none of them are settled, and their rows gone. Of what is given the store knows how often
    it was delivered, except of the rest and of transient messages.
    """
    away = replace(row, is_late=False)
    known = replace(away, maybe_delivered=row.maybe_delivered and row.transient)
    parts = [(message_id, message_id, 1, known) for message_id in given] + [(id_, id_, 1, row) for id_ in kept]
    parts.sort(key=itemgetter(0))
    if rest is not None:
        parts.append((rest.start, rest.end, rest.count, away if gives_rest else row))
    cut = Cut([row.row])
    last: Slot | None = None
    for start, end, count, kind in parts:
        slots = cut.kept if kind is row else cut.given
        if last is not None and (kind is row) is (last is row) and kind.maybe_delivered is last.maybe_delivered:
            slots[-1].end = end
            slots[-1].count += count
        else:
            slots.append(replace(kind, start=start, end=end, count=count, row=start))
        last = kind
    return cut


def _is_between(barriers: Sequence[int], low: int, high: int) -> bool:
    """Is there a barrier above `low`, and not above `high`?"""
    index = bisect_right(barriers, low)
    return index < len(barriers) and barriers[index] <= high
