from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from broker.codec.field_table import EMPTY_TABLE, ByteArray, FieldTable, Int64, Timestamp
from broker.errors import SyntaxFault

# tag, octets of the value, what a reader sees, RabbitMQ's name of the type
READABLE = [
    (b"t", b"\x01", True, "bool"),
    (b"t", b"\x02", True, "bool"),
    (b"t", b"\x00", False, "bool"),
    (b"b", b"\xff", -1, "byte"),
    (b"B", b"\xff", 255, "unsignedbyte"),
    (b"s", b"\xff\xfe", -2, "short"),
    (b"u", b"\xff\xfe", 65534, "unsignedshort"),
    (b"I", b"\xff\xff\xff\xfd", -3, "signedint"),
    (b"i", b"\xff\xff\xff\xfd", 4294967293, "unsignedint"),
    (b"l", b"\xff\xff\xff\xff\xff\xff\xff\xfc", -4, "long"),
    (b"L", b"\xff\xff\xff\xff\xff\xff\xff\xfc", -4, "long"),
    (b"f", b"\x3f\xc0\x00\x00", 1.5, "float"),
    (b"d", b"\x3f\xf8\x00\x00\x00\x00\x00\x00", 1.5, "double"),
    (b"D", b"\x02\x00\x00\x04\xd2", Decimal("12.34"), "decimal"),
    (b"D", b"\x01\xff\xff\xff\xf1", Decimal("-1.5"), "decimal"),
    (b"S", b"\x00\x00\x00\x02h\xc3", b"h\xc3", "longstr"),
    (b"S", b"\x00\x00\x00\x03h\xc3\xa9", "hé", "longstr"),
    (b"A", b"\x00\x00\x00\x03Vt\x01", [None, True], "array"),
    (b"T", b"\x00\x00\x00\x00\x49\x96\x02\xd2", Timestamp(1234567890), "timestamp"),
    (b"F", b"\x00\x00\x00\x04\x01at\x00", {"a": False}, "table"),
    (b"V", b"", None, "void"),
    (b"x", b"\x00\x00\x00\x02\x00\xff", ByteArray(b"\x00\xff"), "binary"),
]

# a value and the bytes it is written as
WRITABLE = [
    (True, b"t\x01"),
    (10, b"I\x00\x00\x00\x0a"),
    (-(1 << 31), b"I\x80\x00\x00\x00"),
    (1 << 31, b"l\x00\x00\x00\x00\x80\x00\x00\x00"),
    (Int64(1), b"l\x00\x00\x00\x00\x00\x00\x00\x01"),
    (1.5, b"d\x3f\xf8\x00\x00\x00\x00\x00\x00"),
    ("hé", b"S\x00\x00\x00\x03h\xc3\xa9"),
    (b"h\xc3", b"S\x00\x00\x00\x02h\xc3"),
    (ByteArray(b"\x00"), b"x\x00\x00\x00\x01\x00"),
    (Decimal("-12.34"), b"D\x02\xff\xff\xfb\x2e"),
    (Decimal("1E+2"), b"D\x00\x00\x00\x00\x64"),
    (Timestamp(1234567890), b"T\x00\x00\x00\x00\x49\x96\x02\xd2"),
    (datetime(2009, 2, 13, 23, 31, 30, tzinfo=UTC), b"T\x00\x00\x00\x00\x49\x96\x02\xd2"),
    ({"a": False}, b"F\x00\x00\x00\x04\x01at\x00"),
    (FieldTable(b"\x01at\x00"), b"F\x00\x00\x00\x04\x01at\x00"),
    ([None, True], b"A\x00\x00\x00\x03Vt\x01"),
    ((None, True), b"A\x00\x00\x00\x03Vt\x01"),
    (None, b"V"),
]


def nested(levels: int) -> bytes:
    """A table that holds a table, `levels` of them in all."""
    raw = b""
    for _ in range(levels - 1):
        raw = b"\x01tF" + len(raw).to_bytes(4, "big") + raw
    return raw


def array_of_nulls(count: int) -> bytes:
    return b"\x01aA" + count.to_bytes(4, "big") + b"V" * count


@pytest.mark.parametrize(("tag", "octets", "value", "type_name"), READABLE)
def test_a_value_is_read_with_the_meaning_rabbitmq_gives_its_tag(tag, octets, value, type_name):
    table = FieldTable(b"\x03key" + tag + octets)
    assert table.values == {"key": value}
    assert type(table.get("key")) in {type(value), Int64}
    assert table.types == {"key": type_name}


@pytest.mark.parametrize(("value", "octets"), WRITABLE)
def test_a_value_is_written_with_the_narrowest_tag_clients_expect(value, octets):
    assert FieldTable.of({"key": value}).raw == b"\x03key" + octets


@pytest.mark.parametrize(
    "value",
    [True, 1, Int64(1), 1 << 40, 1.5, "text", b"\xff", ByteArray(b"text"), Decimal("-0.10"), Timestamp(5), None],
)
def test_a_value_read_and_written_again_keeps_its_bytes(value):
    table = FieldTable.of({"nested": {"list": [value]}})
    assert FieldTable.of(table.values).raw == table.raw


def test_several_entries_lie_one_after_the_other():
    table = FieldTable.of({"x-max-length": 10, "x-overflow": "drop-head"})
    assert table.raw == b"\x0cx-max-lengthI\x00\x00\x00\x0a\x0ax-overflowS\x00\x00\x00\x09drop-head"
    assert table.types == {"x-max-length": "signedint", "x-overflow": "longstr"}


def test_types_tell_of_top_level_entries_only():
    table = FieldTable.of({"outer": {"inner": 1}, "after": True})
    assert table.types == {"outer": "table", "after": "bool"}


def test_the_empty_table_is_false_and_has_no_entries():
    assert not EMPTY_TABLE
    assert EMPTY_TABLE.validate().values == {}
    assert FieldTable.of({}) == EMPTY_TABLE


def test_a_table_with_an_entry_is_true():
    assert FieldTable.of({"a": None})


def test_tables_are_equal_when_their_bytes_are():
    assert FieldTable.of({"a": 1}) == FieldTable(b"\x01aI\x00\x00\x00\x01")
    assert FieldTable.of({"a": 1}) != FieldTable.of({"a": Int64(1)})
    assert FieldTable() != b""
    assert len({FieldTable(b"\x01aV"), FieldTable.of({"a": None})}) == 1


def test_a_table_shows_its_bytes():
    assert repr(FieldTable(b"\x01aV")) == "FieldTable(b'\\x01aV')"


def test_a_missing_entry_is_the_default():
    assert FieldTable().get("a") is None
    assert FieldTable().get("a", 5) == 5


def test_of_a_repeated_name_the_last_entry_wins():
    table = FieldTable(b"\x01at\x01\x01aI\x00\x00\x00\x02")
    assert table.values == {"a": 2}
    assert table.types == {"a": "signedint"}


def test_removing_an_entry_removes_all_of_its_name():
    table = FieldTable(b"\x01at\x01\x01bF\x00\x00\x00\x03\x01aV\x01aV")
    assert table.without("a").raw == b"\x01bF\x00\x00\x00\x03\x01aV"
    assert table.without("absent") == table


def test_a_malformed_table_cannot_be_spliced():
    with pytest.raises(SyntaxFault, match="unknown type tag"):
        FieldTable(b"\x01aZ").without("b")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x01aZ", "field table: unknown type tag 'Z' of entry 'a'"),
        (b"\x01aA\x00\x00\x00\x01Z", "field table: unknown type tag 'Z' of entry ''"),
        (b"\x01", "field table: ends inside an entry"),
        (b"\x01a", "field table: ends inside an entry"),
        (b"\x01aI\x00", "field table: ends inside an entry"),
        (b"\x01aS\x00\x00", "field table: ends inside an entry"),
        (b"\x01aS\xff\xff\xff\xff", "field table: an entry runs past the end of its table or array"),
        (b"\x01ax\x00\x00\x00\x02a", "field table: an entry runs past the end of its table or array"),
        (b"\x01aF\xff\xff\xff\xff", "field table: ends inside an entry"),
        (b"\x01aA\xff\xff\xff\xffV", "field table: ends inside an entry"),
        (b"\x01aA\x00\x00\x00\x01t\x01", "field table: an entry runs past the end of its table or array"),
        (b"\x01aF\x00\x00\x00\x03\x01aF\x00\x00\x00\x00", "field table: an entry runs past the end"),
    ],
)
def test_a_malformed_table_is_a_syntax_fault_that_says_what_is_wrong(raw, text):
    with pytest.raises(SyntaxFault) as caught:
        FieldTable(raw).validate()
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("scale", [0, 28, 29, 100, 255])
@pytest.mark.parametrize("unscaled", [0, 1, -1, 12345, (1 << 31) - 1, -(1 << 31)])
def test_a_decimal_may_have_any_scale(scale, unscaled):
    table = FieldTable(b"\x01aD" + bytes((scale,)) + unscaled.to_bytes(4, "big", signed=True))
    assert table.get("a") == Decimal(unscaled).scaleb(-scale)
    assert FieldTable.of(table.values) == table
    assert table.octets == {"a": table.raw[2:]}


@pytest.mark.parametrize("name", [b"\xff", b"\xfe\xff", b"caf\xe9", b"\xed\xa0\x80"])
def test_a_name_that_is_not_utf8_is_read_and_written_as_it_is(name):
    entry = bytes((len(name),)) + name + b"V"
    table = FieldTable(b"\x01bt\x01" + entry + b"\x01aF" + len(entry).to_bytes(4, "big") + entry)
    assert len(table.values) == 3
    assert FieldTable.of(table.values).raw == table.raw
    assert table.without("b").raw == table.raw[4:]
    assert table.without(name.decode("utf-8", "surrogateescape")).raw == table.raw[:4] + table.raw[4 + len(entry) :]
    assert set(table.types) == set(table.octets) == set(table.values)


def test_names_that_are_not_utf8_are_compared_by_their_octets():
    assert FieldTable(b"\x01\xffV").values == FieldTable(b"\x01\xffV").values
    assert FieldTable(b"\x01\xffV").values != FieldTable(b"\x01\xfeV").values


@pytest.mark.parametrize("levels", [33, 500, 5000])
def test_a_table_nested_deeper_than_32_levels_is_refused_without_recursion(levels):
    with pytest.raises(SyntaxFault, match="nested deeper than 32 levels"):
        FieldTable(nested(levels)).validate()


def test_a_table_of_32_levels_is_read():
    table = FieldTable(nested(32)).validate()
    assert FieldTable.of(table.values) == table


def test_arrays_count_as_levels():
    raw = b""
    for _ in range(40):
        raw = b"A" + len(raw).to_bytes(4, "big") + raw
    with pytest.raises(SyntaxFault, match="nested deeper than 32 levels"):
        FieldTable(b"\x01a" + raw).validate()


def test_1024_entries_are_read_in_a_table_and_in_an_array():
    assert len(FieldTable(b"".join(b"\x04%04dV" % number for number in range(1024))).values) == 1024
    assert len(FieldTable(array_of_nulls(1024)).get("a")) == 1024


@pytest.mark.parametrize("raw", [b"\x01aV" * 1025, array_of_nulls(1025)], ids=["table", "array"])
def test_more_than_1024_entries_are_refused(raw):
    with pytest.raises(SyntaxFault, match="more than 1024 entries in one table or array"):
        FieldTable(raw).validate()


def test_entries_are_counted_for_each_table_on_its_own():
    raw = b"\x01bt\x01" + array_of_nulls(1024) + b"\x01ct\x01"
    assert FieldTable(raw).validate().types == {"b": "bool", "a": "array", "c": "bool"}


def test_a_table_cut_at_any_byte_is_valid_or_a_syntax_fault():
    whole = b"".join(b"\x03key" + tag + octets for tag, octets, _, _ in READABLE)
    boundaries = 0
    for length in range(len(whole)):
        try:
            FieldTable(whole[:length]).validate()
            boundaries += 1
        except SyntaxFault:
            pass
    assert boundaries == len(READABLE)


@pytest.mark.parametrize(
    "value",
    [
        1 << 63,
        -(1 << 63) - 1,
        Timestamp(-1),
        Timestamp(1 << 64),
        Decimal("NaN"),
        Decimal("1E-256"),
        Decimal("1E+11"),
        Decimal(1 << 31),
        datetime(2009, 2, 13),
        datetime(1969, 12, 31, tzinfo=UTC),
        "\ud800",
        [None] * 1025,
        dict.fromkeys(map(str, range(1025))),
    ],
    ids=lambda value: repr(value)[:32].encode("ascii", "replace").decode(),
)
def test_a_value_that_does_not_fit_is_refused_not_truncated(value):
    with pytest.raises(ValueError):  # noqa: PT011 - a surrogate's UnicodeEncodeError has its own text
        FieldTable.of({"a": value})


def test_a_name_longer_than_255_bytes_is_refused():
    assert FieldTable.of({"é" * 127 + "e": None}).raw[0] == 255
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        FieldTable.of({"é" * 128: None})


def test_a_value_without_a_type_is_refused():
    with pytest.raises(TypeError, match="no type for a value of Fraction"):
        FieldTable.of({"a": Fraction(1, 2)})


def test_a_structure_that_contains_itself_is_refused():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested deeper than 32 levels"):
        FieldTable.of({"a": endless})


def test_entries_can_be_put_in_the_order_of_their_names() -> None:
    table = FieldTable.of({"b": 1, "a": ["x"], "aa": None})
    assert table.in_order() == FieldTable.of({"a": ["x"], "aa": None, "b": 1})
    assert table.in_order().in_order() is not table
    ordered = table.in_order()
    assert ordered.in_order() is ordered


def test_the_octets_of_an_entry_are_its_type_and_value() -> None:
    assert FieldTable.of({"a": True, "b": "x"}).octets == {"a": b"t\x01", "b": b"S\0\0\0\x01x"}
