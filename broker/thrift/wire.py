"""Splits a stream of octets into Thrift messages: binary protocol, unframed, as Andes speaks it (andes §3.1, §3.3).

An unframed message does not state its length, so the reader walks over its values to find the end. It trusts no length
that it reads: a message that is too long, nested too deeply or of an unknown type raises `MalformedMessage` before it
costs memory or time. The reader needs only the types on the wire, not the IDL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CALL: Final = 1
REPLY: Final = 2
EXCEPTION: Final = 3

MAX_MESSAGE_OCTETS: Final = 1 << 20
MAX_NAME_OCTETS: Final = 128
MAX_DEPTH: Final = 32

_VERSION: Final = 0x80010000
_STOP, _STRING, _STRUCT, _MAP, _SET, _LIST = 0, 11, 12, 13, 14, 15
# bool, byte, double, i16, i32, i64
_FIXED: Final = {2: 1, 3: 1, 4: 8, 6: 2, 8: 4, 10: 8}
_FIELDS: Final = -1


class MalformedMessage(Exception):
    """The octets received are not a valid message, or a message beyond the limits."""


@dataclass(frozen=True, slots=True)
class ThriftMessage:
    """One message; `body` is the encoded struct of arguments or of the result."""

    name: str
    kind: int
    sequence_id: int
    body: bytes


@dataclass(slots=True)
class _Elements:
    """The rest of a container: `left` values whose types alternate through `types` (a map has two)."""

    types: tuple[int, ...]
    left: int


class MessageReader:
    """Assembles messages from octets that arrive in pieces. It reads each octet once, however small the pieces are."""

    __slots__ = ("_body_start", "_buffer", "_header", "_open", "_position", "limit")

    def __init__(self, limit: int = MAX_MESSAGE_OCTETS) -> None:
        """`limit` is the maximum size of a message in octets."""
        self.limit = limit
        self._buffer = bytearray()
        self._header: tuple[str, int, int] | None = None
        self._open: list[int | _Elements] = []
        self._position = 0
        self._body_start = 0

    def feed(self, data: bytes) -> None:
        """Add received octets."""
        self._buffer += data

    @property
    def is_empty(self) -> bool:
        return not self._buffer

    def take(self) -> ThriftMessage | None:
        """Return the next message, or None while it is incomplete.

        Raises MalformedMessage, after which the reader cannot be used any more.
        """
        if self._header is None and not self._read_header():
            return None
        while self._open and self._step():
            if self._position > self.limit:
                raise MalformedMessage(f"a message of more than {self.limit} octets")
            if len(self._open) > MAX_DEPTH:
                raise MalformedMessage(f"more than {MAX_DEPTH} structs and containers in each other")
        if self._open or self._header is None or len(self._buffer) < self._position:
            return None
        message = ThriftMessage(*self._header, bytes(self._buffer[self._body_start : self._position]))
        del self._buffer[: self._position]
        self._header = None
        return message

    def _has(self, count: int) -> bool:
        return len(self._buffer) >= self._position + count

    def _number(self, offset: int) -> int:
        return int.from_bytes(self._buffer[offset : offset + 4], "big", signed=True)

    def _read_header(self) -> bool:
        """Read the header: version, name and sequence id, or name, type and sequence id in the older, non-strict form.

        Returns False while it is incomplete.
        """
        if len(self._buffer) < 4:
            return False
        first = self._number(0)
        is_strict = first < 0
        if is_strict and first & 0xFFFF0000 != _VERSION:
            raise MalformedMessage(f"not a Thrift message: it begins with {self._buffer[:4].hex()}")
        name_at = 8 if is_strict else 4
        if len(self._buffer) < name_at:
            return False
        length = self._number(name_at - 4)
        if not 0 < length <= MAX_NAME_OCTETS:
            raise MalformedMessage(f"a method name of {length} octets; 1 to {MAX_NAME_OCTETS} are allowed")
        end = name_at + length + (0 if is_strict else 1)
        if len(self._buffer) < end + 4:
            return False
        try:
            name = self._buffer[name_at : name_at + length].decode()
        except UnicodeDecodeError as error:
            raise MalformedMessage("a method name that is not UTF-8") from error
        kind = first & 0xFF if is_strict else self._buffer[end - 1]
        self._header = (name, kind, self._number(end))
        self._body_start = self._position = end + 4
        self._open.append(_FIELDS)
        return True

    def _step(self) -> bool:
        """Move past one field, value or container header; return False when more octets are needed first.

        Values of known size are skipped at once, so the position may lie beyond the octets received so far.
        """
        top = self._open[-1]
        if isinstance(top, _Elements):
            if top.left == 0:
                self._open.pop()
            else:
                self._open.append(top.types[top.left % len(top.types)])
                top.left -= 1
            return True
        if top == _FIELDS:
            return self._step_into_field()
        return self._step_over_value(top)

    def _step_into_field(self) -> bool:
        if not self._has(1):
            return False
        kind = self._buffer[self._position]
        if kind == _STOP:
            self._position += 1
            self._open.pop()
            return True
        if not self._has(3):
            return False
        self._position += 3
        self._open.append(kind)
        return True

    def _step_over_value(self, kind: int) -> bool:
        if kind in _FIXED:
            self._position += _FIXED[kind]
            self._open.pop()
        elif kind == _STRUCT:
            self._open[-1] = _FIELDS
        elif kind == _STRING:
            if not self._has(4):
                return False
            self._position += 4 + self._count(self._position)
            self._open.pop()
        elif kind in (_LIST, _SET, _MAP):
            return self._step_into_container(2 if kind == _MAP else 1)
        else:
            raise MalformedMessage(f"a value of the unknown type {kind}")
        return True

    def _step_into_container(self, types: int) -> bool:
        if not self._has(types + 4):
            return False
        # `left` counts down, and `left % 2` selects the type: in a map it starts even, so each key precedes its value.
        kinds = tuple(self._buffer[self._position : self._position + types])
        count = self._count(self._position + types)
        self._position += types + 4
        self._open[-1] = _Elements(kinds, count * types)
        if types == 1 and kinds[0] in _FIXED:
            self._position += count * _FIXED[kinds[0]]
            self._open.pop()
        return True

    def _count(self, offset: int) -> int:
        count = self._number(offset)
        if not 0 <= count <= self.limit:
            raise MalformedMessage(f"a length of {count}; at most {self.limit} is allowed")
        return count
