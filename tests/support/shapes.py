"""The shapes of RabbitMQ's answers as they were recorded: their keys, and the JSON type of each value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORDED: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "recorded/shapes.json").read_text())
"""By kind of object, and path of keys in it, the type of the value."""


def kind_of(value: object) -> str:
    """Return the JSON type of a value; numbers are told apart as strict readers do."""
    if value is None:
        return "null"
    return {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict"}[type(value)]


def differences(kind: str, answer: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return by path what was recorded and is not so in `answer`: what is there instead. What may be null, may be."""
    found = {}
    for path, recorded in RECORDED[kind].items():
        value: Any = answer
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                value = ...
                break
            value = value[key]
        actual = "missing" if value is ... else kind_of(value)
        if actual != recorded and "null" not in (actual, recorded):
            found[path] = (recorded, actual)
    return found
