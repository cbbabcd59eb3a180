"""Contract E3; how patterns match is in tests/unit/topology/test_topic_trie.py."""

from __future__ import annotations

from tests.support.bindings import OTHER, Q, binding, exchange, matched


def test_a_topic_exchange_matches_patterns() -> None:
    subject = exchange("topic")
    subject.bind(binding(Q, "stock.*.nyse"))
    subject.bind(binding(OTHER, "stock.#"))
    assert sorted(matched(subject, "stock.ibm.nyse")) == [OTHER, Q]
    assert matched(subject, "stock") == [OTHER]
