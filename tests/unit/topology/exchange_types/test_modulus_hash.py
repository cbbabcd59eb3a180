"""Contract E7."""

from __future__ import annotations

from collections import Counter

from tests.support.bindings import OTHER, Q, binding, exchange, matched

KEYS = [f"order-{number}" for number in range(300)]


def test_a_message_goes_to_one_destination_and_equal_keys_to_the_same() -> None:
    subject = exchange("x-modulus-hash")
    for number in range(3):
        subject.bind(binding(("queue", str(number)), "whatever"))
    found = {key: matched(subject, key) for key in KEYS}
    counts = Counter(destination for [destination] in found.values())
    assert len(counts) == 3
    assert min(counts.values()) > 50
    assert found == {key: matched(subject, key) for key in KEYS}


def test_the_choice_depends_on_neither_the_order_of_bindings_nor_the_process() -> None:
    one, other = exchange("x-modulus-hash"), exchange("x-modulus-hash")
    for destination in (Q, OTHER):
        one.bind(binding(destination))
    for destination in (OTHER, Q):
        other.bind(binding(destination, "again"))
    assert [matched(one, key) for key in KEYS] == [matched(other, key) for key in KEYS]
    assert [matched(one, key) for key in KEYS[:4]] == [[Q], [Q], [OTHER], [Q]]


def test_a_destination_that_is_bound_twice_counts_twice() -> None:
    subject = exchange("x-modulus-hash")
    for key in ("a", "b"):
        subject.bind(binding(Q, key))
    subject.bind(binding(OTHER))
    assert 170 < [matched(subject, key) for key in KEYS].count([Q]) < 230
    subject.unbind(binding(Q, "a"))
    assert 120 < [matched(subject, key) for key in KEYS].count([Q]) < 180
    subject.unbind(binding(Q, "b"))
    assert {tuple(matched(subject, key)) for key in KEYS} == {(OTHER,)}


def test_without_a_binding_a_message_goes_nowhere() -> None:
    assert matched(exchange("x-modulus-hash"), "k") == []
