"""When the store is asked whether something in free slots has expired: once for what is free, and when it is due."""

from __future__ import annotations

from collections.abc import Hashable

from broker.coordination.slots.free_expiry import FreeExpiry


def asked(expiry: FreeExpiry, now_ms: int, *free: tuple[int, Hashable], limit: int = 10) -> list[int]:
    return [queue_id for queue_id, _ in expiry.to_ask(free, now_ms, limit)]


def test_each_queue_is_asked_about_once_while_the_same_slots_are_free() -> None:
    expiry = FreeExpiry()
    assert asked(expiry, 0, (1, "a"), (2, "b")) == [1, 2]
    expiry.on_answer(1, "a", None)
    expiry.on_answer(2, "b", 500)
    assert asked(expiry, 499, (1, "a"), (2, "b")) == []
    assert asked(expiry, 499, (1, "other"), (2, "b")) == [1]


def test_it_is_asked_about_again_when_something_is_due() -> None:
    expiry = FreeExpiry()
    expiry.on_answer(2, "b", 500)
    assert asked(expiry, 500, (2, "b")) == [2]


def test_no_more_are_asked_about_at_once_than_may_be() -> None:
    expiry = FreeExpiry()
    free = [(number, "a") for number in range(5)]
    assert asked(expiry, 0, *free, limit=3) == [0, 1, 2]
    for number in range(3):
        expiry.on_answer(number, "a", None)
    assert asked(expiry, 0, *free, limit=3) == [3, 4]


def test_what_is_not_free_any_more_is_forgotten() -> None:
    expiry = FreeExpiry()
    expiry.on_answer(1, "a", None)
    assert asked(expiry, 0) == []
    assert asked(expiry, 0, (1, "a")) == [1]
