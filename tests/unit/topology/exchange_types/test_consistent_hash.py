"""Contract E5."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from broker.codec.field_table import ByteArray, FieldTable, Int64
from broker.errors import PreconditionFailed
from broker.topology.binding import Destination
from broker.topology.exchange import Exchange
from broker.turn_budget import TurnBudget
from tests.support.bindings import EXCHANGE_TYPES, Q, binding, exchange, matched, message, without

KEYS = [f"order-{number}" for number in range(2000)]


def ring(weights: dict[str, int], **arguments: Any) -> Exchange:
    subject = exchange("x-consistent-hash", **{name.replace("_", "-"): value for name, value in arguments.items()})
    for name, weight in weights.items():
        subject.bind(binding(("queue", name), str(weight)))
    return subject


def chosen(subject: Exchange, **sent: Any) -> Destination:
    [destination] = matched(subject, **sent)
    return destination


def spread(subject: Exchange) -> dict[str, str]:
    return {key: chosen(subject, key=key)[1] for key in KEYS}


def test_a_message_goes_to_one_destination_and_equal_keys_to_the_same() -> None:
    subject = ring({"a": 1, "b": 1, "c": 1})
    assert spread(subject) == spread(subject)
    assert set(spread(subject).values()) == {"a", "b", "c"}


def test_the_choice_depends_on_neither_the_order_of_bindings_nor_the_process() -> None:
    one, other = ring({"a": 1, "b": 2, "c": 3}), ring({"c": 3, "a": 1, "b": 2})
    assert spread(one) == spread(other)
    assert [spread(one)[f"order-{number}"] for number in range(8)] == list("bacbcbba")


def test_destinations_get_parts_by_their_weights() -> None:
    counts = Counter(spread(ring({"a": 1, "b": 1, "c": 2})).values())
    assert 400 < counts["a"] < 600
    assert 400 < counts["b"] < 600
    assert 900 < counts["c"] < 1100


def test_the_weights_of_several_bindings_of_a_destination_add_up() -> None:
    added = ring({"a": 1, "b": 1})
    added.bind(binding(("queue", "b"), "2"))
    assert spread(added) == spread(ring({"a": 1, "b": 3}))
    added.unbind(binding(("queue", "b"), "2"))
    assert spread(added) == spread(ring({"a": 1, "b": 1}))


def test_a_binding_that_comes_takes_its_part_and_moves_nothing_else() -> None:
    subject = ring({"a": 1, "b": 1, "c": 1})
    before = spread(subject)
    subject.bind(binding(("queue", "d"), "1"))
    after = spread(subject)
    moved = {key for key in KEYS if before[key] != after[key]}
    assert {after[key] for key in moved} == {"d"}
    assert 400 < len(moved) < 600


def test_a_binding_that_goes_leaves_its_part_to_the_others_and_moves_nothing_else() -> None:
    subject = ring({"a": 1, "b": 1, "c": 1})
    before = spread(subject)
    subject.unbind(binding(("queue", "b"), "1"))
    after = spread(subject)
    assert {before[key] for key in KEYS if before[key] != after[key]} == {"b"}
    assert set(after.values()) == {"a", "c"}


def test_without_a_binding_a_message_goes_nowhere() -> None:
    subject = ring({"a": 1})
    assert chosen(subject, key="k") == ("queue", "a")
    without(subject, ("queue", "a"))
    assert matched(subject, "k") == []


@pytest.mark.parametrize(
    ("key", "shown"), [("", "<<>>"), *((key, f'<<"{key}">>') for key in ("one", "1.0", " 1", "1_0", "\u0661"))]
)
def test_a_binding_key_that_is_no_integer_is_refused(key: str, shown: str) -> None:
    subject = exchange("x-consistent-hash")
    for refuse in (subject.check, subject.bind):
        with pytest.raises(PreconditionFailed, match=f"^The binding key must be an integer: {shown}$"):
            refuse(binding(Q, key))
    assert subject.is_unused


@pytest.mark.parametrize("key", ["0", "-1"])
def test_a_binding_key_below_one_is_refused(key: str) -> None:
    with pytest.raises(PreconditionFailed, match=r"^The binding key must be greater than 0$"):
        exchange("x-consistent-hash").check(binding(Q, key))


def test_a_weight_of_any_size_costs_nothing() -> None:
    subject = ring({"a": 1})
    subject.bind(binding(("queue", "b"), "9" * 255))
    assert set(spread(subject).values()) == {"b"}


def test_a_header_is_hashed_when_the_exchange_says_so() -> None:
    subject = ring({"a": 1, "b": 1, "c": 1}, hash_header="user")
    assert subject.is_dynamic
    by_user = {user: chosen(subject, key="k", headers={"user": user}) for user in KEYS[:50]}
    assert len(set(by_user.values())) == 3
    assert by_user == {user: chosen(subject, key="l", headers={"user": user, "other": 1}) for user in KEYS[:50]}


def test_numbers_are_hashed_by_value_and_a_missing_header_like_any_other() -> None:
    subject = ring({"a": 1, "b": 1, "c": 1}, hash_header="user")
    for number in range(20):
        assert chosen(subject, headers={"user": number}) == chosen(subject, headers={"user": Int64(number)})
    assert chosen(subject, headers={"user": "7"}) == chosen(subject, headers={"user": ByteArray(b"7")})
    assert chosen(subject, key="k", headers={}) == chosen(subject, key="l", headers={"other": 1})
    assert len({chosen(subject, headers={"user": [number]}) for number in range(20)}) == 3


@pytest.mark.parametrize("name", ["correlation_id", "message_id", "timestamp"])
def test_a_property_is_hashed_when_the_exchange_says_so(name: str) -> None:
    subject = ring({"a": 1, "b": 1, "c": 1}, hash_property=name)
    values: list[Any] = list(range(50)) if name == "timestamp" else KEYS[:50]
    by_value = {value: chosen(subject, key="k", **{name: value}) for value in values}
    assert len(set(by_value.values())) == 3
    assert by_value == {value: chosen(subject, key="l", **{name: value}) for value in values}
    assert chosen(subject, key="k", headers={}) == chosen(subject, key="l", headers={})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"hash-header": "a", "hash-property": "message_id"}, "hash-header and hash-property are mutually exclusive"),
        ({"hash-property": "app_id"}, "Unsupported property: app_id"),
        ({"hash-property": 7}, "Unsupported property: 7"),
        ({"hash-header": 7}, "invalid arg 'hash-header': expected a longstr"),
    ],
)
def test_arguments_that_do_not_say_what_is_hashed_are_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(PreconditionFailed, match=f"^{text}$"):
        Exchange("x", "x-consistent-hash", FieldTable.of(arguments), EXCHANGE_TYPES)


def steps_of(subject: Exchange, key: str) -> tuple[int, int]:
    """Return how many steps a message costs, and how often the search for its destination may pause."""
    work = TurnBudget()
    found = list(subject.match(key, message(), work))
    return work.done, found.count(None)


def test_only_a_hash_that_is_new_is_looked_for_among_the_destinations() -> None:
    subject = ring({str(number): 1 for number in range(3000)})
    steps, pauses = steps_of(subject, "k")
    assert steps >= 1000
    assert pauses == 2
    assert steps_of(subject, "k") == (0, 0)


def test_what_is_remembered_of_many_hashes_is_bounded() -> None:
    subject = ring({"a": 1, "b": 1})
    keys = [str(random.Random(7).random() + number) for number in range(9000)]
    found = [chosen(subject, key=key) for key in keys]
    assert len(subject._router._winners) < 8193  # type: ignore[attr-defined]
    assert [chosen(subject, key=key) for key in keys] == found
