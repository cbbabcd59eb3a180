"""`amq.topic` in a dialect whose clients subscribe with selectors and noLocal (docs/jms.md): what these do not let pass
is not routed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from broker.codec.field_table import ByteArray, FieldTable, as_long_string
from broker.errors import InvalidSelector
from broker.selector.index import SelectorIndex
from broker.selector.selector import Selector
from broker.topology.binding import BY_MESSAGE, Binding, Destination
from broker.topology.dialect import SELECTOR
from broker.topology.routed_message import ANY_MESSAGE, RoutedMessage
from broker.topology.topic_trie import TopicTrie
from broker.turn_budget import TurnBudget


class CompileSelector(Protocol):
    """Makes a selector from its text, or raises `SelectorError`."""

    def __call__(self, text: str | bytes, /) -> Selector: ...


class TopicBySelectorRouter:
    """Bindings without a selector as those of every topic exchange; others in an index for each pattern.

    Only for keys that lead to one of these, or to who does not want what a connection publishes, the message decides.
    """

    __slots__ = ("_by_pattern", "_compile", "_indexes", "_trie", "_unwanted")
    is_dynamic = False
    uses_keys = True

    def __init__(self, compile_selector: CompileSelector, unwanted: Mapping[Destination, object]) -> None:
        """`unwanted` are the publishers that destinations get nothing from; routes are forgotten when it changes."""
        self._compile = compile_selector
        self._unwanted = unwanted
        self._trie: TopicTrie[Destination] = TopicTrie()
        self._indexes: TopicTrie[SelectorIndex[Binding]] = TopicTrie()
        self._by_pattern: dict[str, SelectorIndex[Binding]] = {}

    def check(self, binding: Binding) -> None:
        self._selector_of(binding)

    def add(self, binding: Binding) -> None:
        selector = self._selector_of(binding)
        if selector is None:
            self._trie.add(binding.routing_key, binding.destination)
            return
        index = self._by_pattern.get(binding.routing_key)
        if index is None:
            index = self._by_pattern[binding.routing_key] = SelectorIndex()
            self._indexes.add(binding.routing_key, index)
        index.add(selector, binding)

    def remove(self, binding: Binding) -> None:
        selector = self._selector_of(binding)
        if selector is None:
            self._trie.remove(binding.routing_key, binding.destination)
            return
        index = self._by_pattern[binding.routing_key]
        index.remove(selector, binding)
        if not index:
            del self._by_pattern[binding.routing_key]
            self._indexes.remove(binding.routing_key, index)

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        found = self._trie.match(routing_key, work)
        if self._by_pattern:
            found = self._with_selected(found, routing_key, message, work)
        return self._without_unwanted(found, message) if self._unwanted else found

    def _with_selected(
        self, found: Iterable[Destination | None], routing_key: str, message: RoutedMessage, work: TurnBudget
    ) -> Iterator[Destination | None]:
        yield from found
        for index in self._indexes.match(routing_key, work):
            if index is None:
                yield None
            elif message is ANY_MESSAGE:
                yield BY_MESSAGE
            else:
                for binding in index.match(message.view, work):
                    yield None if binding is None else binding.destination

    def _without_unwanted(
        self, found: Iterable[Destination | None], message: RoutedMessage
    ) -> Iterator[Destination | None]:
        for destination in found:
            publisher = None if destination is None else self._unwanted.get(destination)
            if publisher is None:
                yield destination
            elif message is ANY_MESSAGE:
                yield BY_MESSAGE
            else:
                yield None if publisher is message.publisher else destination

    def _selector_of(self, binding: Binding) -> Selector | None:
        """Return the selector of a binding; None when every message passes."""
        text = selector_text(binding.arguments)
        selector = self._compile(text) if text else None
        return None if selector is None or selector.is_trivial else selector


def selector_text(arguments: FieldTable) -> str | bytes:
    """Return the selector in the arguments of a binding or a consumer, empty when there is none. Raises
    `InvalidSelector`.
    """
    text = arguments.values.get(SELECTOR, "") if arguments else ""
    if isinstance(text, ByteArray):
        text = as_long_string(text)
    if not isinstance(text, str | bytes):
        raise InvalidSelector(f"argument '{SELECTOR}' is no string")
    return "" if text.isspace() else text
