"""Reads the values of a request's body as RabbitMQ does: some programs send numbers and truth as texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.management.http.call import BadRequest
from broker.management.http.values import MOST


def required(given: Mapping[str, Any], name: str) -> Any:
    """Return a value that must be there. Raises `BadRequest`."""
    if name not in given:
        raise BadRequest(f"[{{key_missing,{name}}}]")
    return given[name]


def boolean(value: Any) -> bool:
    """Return a truth value, which may be a text. Raises `BadRequest`."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise BadRequest(["not_boolean", value])


def flag(given: Mapping[str, Any], name: str) -> bool:
    """Return a truth value, false when it is missing. Raises `BadRequest`."""
    value = given.get(name)
    return value is not None and boolean(value)


def whole_number(value: Any, name: str) -> int:
    """Return a whole number, which may be a text. Raises `BadRequest`."""
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest(["not_integer", value if isinstance(value, str | int | float) else name])
    if abs(value) > MOST:
        raise BadRequest(f"'{name}' is beyond {MOST}")
    return value


def json_object(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a value that is an object, an empty one when it is missing. Raises `BadRequest`."""
    value = given.get(name)
    if value in (None, "", [], {}):
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"'{name}' is a JSON object")
    return value
