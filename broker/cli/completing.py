"""Completes names of what a node has: a key press must not wait for a node that is away.

Whatever goes wrong, there are no names, and the shell goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_TIMEOUT: Final = 0.5
"""Seconds to wait for the node."""
_MOST: Final = "100"

_PLACES: Final[Mapping[str, tuple[str, bool, str]]] = {
    "queues": ("/queues", True, "name"),
    "exchanges": ("/exchanges", True, "name"),
    "policies": ("/policies", True, "name"),
    "operator-policies": ("/operator-policies", True, "name"),
    "users": ("/users", False, "name"),
    "vhosts": ("/vhosts", False, "name"),
    "connections": ("/connections", False, "name"),
    "nodes": ("/nodes", False, "name"),
}
"""Where names are, whether that is in a virtual host, and what they are called there."""

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def names_of(kind: str) -> Completer:
    """Return what completes names of this kind."""
    path, is_of_vhost, field = _PLACES[kind]

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        session = ctx.find_object(CommandSession)
        if session is None:
            return []
        session.wanted.timeout = _TIMEOUT
        where = f"{path}/{escaped(session.vhost)}" if is_of_vhost else path
        query = {"columns": field, "name": incomplete, "page": "1", "page_size": _MOST}
        try:
            status, value = session.ask("GET", where, query=query)
        except Exception:  # the shell shows nothing of it
            return []
        return [CompletionItem(name) for name in _names(status, value, field) if name.startswith(incomplete)]

    return complete


def _names(status: int, value: Any, field: str) -> list[str]:
    if status != 200:
        return []
    rows = value["items"] if isinstance(value, dict) else value
    return sorted(str(row[field]) for row in rows if row.get(field))
