"""Contract E2."""

from __future__ import annotations

from tests.support.bindings import OTHER, Q, binding, exchange, matched


def test_a_fanout_exchange_ignores_the_key_and_gives_each_destination_one_copy() -> None:
    subject = exchange("fanout")
    subject.bind(binding(Q, "k"))
    subject.bind(binding(Q, "l"))
    subject.bind(binding(OTHER, "m"))
    assert matched(subject, "anything") == [Q, OTHER]
