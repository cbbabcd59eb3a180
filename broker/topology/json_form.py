"""Arguments as JSON has them, in definitions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from broker.codec.field_table import FieldTable, Timestamp


def plain(arguments: FieldTable) -> dict[str, Any]:
    """Return arguments as JSON has them; octets that are no text become text as far as they can."""
    return {name: _as_json(value) for name, value in arguments.values.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {str(name): _as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if isinstance(value, Timestamp):
        return value.seconds
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
