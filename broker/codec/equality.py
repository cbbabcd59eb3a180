"""When two values in field tables are the same, as RabbitMQ compares them.

RabbitMQ compares decoded values with Erlang's `==`: numbers of all types by value, and a timestamp is a number; long
strings and byte arrays by their octets; a boolean equals no number. A decimal is a pair of two numbers there, and what
is inside of an array or table carries its type along.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from decimal import Decimal
from typing import Any, Final

from broker.codec.field_table import ByteArray, FieldTable, Timestamp

_NOT_A_NUMBER: Final = ("nan",)
_VOID: Final = ("void",)
_CLASSES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("byte", "unsignedbyte", "short", "unsignedshort", "signedint", "unsignedint", "long", "decimal"), "integer"
    ),
    **dict.fromkeys(("float", "double"), "float"),
}
"""Types of which RabbitMQ takes one for another in the arguments of a declaration."""


def comparable(table: FieldTable) -> dict[str, Hashable]:
    """Return for each entry of `table` what equals that of another table's entry if RabbitMQ takes them for equal."""
    values = table.values
    octets = table.octets if any(isinstance(value, (list, dict)) for value in values.values()) else {}
    return {name: _comparable(value, octets.get(name, b"")) for name, value in values.items()}


def declared(table: FieldTable, name: str) -> Hashable:
    """Return the argument `name` of a declaration, None if it is not there. Two are equal if RabbitMQ takes the
    declarations for equivalent: here 10 and 10.0 differ, integers of any width do not.
    """
    if name not in table.values:
        return None
    kind = table.types[name]
    return _CLASSES.get(kind, kind), _comparable(table.values[name], table.octets[name])


def _comparable(value: Any, octets: bytes) -> Hashable:
    """Return what stands for a value; `octets` are its type and value as they came, needed for arrays and tables."""
    match value:
        case None:
            return _VOID
        case bool():
            return bool, value
        case int() | str():
            return value
        case float():
            return value if value == value else _NOT_A_NUMBER
        case Timestamp():
            return value.seconds
        case ByteArray():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return bytes(value)
        case Decimal():
            return value.as_tuple()
        case list() | dict():
            return list, octets
    found: Hashable = value
    return found
