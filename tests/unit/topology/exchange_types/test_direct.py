"""Contract E1."""

from __future__ import annotations

from tests.support.bindings import OTHER, Q, binding, exchange, matched


def test_a_direct_exchange_compares_keys() -> None:
    subject = exchange("direct")
    subject.bind(binding(Q, "k"))
    subject.bind(binding(OTHER, "k"))
    subject.bind(binding(OTHER, "k.l"))
    assert matched(subject, "k") == [Q, OTHER]
    assert matched(subject, "k.l") == [OTHER]
    assert matched(subject, "K") == []
