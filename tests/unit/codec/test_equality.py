"""Contract E4 and Q4: when two values are the same."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any

import pytest

from broker.codec.equality import comparable, declared
from broker.codec.field_table import ByteArray, FieldTable, Int64, Timestamp


def entry(tag: bytes, octets: bytes) -> FieldTable:
    """Return a table with the one entry `a`, of any type."""
    return FieldTable(b"\x01a" + tag + octets)


ONE = {
    "byte": entry(b"b", b"\x01"),
    "unsignedbyte": entry(b"B", b"\x01"),
    "short": entry(b"s", b"\0\x01"),
    "unsignedshort": entry(b"u", b"\0\x01"),
    "signedint": entry(b"I", struct.pack(">i", 1)),
    "unsignedint": entry(b"i", struct.pack(">I", 1)),
    "long": entry(b"l", struct.pack(">q", 1)),
    "float": entry(b"f", struct.pack(">f", 1.0)),
    "double": entry(b"d", struct.pack(">d", 1.0)),
    "timestamp": entry(b"T", struct.pack(">Q", 1)),
}
INTEGERS = ("byte", "unsignedbyte", "short", "unsignedshort", "signedint", "unsignedint", "long")
FLOATS = ("float", "double")
NAN = entry(b"d", struct.pack(">d", math.nan))


def same(one: FieldTable, other: FieldTable) -> bool:
    return comparable(one) == comparable(other)


def equivalent(one: FieldTable, other: FieldTable) -> bool:
    return declared(one, "a") == declared(other, "a")


@pytest.mark.parametrize("one", ONE)
@pytest.mark.parametrize("other", ONE)
def test_numbers_of_all_types_and_timestamps_compare_by_value(one: str, other: str) -> None:
    assert same(ONE[one], ONE[other])
    assert hash(comparable(ONE[one])["a"]) == hash(comparable(ONE[other])["a"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, True),
        (0, False),
        (0, None),
        ("1", 1),
        ("", None),
        (1, Decimal(1)),
        (Decimal("1.0"), Decimal("1.00")),
        ((1 << 53) + 1, float(1 << 53)),
        ([1], [Int64(1)]),
        ([1], [1.0]),
        ({"n": 1}, {"n": 1.0}),
        (["a"], [ByteArray(b"a")]),
        ([], {}),
        ("a", "A"),
    ],
)
def test_values_that_differ(one: Any, other: Any) -> None:
    assert not same(FieldTable.of({"a": one}), FieldTable.of({"a": other}))


@pytest.mark.parametrize("octets", [b"abc", b"\xff", b"", "ä".encode()])
def test_strings_and_byte_arrays_compare_by_their_octets(octets: bytes) -> None:
    assert same(FieldTable.of({"a": octets}), FieldTable.of({"a": ByteArray(octets)}))


@pytest.mark.parametrize("value", [[1, "a", {"n": [None]}], {"n": 1, "m": True}, Decimal("1.5"), None, True])
def test_a_value_equals_itself(value: Any) -> None:
    assert same(FieldTable.of({"a": value}), FieldTable.of({"a": value}))


def test_what_is_no_number_is_the_same_as_itself() -> None:
    assert same(NAN, entry(b"f", struct.pack(">f", math.nan)))
    assert not same(NAN, ONE["double"])
    array = FieldTable.of({"a": [math.nan]})
    assert same(array, FieldTable.of({"a": [math.nan]}))


@pytest.mark.parametrize("one", ONE)
@pytest.mark.parametrize("other", ONE)
def test_in_declarations_integers_floats_and_timestamps_differ(one: str, other: str) -> None:
    both = {one, other}
    expected = both <= set(INTEGERS) or both <= set(FLOATS) or len(both) == 1
    assert equivalent(ONE[one], ONE[other]) is expected


def test_in_declarations_a_value_that_is_no_number_is_the_same_as_itself() -> None:
    assert equivalent(NAN, NAN)


def test_in_declarations_strings_and_byte_arrays_differ() -> None:
    assert not equivalent(FieldTable.of({"a": "x"}), FieldTable.of({"a": ByteArray(b"x")}))


def test_an_argument_that_is_not_there_differs_from_a_void_one() -> None:
    assert declared(FieldTable.of({}), "a") is None
    assert not equivalent(FieldTable.of({}), FieldTable.of({"a": None}))
    assert same(FieldTable.of({"t": Timestamp(5)}), FieldTable.of({"t": 5}))
