"""Finds where a thing stands that a message names, and names that are like one that is not there."""

from __future__ import annotations

import re
from typing import Final

from broker.cli.failure import CommandFailure
from broker.cli.ways import NodeWay, escaped, value_of

_NAMED: Final = re.compile(
    r"(queue|stream|exchange|user|virtual host|connection) '(.*?)'(?: in (?:vhost|virtual host) '.*')?"
)
_PLACES: Final = {
    "queue": "/queues/{vhost}",
    "stream": "/queues/{vhost}",
    "exchange": "/exchanges/{vhost}",
    "user": "/users",
    "virtual host": "/vhosts",
    "connection": "/connections",
}
_MOST: Final = 500
"""Names that are looked at: the most that a page of the API has."""
_TOLD: Final = 3


def place_of(vhost: str, what: str) -> str:
    """Return where the thing stands that `what` tells; empty if that is not known."""
    found = _NAMED.fullmatch(what)
    return f"{_list_of(vhost, found[1])}/{escaped(found[2])}" if found else ""


def _list_of(vhost: str, kind: str) -> str:
    return _PLACES[kind].format(vhost=escaped(vhost))


def names_alike(way: NodeWay, vhost: str, what: str) -> list[str]:
    """Return names of that kind that are like the missing one, as `what` tells it; none if they cannot be had."""
    found = _NAMED.fullmatch(what)
    if found is None:
        return []
    path = _list_of(vhost, found[1])
    try:
        status, body = way.request("GET", path, {"columns": "name", "page": "1", "page_size": str(_MOST)}, "", {})
        value = value_of(body)
    except CommandFailure:
        return []  # the name is missing anyhow
    if status != 200:
        return []
    from difflib import get_close_matches

    rows = value["items"] if isinstance(value, dict) else value
    return get_close_matches(found[2], [str(row["name"]) for row in rows], _TOLD)
