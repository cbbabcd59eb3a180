"""What is remembered of credentials, how long, and what is not."""

from __future__ import annotations

import pytest

from broker.auth.remembered import LIFETIME, Remembered
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def remembered(clock: FakeClock) -> Remembered:
    return Remembered(b"k" * 32, clock.monotonic, right_entries=3, wrong_entries=3)


def test_right_credentials_are_remembered_for_minutes(clock: FakeClock, remembered: Remembered) -> None:
    remembered.add_right(b"ann")
    clock.advance(LIFETIME - 1)
    assert remembered.find_right(b"ann") is not None
    assert remembered.find_right(b"bob") is None


def test_minutes_after_their_last_use_they_are_forgotten(clock: FakeClock, remembered: Remembered) -> None:
    remembered.add_right(b"ann")
    clock.advance(LIFETIME - 1)
    assert remembered.find_right(b"ann") is not None
    clock.advance(LIFETIME - 1)
    assert remembered.find_right(b"ann") is not None
    clock.advance(LIFETIME)
    assert remembered.find_right(b"ann") is None
    assert len(remembered) == 0


def test_while_a_connection_uses_them_they_are_not_forgotten(clock: FakeClock, remembered: Remembered) -> None:
    first = remembered.add_right(b"ann")
    clock.advance(100 * LIFETIME)
    second = remembered.find_right(b"ann")
    assert second is first
    del first
    clock.advance(100 * LIFETIME)
    assert remembered.find_right(b"ann") is second
    del second
    clock.advance(LIFETIME - 1)
    assert remembered.find_right(b"ann") is not None


def test_when_the_last_connection_has_gone_the_minutes_begin(clock: FakeClock, remembered: Remembered) -> None:
    proof = remembered.add_right(b"ann")
    clock.advance(100 * LIFETIME)
    del proof
    clock.advance(LIFETIME)
    assert remembered.find_right(b"ann") is None


def test_what_is_added_again_is_one_entry(remembered: Remembered) -> None:
    proofs = [remembered.add_right(b"ann"), remembered.add_right(b"ann")]
    assert remembered.find_right(b"ann") in proofs
    assert len(remembered) == 1


def test_wrong_credentials_are_wrong_as_long_as_there_is_room(clock: FakeClock, remembered: Remembered) -> None:
    assert remembered.add_wrong(b"ann")
    assert not remembered.add_wrong(b"ann")
    clock.advance(1e9)
    assert remembered.is_wrong(b"ann")
    assert not remembered.is_wrong(b"bob")


def test_wrong_ones_displace_no_right_ones(remembered: Remembered) -> None:
    remembered.add_right(b"ann")
    for number in range(100):
        remembered.add_wrong(b"%d" % number)
    assert remembered.find_right(b"ann") is not None
    assert len(remembered) == 4


def test_the_least_recently_used_are_forgotten_first(remembered: Remembered) -> None:
    for name in (b"a", b"b", b"c"):
        remembered.add_right(name)
        remembered.add_wrong(name)
    assert remembered.find_right(b"a") is not None
    assert remembered.is_wrong(b"a")
    remembered.add_right(b"d")
    remembered.add_wrong(b"d")
    assert [name for name in (b"a", b"b", b"c", b"d") if remembered.find_right(name)] == [b"a", b"c", b"d"]
    assert [name for name in (b"a", b"b", b"c", b"d") if remembered.is_wrong(name)] == [b"a", b"c", b"d"]


def test_a_digest_tells_where_one_text_ends_and_is_of_this_process(remembered: Remembered, clock: FakeClock) -> None:
    digest = remembered.digest("ann", "hash", "secret")
    assert digest == remembered.digest("ann", "hash", "secret")
    assert len(digest) == 16
    assert digest != remembered.digest("ann", "other", "secret")
    assert remembered.digest("ab", "c") != remembered.digest("a", "bc")
    assert digest != Remembered(b"j" * 32, clock.monotonic).digest("ann", "hash", "secret")
