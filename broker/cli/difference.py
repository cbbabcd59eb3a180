"""What an import of definitions would change, line by line as `diff -u` shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from typing import Any, Final

Definitions = Mapping[str, Any]

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "vhosts": ("name",),
    "users": ("name",),
    "permissions": ("user", "vhost"),
    "topic_permissions": ("user", "vhost", "exchange"),
    "parameters": ("vhost", "component", "name"),
    "global_parameters": ("name",),
    "policies": ("vhost", "name"),
    "operator_policies": ("vhost", "name"),
    "queues": ("vhost", "name"),
    "exchanges": ("vhost", "name"),
    "bindings": ("vhost", "source", "destination", "destination_type", "routing_key", "arguments"),
}
"""What tells one thing of a section from another."""
SECTIONS: Final = tuple(_KEYS)


def difference(there: Definitions, given: Definitions) -> Iterator[str]:
    """Return the lines of a unified diff of what is there and what would be. An import deletes nothing, so what is not
    given stays; hashes of passwords are not shown.
    """
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for section, keys in _KEYS.items():
        rows = {_key(row, keys): row for row in _rows(there, section)}
        new = {key: {**rows.get(key, {}), **row} for row in _rows(given, section) for key in (_key(row, keys),)}
        before[section] = [_shown(row) for row in rows.values()]
        after[section] = [_shown({**row, **new.pop(key, {})}, row) for key, row in rows.items()]
        after[section] += [_shown(row) for row in new.values()]
    lines = (_lines(before), _lines(after))
    return unified_diff(*lines, "there", "would be", n=6, lineterm="")


def _rows(definitions: Definitions, section: str) -> Sequence[Mapping[str, Any]]:
    found = definitions.get(section, ())
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else ()


def _key(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    return json.dumps([row.get(key) for key in keys], sort_keys=True)


def _shown(row: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a thing without secrets, and with tags in the one form that they are exported in."""
    shown = dict(row)
    if isinstance(shown.get("tags"), str):
        shown["tags"] = [tag for tag in shown["tags"].split(",") if tag]
    if "password_hash" in shown:
        is_other = before is not None and before.get("password_hash") != shown["password_hash"]
        shown["password_hash"] = "(another hash)" if is_other else "(a hash)"
    if "password" in shown:
        shown["password"] = "(a password)"
    return shown


def _lines(value: object) -> list[str]:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).splitlines()
