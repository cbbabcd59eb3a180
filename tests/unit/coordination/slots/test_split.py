"""How messages that are given away become slots."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from broker.coordination.slots.split import close, split
from broker.message import STORED, TRANSIENT, Message
from broker.ports.slot import Slot

KIND = Slot(7, 3, 0, 0, 0)


class _Queue:
    queue_id = 7
    is_stream = False


def messages(*ids: int, state: int = STORED) -> list[Message]:
    return [Message(each, _Queue(), b"", b"", b"", None, state) for each in ids]


def ranges(slots: list[Slot]) -> list[tuple[int, int, int]]:
    return [(slot.start, slot.end, slot.count) for slot in slots]


def test_messages_in_a_row_become_one_slot() -> None:
    assert ranges(close(KIND, messages(1, 2, 5), [], 1000)) == [(1, 5, 3)]


def test_a_slot_names_the_row_it_will_have() -> None:
    assert [slot.row for slot in close(KIND, messages(4, 5), [], 1)] == [4, 5]


def test_no_slot_has_more_messages_than_a_window() -> None:
    assert ranges(close(KIND, messages(1, 2, 3, 4, 5), [], 2)) == [(1, 2, 2), (3, 4, 2), (5, 5, 1)]


def test_a_slot_ends_before_a_message_that_a_consumer_holds() -> None:
    assert ranges(close(KIND, messages(1, 2, 5, 6), [3], 1000)) == [(1, 2, 2), (5, 6, 2)]


def test_no_slot_reaches_to_where_another_one_begins() -> None:
    assert ranges(close(KIND, messages(1, 2, 5, 6), [5], 1000)) == [(1, 2, 2), (5, 6, 2)]


def test_a_slot_may_begin_where_the_one_before_it_has_to_end() -> None:
    assert ranges(close(KIND, messages(1, 2, 5, 6), [2], 1000)) == [(1, 1, 1), (2, 6, 3)]


def test_a_slot_says_whether_it_has_transient_messages() -> None:
    mixed = messages(1) + messages(2, state=TRANSIENT)
    assert [slot.transient for slot in close(KIND, mixed, [], 1000)] == [True]


def test_a_slot_is_divided_into_what_is_given_and_what_is_kept() -> None:
    row = Slot(7, 3, 10, 90, 9, row=10)
    cut = split(row, [20, 30, 50], [10, 40], Slot(7, 3, 60, 90, 4, row=10), gives_rest=False)
    assert cut.removed == [10]
    assert ranges(cut.given) == [(20, 30, 2), (50, 50, 1)]
    assert ranges(cut.kept) == [(10, 10, 1), (40, 40, 1), (60, 90, 4)]


def test_the_unread_rest_goes_with_what_is_given_before_it() -> None:
    row = Slot(7, 3, 10, 90, 9, maybe_delivered=True, transient=True, row=10)
    cut = split(row, [50], [10], Slot(7, 3, 60, 90, 4, row=10), gives_rest=True)
    assert cut.kept == [Slot(7, 3, 10, 10, 1, maybe_delivered=True, transient=True, row=10)]
    assert cut.given == [Slot(7, 3, 50, 90, 5, maybe_delivered=True, transient=True, row=50)]


def test_the_store_knows_how_often_what_was_read_and_is_given_was_delivered() -> None:
    row = Slot(7, 3, 10, 90, 9, maybe_delivered=True, row=10, is_late=True)
    cut = split(row, [50], [10], Slot(7, 3, 60, 90, 4, row=10), gives_rest=True)
    assert cut.kept == [replace(row, end=10, count=1)]
    assert cut.given == [Slot(7, 3, 50, 50, 1, row=50), Slot(7, 3, 60, 90, 4, maybe_delivered=True, row=60)]


def test_a_rest_that_stays_is_late_as_before() -> None:
    row = Slot(7, 3, 10, 90, 9, row=10, is_late=True)
    cut = split(row, [10, 20], [], Slot(7, 3, 60, 90, 4, row=10), gives_rest=False)
    assert (cut.kept, cut.given) == ([Slot(7, 3, 60, 90, 4, row=60, is_late=True)], [Slot(7, 3, 10, 20, 2, row=10)])


@given(st.lists(st.sampled_from("gkrs"), min_size=1, max_size=40), st.integers(1, 6), st.booleans())
def test_pieces_never_overlap_and_hold_every_message_once(tags: str, size: int, gives_rest: bool) -> None:
    given_ids = [number for number, tag in enumerate(tags, 1) if tag == "g"]
    kept_ids = [number for number, tag in enumerate(tags, 1) if tag == "k"]
    end = len(tags) + 10
    row = Slot(7, 3, 1, end, len(tags) + 10, row=1)
    rest = Slot(7, 3, len(tags) + 1, end, 10, row=1)
    cut = split(row, given_ids, kept_ids, rest, gives_rest)
    pieces = sorted([*cut.given, *cut.kept], key=lambda slot: slot.start)
    assert all(before.end < after.start for before, after in pairwise(pieces))
    assert sum(piece.count for piece in pieces) == len(given_ids) + len(kept_ids) + 10
    for each in given_ids:
        assert [piece for piece in cut.given if piece.start <= each <= piece.end]
    for each in kept_ids:
        assert [piece for piece in cut.kept if piece.start <= each <= piece.end]
    closed = close(KIND, messages(*given_ids), kept_ids, size)
    assert not any(slot.start <= each <= slot.end for slot in closed for each in kept_ids)
    assert sum(slot.count for slot in closed) == len(given_ids)
