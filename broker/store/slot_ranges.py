"""The rules for ranges of slots, which every store enforces when slots are cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from broker.errors import StoreError
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.slot import Slot


def check_apart(pieces: Iterable[Slot]) -> None:
    """Raise `StoreError` when two of `pieces` overlap: a message must not be in two slots."""
    ordered = sorted((slot.queue_id, slot.lane, slot.start, slot.end) for slot in pieces)
    for before, after in pairwise(ordered):
        if before[:2] == after[:2] and after[2] <= before[3]:
            raise StoreError(f"slots {before[2]}-{before[3]} and {after[2]}-{after[3]} of queue {after[0]} overlap")


def check_lane(pieces: Iterable[Slot], lane: int, incarnation: Incarnation) -> None:
    """Raise `StoreError` when a piece is not of the node's own `lane`: its messages were never the node's."""
    for slot in pieces:
        if slot.lane != lane:
            raise StoreError(
                f"slot {slot.start} is of lane {slot.lane}, but node {incarnation.node_id!r} has lane {lane}"
            )


def new_pieces(pieces: Iterable[Slot], taken: Sequence[SlotRow], lane: int, there: Sequence[SlotRow]) -> list[Slot]:
    """Return those of `pieces` that may become slots.

    A piece may lie in a slot that was `taken` away for it, or in the node's own `lane` where no slot is `there`.
    """
    return [slot for slot in pieces if is_within(slot, taken) or (slot.lane == lane and not _meets(slot, there))]


def is_within(piece: Slot, taken: Iterable[SlotRow]) -> bool:
    """Return whether the piece lies within one of these slots."""
    place = piece.queue_id, piece.lane
    return any(place == (row.queue_id, row.lane) and row.start <= piece.start <= piece.end <= row.end for row in taken)


def _meets(piece: Slot, there: Iterable[SlotRow]) -> bool:
    place = piece.queue_id, piece.lane
    return any(place == (row.queue_id, row.lane) and row.start <= piece.end and piece.start <= row.end for row in there)
