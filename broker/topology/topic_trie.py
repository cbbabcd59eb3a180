"""Which topic patterns match a routing key.

A walk down the trie, word by word, answers everyday keys in microseconds. Patterns full of `#` can keep thousands of
nodes in play at every word; a walk that grows too long is abandoned and bit-parallel automata answer instead, each for
a block of the patterns (invariant I87). One is made when a key first needs it after patterns of its block have changed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Final, Generic, TypeVar

from broker.turn_budget import TurnBudget

Value = TypeVar("Value", bound=Hashable)

# Nodes a walk may visit, about 0.1 ms of work, before the automaton takes over.
_WALK_LIMIT: Final = 1_000
_NODES_A_STEP: Final = 8
# States of one automaton: making it takes milliseconds, and many of them can be asked in turns of their own.
_BLOCK_SIZE: Final = 1 << 14
# Masks an automaton keeps, each of up to `_BLOCK_SIZE` bits.
_MASKS_LIMIT: Final = 32
_STATES_A_STEP: Final = 8192


class TrieNode(Generic[Value]):
    """A place in the trie. `counts` holds how often each value was added under the pattern that ends here."""

    __slots__ = ("any_word", "any_words", "counts", "words")

    def __init__(self) -> None:
        self.words: dict[str, TrieNode[Value]] = {}
        self.any_word: TrieNode[Value] | None = None
        self.any_words: TrieNode[Value] | None = None
        self.counts: dict[Value, int] = {}

    @property
    def is_empty(self) -> bool:
        return not (self.counts or self.words or self.any_word or self.any_words)

    def follow(self, word: str) -> TrieNode[Value]:
        """Return the node after `word` of a pattern, and create it if there is none."""
        if word == "*":
            self.any_word = node = self.any_word or TrieNode()
        elif word == "#":
            self.any_words = node = self.any_words or TrieNode()
        else:
            node = self.words.get(word) or self.words.setdefault(word, TrieNode())
        return node

    def detach(self, word: str) -> None:
        if word == "*":
            self.any_word = None
        elif word == "#":
            self.any_words = None
        else:
            del self.words[word]


class TopicTrie(Generic[Value]):
    """Values under topic patterns: `*` is exactly one word, `#` zero or more (contract E3).

    Words stand between dots and may be empty; the empty key has no word at all. A value added n times under a pattern,
    or under patterns that differ in repeated `#` only, is gone after as many removals.
    """

    __slots__ = ("_block_of", "_blocks", "root")

    def __init__(self) -> None:
        self.root: TrieNode[Value] = TrieNode()
        self._blocks: list[_Block[Value]] = []
        self._block_of: dict[tuple[str, ...], _Block[Value]] = {}

    def add(self, pattern: str, value: Value) -> None:
        words = _pattern_words(pattern)
        block = self._block_of.get(words)
        if block is None:
            node = self.root
            for word in words:
                node = node.follow(word)
            if not (self._blocks and self._blocks[-1].has_room(words)):
                self._blocks.append(_Block())
            block = self._block_of[words] = self._blocks[-1]
            block.add(words, node.counts)
        counts = block.patterns[words]
        counts[value] = counts.get(value, 0) + 1

    def remove(self, pattern: str, value: Value) -> bool:
        """Undo one `add` of the same arguments; return False when there is none left."""
        words = _pattern_words(pattern)
        block = self._block_of.get(words)
        if block is None or value not in block.patterns[words]:
            return False
        counts = block.patterns[words]
        counts[value] -= 1
        if not counts[value]:
            del counts[value]
        if not counts:
            del self._block_of[words]
            block.remove(words)
            if not block.patterns:
                self._blocks.remove(block)
            elif block.is_sparse and block is not self._blocks[-1]:
                self._blocks.remove(block)  # the next patterns fill it up
                self._blocks.append(block)
            self._prune(words)
        return True

    def match(self, routing_key: str, work: TurnBudget) -> Iterable[Value | None]:
        """Return the values whose patterns match, in an order that depends on the calls so far only; a value comes as
        often as it has patterns that match. None comes where the caller may go on in a later turn.
        """
        words = routing_key.split(".") if routing_key else []
        matched = self._walk(words, work)
        if matched is None:
            return self._ask_blocks(words, work)
        return [value for counts in matched for value in counts]

    def _ask_blocks(self, words: list[str], work: TurnBudget) -> Iterator[Value | None]:
        for block in tuple(self._blocks):
            yield None
            for counts in block.match(words, work):
                yield from tuple(counts)

    def _walk(self, words: list[str], work: TurnBudget) -> list[dict[Value, int]] | None:
        """Follow all paths at once; None when that becomes too much work.

        `reached` are the nodes that exactly the words so far lead to: each has one parent, so none comes twice. A node
        after `#` takes any further word, so once in `open_ended` it stays.
        """
        reached = [self.root]
        open_ended = {self.root.any_words: None} if self.root.any_words else {}
        steps = 0
        for word in words:
            steps += len(reached) + len(open_ended)
            if steps > _WALK_LIMIT:
                work.done += steps // _NODES_A_STEP
                return None
            following: list[TrieNode[Value]] = []
            for node in (*reached, *open_ended):
                child = node.words.get(word)
                if child is not None:
                    following.append(child)
                if node.any_word is not None:
                    following.append(node.any_word)
            for node in following:
                if node.any_words is not None:
                    open_ended[node.any_words] = None
            reached = following
        work.done += steps // _NODES_A_STEP
        return [node.counts for node in (*reached, *open_ended) if node.counts]

    def _prune(self, words: tuple[str, ...]) -> None:
        """Remove the nodes on the path of `words` that hold no pattern any more."""
        path = [self.root]
        for word in words:
            path.append(path[-1].follow(word))
        node = path.pop()
        for word in reversed(words):
            if not node.is_empty:
                return
            node = path.pop()
            node.detach(word)


class _Block(Generic[Value]):
    """Some of the patterns, with an automaton once it is needed."""

    __slots__ = ("_automaton", "_size", "patterns")

    def __init__(self) -> None:
        self.patterns: dict[tuple[str, ...], dict[Value, int]] = {}
        self._size = 0  # a bound of the automaton's states
        self._automaton: _Automaton[Value] | None = None

    def has_room(self, words: tuple[str, ...]) -> bool:
        return self._size + len(words) < _BLOCK_SIZE

    @property
    def is_sparse(self) -> bool:
        return self._size < _BLOCK_SIZE // 4

    def add(self, words: tuple[str, ...], counts: dict[Value, int]) -> None:
        self.patterns[words] = counts
        self._size += len(words) + 1
        self._automaton = None

    def remove(self, words: tuple[str, ...]) -> None:
        del self.patterns[words]
        self._size -= len(words) + 1
        self._automaton = None

    def match(self, words: list[str], work: TurnBudget) -> list[dict[Value, int]]:
        if self._automaton is None:
            self._automaton = _Automaton(self.patterns)
            work.done += self._size // 2
        work.done += len(words) * (self._size // _STATES_A_STEP + 1)
        return self._automaton.match(words)


class _Automaton(Generic[Value]):
    """Patterns as one automaton whose states are the bits of an integer (the Shift-And method).

    A pattern of n words other than `#` owns n + 1 neighbouring bits; bit i says that i of its words have been met.
    A `#` is no state: it lets the bit before it stay on. One word of a key costs a few operations on whole integers,
    whatever the patterns are. Not changed after it is made.
    """

    __slots__ = ("_counts", "_finals", "_masks", "_open_ended", "_positions", "_size", "_starts", "_wildcards")

    def __init__(self, patterns: Mapping[tuple[str, ...], dict[Value, int]]) -> None:
        self._counts: dict[int, dict[Value, int]] = {}
        self._positions: dict[str, list[int]] = {}
        self._masks: dict[str, int] = {}
        starts: list[int] = []
        open_ended: list[int] = []
        bit = 0
        for words, counts in patterns.items():
            starts.append(bit)
            for word in words:
                if word == "#":
                    open_ended.append(bit)
                else:
                    self._positions.setdefault(word, []).append(bit)
                    bit += 1
            self._counts[bit] = counts
            bit += 1
        self._size = bit
        self._starts = self._mask(starts)
        self._open_ended = self._mask(open_ended)
        self._finals = self._mask(list(self._counts))
        self._wildcards = self._mask(self._positions.get("*", []))

    def match(self, words: list[str]) -> list[dict[Value, int]]:
        states = self._starts
        for word in words:
            states = ((states & self._accepting(word)) << 1) | (states & self._open_ended)
        # bin() writes the highest bit first.
        digits = bin(states & self._finals)[:1:-1]
        matched = []
        bit = digits.find("1")
        while bit >= 0:
            matched.append(self._counts[bit])
            bit = digits.find("1", bit + 1)
        return matched

    def _accepting(self, word: str) -> int:
        """Return the states that `word` leads out of."""
        mask = self._masks.get(word)
        if mask is None:
            positions = self._positions.get(word)
            if positions is None:
                return self._wildcards
            if len(self._masks) == _MASKS_LIMIT:
                self._masks.clear()
            mask = self._masks[word] = self._mask(positions) | self._wildcards
        return mask

    def _mask(self, positions: list[int]) -> int:
        octets = bytearray(self._size // 8 + 1)
        for bit in positions:
            octets[bit >> 3] |= 1 << (bit & 7)
        return int.from_bytes(octets, "little")


def _pattern_words(pattern: str) -> tuple[str, ...]:
    """Split a pattern; one `#` says as much as several in a row."""
    words: list[str] = []
    for word in pattern.split(".") if pattern else ():
        if word != "#" or words[-1:] != ["#"]:
            words.append(word)
    return tuple(words)
