"""Field tables: the typed key-value lists that travel as arguments, headers and peer properties (0-9-1 §4.2.5.5).

Type tags have the meaning that RabbitMQ gives them (contract C23); a table's size, depth and number of entries are
bounded. A table keeps the bytes received, so an unchanged table is sent byte for byte; its values are decoded on first
use.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self

from broker.errors import SyntaxFault

MAX_DEPTH: Final = 32
MAX_ENTRIES: Final = 1024
MAX_DECIMAL_SCALE: Final = 255

# RabbitMQ's names of the types, which clients see in the text of PRECONDITION_FAILED.
TYPE_NAMES: Final[Mapping[int, str]] = {
    ord("t"): "bool",
    ord("b"): "byte",
    ord("B"): "unsignedbyte",
    ord("s"): "short",
    ord("u"): "unsignedshort",
    ord("I"): "signedint",
    ord("i"): "unsignedint",
    ord("l"): "long",
    ord("L"): "long",
    ord("f"): "float",
    ord("d"): "double",
    ord("D"): "decimal",
    ord("S"): "longstr",
    ord("A"): "array",
    ord("T"): "timestamp",
    ord("F"): "table",
    ord("V"): "void",
    ord("x"): "binary",
}


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A value of type `T`: seconds since 1970 in UTC."""

    seconds: int


class ByteArray(bytes):
    """A value of type `x`. Plain `bytes` are written as a long string, type `S`."""

    __slots__ = ()


class Int64(int):
    """A value of type `l`. A plain `int` is written as `I` when it fits; some clients insist on 64 bits (`x-death`)."""

    __slots__ = ()


class FieldTable:
    """One field table.

    Tables are equal when their bytes are: another order of entries or width of a number makes another table. `raw` is
    the content without its four-byte length. Octets of a name that are no UTF-8 are lone surrogates in the decoded name
    (PEP 383), and themselves again when it is encoded.
    """

    __slots__ = ("_decoded", "raw")

    def __init__(self, raw: bytes = b"") -> None:
        self.raw = raw
        self._decoded: tuple[dict[str, Any], dict[str, str]] | None = None

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Self:
        """Encode `mapping`. Raises ValueError when a value does not fit its type, TypeError when it has none."""
        return cls(_write_entries(mapping, 1))

    @classmethod
    def unreadable(cls, raw: bytes) -> Self:
        """Return a table without entries that keeps `raw`, which is malformed: what was recorded is not changed."""
        table = cls(raw)
        table._decoded = {}, {}
        return table

    @property
    def values(self) -> dict[str, Any]:
        """The decoded entries, not to be changed; the last one of a repeated key. Raises SyntaxFault when malformed."""
        return (self._decoded or self._decode())[0]

    @property
    def types(self) -> dict[str, str]:
        """RabbitMQ's name for the type of each top-level entry."""
        return (self._decoded or self._decode())[1]

    @property
    def octets(self) -> dict[str, bytes]:
        """The octets of each top-level entry's type and value."""
        return {name_of(entry): entry[entry[0] + 1 :] for entry in self.validate().entries}

    @property
    def entries(self) -> list[bytes]:
        """The octets of each top-level entry: name, type and value. Raises SyntaxFault when they do not end with the
        table; what is nested in them is not looked at.
        """
        return _split_entries(self.raw)

    def validate(self) -> Self:
        """Return this table, or raise SyntaxFault when it is malformed or beyond the limits."""
        if self._decoded is None:
            self._decode()
        return self

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def in_order(self) -> FieldTable:
        """Return the table with its top-level entries in the order of their names."""
        entries = self.validate().entries
        ordered = sorted(entries, key=lambda entry: entry[1 : entry[0] + 1])
        return self if ordered == entries else FieldTable(b"".join(ordered))

    def without(self, name: str) -> FieldTable:
        """Return a table without `name`; every other entry keeps its bytes."""
        wanted = _write_name(name)
        entries = self.validate().entries
        return FieldTable(b"".join(entry for entry in entries if not entry.startswith(wanted)))

    def _decode(self) -> tuple[dict[str, Any], dict[str, str]]:
        self._decoded = _read_table(self.raw)
        return self._decoded

    def __bool__(self) -> bool:
        return bool(self.raw)

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, FieldTable) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"FieldTable({self.raw!r})"


EMPTY_TABLE: Final = FieldTable()


def name_of(entry: bytes) -> str:
    """Return the name of an entry."""
    return str(entry[1 : entry[0] + 1], *_NAMES)


# Reading. A reader takes the bytes and the offset of a value and returns the value and the offset after it. It does not
# check whether the value ends inside its table: the loop does that for all types, and a slice past the end is harmless.

_Reader = Callable[[bytes, int], tuple[Any, int]]
_TABLE: Final = ord("F")
_ARRAY: Final = ord("A")
_NAMES: Final = ("utf-8", "surrogateescape")
_read_size = struct.Struct(">I").unpack_from


def _fixed(code: str, kind: Callable[[Any], Any] | None = None) -> _Reader:
    unpack, size = struct.Struct(">" + code).unpack_from, struct.calcsize(">" + code)
    if kind is None:
        return lambda raw, offset: (unpack(raw, offset)[0], offset + size)
    return lambda raw, offset: (kind(unpack(raw, offset)[0]), offset + size)


def _read_octets(raw: bytes, offset: int) -> tuple[bytes, int]:
    end = offset + 4 + _read_size(raw, offset)[0]
    return raw[offset + 4 : end], end


def _read_long_string(raw: bytes, offset: int) -> tuple[str | bytes, int]:
    octets, end = _read_octets(raw, offset)
    return as_long_string(octets), end


def as_long_string(octets: bytes) -> str | bytes:
    """Return the value of a long string: its octets if they are no UTF-8."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return bytes(octets)


def _read_byte_array(raw: bytes, offset: int) -> tuple[ByteArray, int]:
    octets, end = _read_octets(raw, offset)
    return ByteArray(octets), end


# Signed, as the text of 0-9-1 §4.2.5.5 says and clients write it; the grammar there says unsigned.
_unpack_decimal = struct.Struct(">Bi").unpack_from


def _read_decimal(raw: bytes, offset: int) -> tuple[Decimal, int]:
    scale, unscaled = _unpack_decimal(raw, offset)
    return Decimal(unscaled).scaleb(-scale), offset + 5


def _read_void(raw: bytes, offset: int) -> tuple[None, int]:
    return None, offset


_READERS: Final[dict[int, _Reader]] = {
    ord("t"): _fixed("B", bool),
    ord("b"): _fixed("b"),
    ord("B"): _fixed("B"),
    ord("s"): _fixed("h"),
    ord("u"): _fixed("H"),
    ord("I"): _fixed("i"),
    ord("i"): _fixed("I"),
    ord("l"): _fixed("q", Int64),
    ord("L"): _fixed("q", Int64),
    ord("f"): _fixed("f"),
    ord("d"): _fixed("d"),
    ord("D"): _read_decimal,
    ord("S"): _read_long_string,
    ord("T"): _fixed("Q", Timestamp),
    ord("V"): _read_void,
    ord("x"): _read_byte_array,
}


def _read_table(raw: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        return _read_nested(raw)
    except (IndexError, struct.error):
        raise SyntaxFault("field table: ends inside an entry") from None


def _read_nested(raw: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Decode without recursion: the peer chooses how deep tables are nested, and recursion could exhaust the stack."""
    values: dict[str, Any] = {}
    types: dict[str, str] = {}
    outer: list[tuple[dict[str, Any] | list[Any], int, int]] = []
    container: dict[str, Any] | list[Any] = values
    offset, end, count = 0, len(raw), 0
    while offset < end or outer:
        if offset >= end:
            _check_end(offset, end)
            container, end, count = outer.pop()
            continue
        count += 1
        if count > MAX_ENTRIES:
            raise SyntaxFault(f"field table: more than {MAX_ENTRIES} entries in one table or array")
        name = ""
        if isinstance(container, dict):
            start = offset + 1
            offset = start + raw[offset]
            name = str(raw[start:offset], "utf-8", "surrogateescape")
        tag = raw[offset]
        if container is values:
            types[name] = TYPE_NAMES.get(tag, "")
        if read := _READERS.get(tag):
            value, offset = read(raw, offset + 1)
        elif tag in (_TABLE, _ARRAY):
            value = {} if tag == _TABLE else []
        else:
            raise SyntaxFault(f"field table: unknown type tag {chr(tag)!r} of entry {name!r}")
        if isinstance(container, dict):
            container[name] = value
        else:
            container.append(value)
        if read is None:
            if len(outer) == MAX_DEPTH - 1:
                raise SyntaxFault(f"field table: nested deeper than {MAX_DEPTH} levels")
            outer.append((container, end, count))
            container, count = value, 0
            offset, end = offset + 5, offset + 5 + _read_size(raw, offset + 1)[0]
    _check_end(offset, end)
    return values, types


def _check_end(offset: int, end: int) -> None:
    if offset > end:
        raise SyntaxFault("field table: an entry runs past the end of its table or array")


def _split_entries(raw: bytes) -> list[bytes]:
    entries = []
    start, size = 0, len(raw)
    try:
        while start < size:
            offset = start + 1 + raw[start]
            tag = raw[offset]
            read = _READERS.get(tag) or (_read_octets if tag in (_TABLE, _ARRAY) else None)
            if read is None:
                raise SyntaxFault(f"field table: unknown type tag {chr(tag)!r}")
            end = read(raw, offset + 1)[1]
            entries.append(raw[start:end])
            start = end
    except (IndexError, struct.error):
        start = size + 1
    _check_end(start, size)
    return entries


# Writing. A writer returns the octets of the type tag and the value; it raises for a value that does not fit.


def _write_name(name: str) -> bytes:
    encoded = name.encode(*_NAMES)
    if len(encoded) > 255:
        raise ValueError(f"field table: the name {name[:32]!r}... is longer than 255 bytes")
    return bytes((len(encoded),)) + encoded


def _write_entries(mapping: Mapping[str, Any], depth: int) -> bytes:
    _check_limits(mapping, depth)
    return b"".join([_write_name(name) + _write_value(value, depth) for name, value in mapping.items()])


def _write_value(value: Any, depth: int) -> bytes:
    for kind in type(value).__mro__:
        if write := _WRITERS.get(kind):
            try:
                return write(value, depth)
            except struct.error:
                raise ValueError(f"field table: {value!r} does not fit its type") from None
    raise TypeError(f"field table: no type for a value of {type(value).__name__}")


def _check_limits(container: Mapping[str, Any] | list[Any] | tuple[Any, ...], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"field table: nested deeper than {MAX_DEPTH} levels")
    if len(container) > MAX_ENTRIES:
        raise ValueError(f"field table: more than {MAX_ENTRIES} entries in one table or array")


def _packed(code: str) -> Callable[[Any, int], bytes]:
    pack, tag = struct.Struct(">c" + code).pack, {"?": b"t", "q": b"l", "d": b"d"}[code]
    return lambda value, depth: pack(tag, value)


def sized(tag: bytes, octets: bytes) -> bytes:
    """Return the octets of a value whose type has this tag and whose length stands before it."""
    return tag + struct.pack(">I", len(octets)) + octets


def _write_int(value: int, depth: int) -> bytes:
    return struct.pack(">ci", b"I", value) if -(1 << 31) <= value < 1 << 31 else struct.pack(">cq", b"l", value)


def _write_decimal(value: Decimal, depth: int) -> bytes:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or not -MAX_DECIMAL_SCALE <= exponent <= 10:
        raise ValueError(f"field table: {value!r} is not finite or beyond a scale of {MAX_DECIMAL_SCALE}")
    scale = max(-exponent, 0)
    return struct.pack(">cBi", b"D", scale, int(value.scaleb(scale)))


def _write_datetime(value: datetime, depth: int) -> bytes:
    if value.tzinfo is None:
        raise ValueError(f"field table: {value!r} names no time zone")
    return struct.pack(">cQ", b"T", int(value.timestamp()))


def _write_array(values: list[Any] | tuple[Any, ...], depth: int) -> bytes:
    _check_limits(values, depth + 1)
    return sized(b"A", b"".join([_write_value(value, depth + 1) for value in values]))


_WRITERS: Final[dict[type, Callable[[Any, int], bytes]]] = {
    bool: _packed("?"),
    Int64: _packed("q"),
    int: _write_int,
    float: _packed("d"),
    str: lambda value, depth: sized(b"S", value.encode()),
    ByteArray: lambda value, depth: sized(b"x", value),
    bytes: lambda value, depth: sized(b"S", value),
    Decimal: _write_decimal,
    Timestamp: lambda value, depth: struct.pack(">cQ", b"T", value.seconds),
    datetime: _write_datetime,
    FieldTable: lambda value, depth: sized(b"F", value.raw),
    dict: lambda value, depth: sized(b"F", _write_entries(value, depth + 1)),
    list: _write_array,
    tuple: _write_array,
    type(None): lambda value, depth: b"V",
}
