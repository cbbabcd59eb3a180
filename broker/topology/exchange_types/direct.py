"""The type `direct`: a binding matches when its key equals the message's key (contract E1)."""

from __future__ import annotations

from collections.abc import Iterable

from broker.topology.binding import Binding, Destination, Headers, accept_any


class DirectRouter:
    """The bindings by their keys."""

    __slots__ = ("_keys",)
    uses_headers = False
    check = staticmethod(accept_any)

    def __init__(self) -> None:
        self._keys: dict[str, dict[Binding, Destination]] = {}

    def add(self, binding: Binding) -> None:
        self._keys.setdefault(binding.routing_key, {})[binding] = binding.destination

    def remove(self, binding: Binding) -> None:
        bindings = self._keys[binding.routing_key]
        del bindings[binding]
        if not bindings:
            del self._keys[binding.routing_key]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        bindings = self._keys.get(routing_key)
        return dict.fromkeys(bindings.values()) if bindings else ()
