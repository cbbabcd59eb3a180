"""The type `topic`: the binding's key is a pattern of words (contract E3)."""

from __future__ import annotations

from collections.abc import Iterable

from broker.topology.binding import Binding, Destination, accept_any
from broker.topology.routed_message import RoutedMessage
from broker.topology.topic_trie import TopicTrie
from broker.turn_budget import TurnBudget


class TopicRouter:
    """The bindings in a trie of their patterns' words."""

    __slots__ = ("_trie",)
    is_dynamic = False
    uses_keys = True
    check = staticmethod(accept_any)

    def __init__(self) -> None:
        self._trie: TopicTrie[Destination] = TopicTrie()

    def add(self, binding: Binding) -> None:
        self._trie.add(binding.routing_key, binding.destination)

    def remove(self, binding: Binding) -> None:
        self._trie.remove(binding.routing_key, binding.destination)

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        return self._trie.match(routing_key, work)
