"""Where a piece of a slot may lie."""

from __future__ import annotations

import pytest

from broker.errors import StoreError
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.slot import Slot
from broker.store.slot_ranges import check_apart, check_lane, is_within, new_pieces


def piece(start: int, end: int, *, queue_id: int = 7, lane: int = 1) -> Slot:
    return Slot(queue_id, lane, start, end, 1)


def row(start: int, end: int, *, queue_id: int = 7, lane: int = 1) -> SlotRow:
    return SlotRow(queue_id, lane, start, end, 1)


def test_pieces_that_touch_are_apart() -> None:
    check_apart([piece(10, 19), piece(1, 9), piece(1, 9, queue_id=8), piece(1, 9, lane=2)])


def test_pieces_that_share_a_message_are_refused() -> None:
    with pytest.raises(StoreError, match="slots 1-10 and 10-19 of queue 7 overlap"):
        check_apart([piece(10, 19), piece(1, 10)])


def test_a_node_gives_only_what_its_own_lane_has() -> None:
    check_lane([piece(1, 9)], 1, Incarnation("a", "x"))
    with pytest.raises(StoreError, match="slot 1 is of lane 2, but node 'a' has lane 1"):
        check_lane([piece(1, 9, lane=2)], 1, Incarnation("a", "x"))


@pytest.mark.parametrize(("start", "end"), [(10, 19), (12, 12)])
def test_a_piece_lies_within_a_slot_up_to_its_ends(start: int, end: int) -> None:
    assert is_within(piece(start, end), [row(10, 19)])


@pytest.mark.parametrize("outside", [piece(9, 12), piece(12, 20), piece(12, 12, queue_id=8), piece(12, 12, lane=2)])
def test_a_piece_that_reaches_out_of_a_slot_is_not_within_it(outside: Slot) -> None:
    assert not is_within(outside, [row(10, 19)])


def test_a_piece_of_a_taken_slot_has_a_place_in_any_lane() -> None:
    foreign = piece(12, 13, lane=2)
    assert new_pieces([foreign], [row(10, 19, lane=2)], lane=1, there=[]) == [foreign]
    assert new_pieces([foreign], [], lane=1, there=[]) == []


def test_a_piece_of_the_nodes_own_lane_has_a_place_where_no_slot_is() -> None:
    own = piece(12, 13)
    assert new_pieces([own], [], lane=1, there=[row(1, 11), row(14, 20), row(12, 13, queue_id=8)]) == [own]
    assert new_pieces([own], [], lane=1, there=[row(13, 20)]) == []
