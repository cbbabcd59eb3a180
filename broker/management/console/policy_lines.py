"""The definition of a policy as people write it: lines `key = value`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from broker.management.console.asking import AnswerRefused


def definition_of(text: str) -> dict[str, Any]:
    """Return the definition that lines say: numbers are numbers, and what is written as a list, an object or a truth
    value of JSON is one. Raises `AnswerRefused`.
    """
    definition: dict[str, Any] = {}
    for line in text.splitlines():
        if line.strip():
            name, equals, value = (part.strip() for part in line.partition("="))
            if not equals or not name:
                raise AnswerRefused(400, f"'{line.strip()}' is no line of a definition: write key = value.")
            definition[name] = _value(value)
    return definition


def lines_of(definition: Mapping[str, Any]) -> str:
    """Return the lines of a definition."""
    return "\n".join(
        f"{name} = {value if isinstance(value, str) else json.dumps(value)}" for name, value in definition.items()
    )


def _value(text: str) -> Any:
    if text.removeprefix("-").isdecimal() or text in ("true", "false") or text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
