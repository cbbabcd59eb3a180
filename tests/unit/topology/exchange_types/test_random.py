"""Contract E6."""

from __future__ import annotations

from broker.codec.field_table import EMPTY_TABLE
from broker.topology.exchange import Exchange, ExchangeTypes
from tests.support.bindings import DOWNSTREAM, OTHER, Q, binding, matched


def test_chance_chooses_one_of_the_bindings_for_each_message() -> None:
    asked: list[int] = []
    chance = iter([2, 0, 3, 2, 1])

    def choose(count: int) -> int:
        asked.append(count)
        return next(chance)

    subject = Exchange("x", "x-random", EMPTY_TABLE, ExchangeTypes(choose))
    for destination in (Q, OTHER, DOWNSTREAM):
        subject.bind(binding(destination, "a"))
    subject.bind(binding(Q, "b"))
    assert [matched(subject, "k") for _ in range(3)] == [[DOWNSTREAM], [Q], [Q]]
    subject.unbind(binding(Q, "a"))
    assert matched(subject, "k") == [Q]
    subject.unbind(binding(Q, "b"))
    assert matched(subject, "k") == [DOWNSTREAM]
    assert asked == [4, 4, 4, 3, 2]


def test_without_a_binding_a_message_goes_nowhere() -> None:
    assert matched(Exchange("x", "x-random", EMPTY_TABLE, ExchangeTypes(lambda count: 0)), "k") == []
