"""The type `fanout`: every binding matches, whatever the key (contract E2)."""

from __future__ import annotations

from collections.abc import Iterable

from broker.topology.binding import Binding, Destination, Headers, accept_any


class FanoutRouter:
    """All bindings."""

    __slots__ = ("_bindings",)
    uses_headers = False
    check = staticmethod(accept_any)

    def __init__(self) -> None:
        self._bindings: dict[Binding, Destination] = {}

    def add(self, binding: Binding) -> None:
        self._bindings[binding] = binding.destination

    def remove(self, binding: Binding) -> None:
        del self._bindings[binding]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        return dict.fromkeys(self._bindings.values())
