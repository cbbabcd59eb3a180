"""Selectors of JMS, compiled once: conditions over the headers and properties of messages.

Knows no queue, no consumer and no binding. `docs/selectors.md` describes the language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.cache_budget import Cache, CacheBudget
from broker.selector.compiler import Values, fold, test_of
from broker.selector.like import scans_of
from broker.selector.message_view import MessageView, text_of
from broker.selector.parser import parse
from broker.selector.syntax import And, Compare, Identifier, In, Like, Literal, Node, Value, measure
from broker.selector.tokens import SelectorError

_OVERHEAD: Final = 1000
_NODE: Final = 500
"""Approximate octets of memory that a node costs, in the functions that it became."""
_LISTED: Final = 160
"""Approximate octets of memory that a string in a list of IN costs."""
_NODES_A_STEP: Final = 8
"""Nodes that are looked at in about a microsecond, which is a step of a turn."""
_OCTETS_A_STEP: Final = 512
"""Octets of a header that LIKE looks through in a step, at worst."""
_SCAN: Final = 50
"""How much longer that takes where it looks at each character (`like.MAX_SCANS`)."""


class Selector:
    """One selector. Those of the same text are equal.

    `text` is as it was given. `is_trivial` when every message passes: the text is blank or always true.
    `equals` are names that must have a given value for a message to pass, for an index; None when there is no such
    name. `octets` is how much memory the selector takes, about.
    """

    __slots__ = ("_hash", "_likes", "_steps", "_test", "equals", "is_trivial", "octets", "text")

    def __init__(self, text: str | bytes = "") -> None:
        """Compile `text`, which may be the octets of a string that is no UTF-8. Raises `SelectorError`."""
        self.text: Final = _readable(text)
        self._hash: Final = hash(self.text)
        root: Node = Literal(True)
        nodes = 1
        if self.text and not self.text.isspace():
            parsed = parse(self.text)
            nodes, _ = measure(parsed)
            root = fold(parsed)
        self._test: Final = test_of(root)
        self.equals: Final[Mapping[str, bool | int | float | str] | None] = _equals(root) or None
        self.is_trivial: Final = isinstance(root, Literal) and root.value is True
        self._steps: Final = 1 + measure(root)[0] // _NODES_A_STEP
        self._likes, strings = _weigh(root)
        self.octets: Final = _OVERHEAD + 4 * len(self.text) + _NODE * nodes + _LISTED * strings

    def matches(self, values: Values) -> bool:
        """Does a message with these values pass? Never raises."""
        return self._test(values)

    def steps_for(self, view: MessageView) -> int:
        """Return how many steps of a turn (`TurnBudget`) it takes at most to look at a message."""
        return self._steps + self._likes * view.size // _OCTETS_A_STEP if self._likes else self._steps

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Selector) else NotImplemented

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Selector({self.text!r})"


class CompiledSelectors:
    """Selectors by their text, as far as there is room: equal ones are compiled once and share their memory."""

    __slots__ = ("_cache",)

    def __init__(self, caches: CacheBudget) -> None:
        self._cache: Cache[Selector] = caches.new_cache()

    def get(self, text: str | bytes) -> Selector:
        """Return the selector with this text. Raises `SelectorError`."""
        key = _readable(text).encode()
        selector = self._cache.get(key)
        if selector is None:
            selector = Selector(text)
            self._cache.remember(key, selector, selector.octets + len(key))
        return selector


def _readable(text: str | bytes) -> str:
    """Return a text without lone surrogates, which stand for octets that are no UTF-8 (PEP 383)."""
    if isinstance(text, bytes):
        return text_of(text)
    try:
        return text_of(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise SelectorError("half a character", error.start + 1) from None


def _weigh(root: Node) -> tuple[int, int]:
    """Return how many times the octets of a header are looked through at most, and how many strings are in lists."""
    likes, strings = 0, 0
    nodes = [root]
    while nodes:
        node = nodes.pop()
        nodes += node.parts
        if isinstance(node, Like):
            likes += 1 + _SCAN * scans_of(node.pattern, node.escape)
        elif isinstance(node, In):
            strings += len(node.strings)
    return likes, strings


def _equals(root: Node) -> dict[str, Any]:
    found: dict[str, Value] = {}
    for term in root.terms if isinstance(root, And) else (root,):
        match term:
            case Compare("=", Identifier(name), Literal(value)) | Compare("=", Literal(value), Identifier(name)):
                if value is not None:
                    found[name] = value
            case Identifier(name):
                found[name] = True
    return found
