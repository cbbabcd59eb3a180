"""The exchange type x-prefix: the longest binding key that a routing key begins with decides.

See docs/exchange-types.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Destination = tuple[str, str]


class PrefixExchange:
    """The destinations by their binding keys."""

    routes_by_key_alone = True

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """The argument `separator` has prefixes end there, or at the end of the key."""
        self._separator = arguments.get("separator", "")
        if not isinstance(self._separator, str):
            raise ValueError("separator must be a string")
        self._bound: dict[str, list[Destination]] = {}

    def bind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> None:
        self._bound.setdefault(routing_key, []).append(destination)

    def unbind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> None:
        self._bound[routing_key].remove(destination)
        if not self._bound[routing_key]:
            del self._bound[routing_key]

    def route(self, routing_key: str, headers: Mapping[str, Any], properties: object) -> Sequence[Destination]:
        for size in range(len(routing_key), -1, -1):
            if routing_key[:size] in self._bound and self._ends(routing_key, size):
                return self._bound[routing_key[:size]]
        return ()

    def _ends(self, routing_key: str, size: int) -> bool:
        return size in (0, len(routing_key)) or routing_key.startswith(self._separator, size)
