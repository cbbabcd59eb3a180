"""The trie finds what comparing with every pattern would find."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from broker.topology.topic_trie import TopicTrie
from broker.turn_budget import TurnBudget

WORDS = st.sampled_from(["a", "b", "c", "", "*", "#"])
KEYS = st.lists(WORDS, max_size=9).map(".".join)
CHANGES = st.lists(st.tuples(st.booleans(), KEYS, st.sampled_from("xyz")), max_size=30)
CROWD = ["#." + ".#.".join(words) for words in itertools.product("ab*", repeat=5)]


def accepts(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return accepts(pattern[1:], words) or (bool(words) and accepts(pattern, words[1:]))
    return bool(words) and pattern[0] in ("*", words[0]) and accepts(pattern[1:], words[1:])


def split(text: str) -> list[str]:
    return text.split(".") if text else []


def found(trie: TopicTrie[str], routing_key: str) -> list[str]:
    """Return the values whose patterns match, each once."""
    return list(dict.fromkeys(value for value in trie.match(routing_key, TurnBudget()) if value is not None))


def naive(added: Counter[tuple[str, str]], routing_key: str) -> set[str]:
    return {value for pattern, value in added if accepts(split(pattern), split(routing_key))}


@given(changes=CHANGES, keys=st.lists(KEYS, min_size=1, max_size=8))
def test_the_trie_equals_a_naive_matcher_after_every_change(
    changes: list[tuple[bool, str, str]], keys: list[str]
) -> None:
    trie: TopicTrie[str] = TopicTrie()
    added: Counter[tuple[str, str]] = Counter()
    for is_addition, pattern, value in changes:
        if is_addition:
            trie.add(pattern, value)
            added[pattern, value] += 1
        elif added[pattern, value]:
            assert trie.remove(pattern, value)
            added[pattern, value] -= 1
        added = +added
        for routing_key in keys:
            matched = found(trie, routing_key)
            assert set(matched) == naive(added, routing_key)


@given(changes=CHANGES)
def test_adding_and_removing_everything_leaves_an_empty_trie(changes: list[tuple[bool, str, str]]) -> None:
    trie: TopicTrie[str] = TopicTrie()
    for _, pattern, value in changes:
        trie.add(pattern, value)
    for _, pattern, value in changes:
        assert trie.remove(pattern, value)
    assert trie.root.is_empty


@given(patterns=st.lists(KEYS, max_size=12), routing_key=KEYS)
def test_a_crowd_of_nested_hashes_hides_no_pattern(patterns: list[str], routing_key: str) -> None:
    trie: TopicTrie[str] = TopicTrie()
    added = Counter((pattern, pattern) for pattern in patterns)
    for pattern in patterns:
        trie.add(pattern, pattern)
    for pattern in CROWD:
        trie.add(pattern, "crowd")
    long_key = f"a.b.a.b.a.b.{routing_key}"
    assert set(found(trie, long_key)) == naive(added, long_key) | {"crowd"}
