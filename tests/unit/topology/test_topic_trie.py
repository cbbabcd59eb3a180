"""Topic patterns, as contract E3 and invariant I87 have them."""

from __future__ import annotations

import itertools

import pytest

from broker.topology.topic_trie import TopicTrie
from broker.turn_budget import TurnBudget


def found(trie: TopicTrie[str], routing_key: str) -> list[str]:
    """Return the values whose patterns match, each once."""
    return list(dict.fromkeys(value for value in trie.match(routing_key, TurnBudget()) if value is not None))


def matches(pattern: str, routing_key: str) -> bool:
    trie: TopicTrie[str] = TopicTrie()
    trie.add(pattern, "value")
    return found(trie, routing_key) == ["value"]


@pytest.mark.parametrize(
    ("routing_key", "queues"),
    [
        ("quick.orange.rabbit", ["Q1", "Q2"]),
        ("lazy.orange.elephant", ["Q1", "Q2"]),
        ("quick.orange.fox", ["Q1"]),
        ("lazy.brown.fox", ["Q2"]),
        ("lazy.pink.rabbit", ["Q2"]),
        ("quick.brown.fox", []),
        ("orange", []),
        ("quick.orange.new.rabbit", []),
        ("lazy.orange.new.rabbit", ["Q2"]),
    ],
)
def test_the_animals_of_the_tutorial_reach_their_queues(routing_key: str, queues: list[str]) -> None:
    trie: TopicTrie[str] = TopicTrie()
    trie.add("*.orange.*", "Q1")
    trie.add("*.*.rabbit", "Q2")
    trie.add("lazy.#", "Q2")
    assert sorted(found(trie, routing_key)) == queues


@pytest.mark.parametrize("routing_key", ["", ".", "a", "a.b", "a..b", "#", "*"])
def test_a_hash_alone_matches_every_key(routing_key: str) -> None:
    assert matches("#", routing_key)
    assert matches("#.#.#", routing_key)


@pytest.mark.parametrize("routing_key", ["a", "", "*", "#"])
def test_a_star_is_one_word_whatever_it_is(routing_key: str) -> None:
    assert matches("*", routing_key) is (routing_key != "")
    assert not matches("*", "a.b")


def test_the_empty_pattern_matches_the_empty_key_only() -> None:
    assert matches("", "")
    assert not matches("", "a")
    assert not matches("", ".")


def test_empty_words_count() -> None:
    assert matches("a.*.b", "a..b")
    assert matches("a..b", "a..b")
    assert matches("*.*", ".")
    assert not matches("a.b", "a..b")
    assert not matches("a", "a.")


@pytest.mark.parametrize("routing_key", ["a.b", "a.x.b", "a.x.y.b", "a.b.b", "a.b.a.b"])
def test_a_hash_in_the_middle_is_zero_or_more_words(routing_key: str) -> None:
    assert matches("a.#.b", routing_key)
    assert not matches("a.#.b", routing_key + ".c")


def test_wildcards_beside_each_other_ask_for_as_many_words_as_there_are_stars() -> None:
    assert matches("#.*.#.*", "a.b")
    assert not matches("#.*.#.*", "a")


def test_wildcards_inside_a_word_are_plain_characters() -> None:
    assert matches("a*.b#", "a*.b#")
    assert not matches("a*.b#", "ax.by")


def test_a_value_under_several_matching_patterns_comes_once() -> None:
    trie: TopicTrie[str] = TopicTrie()
    for pattern in ("a.b", "a.*", "#", "a.#", "#.b"):
        trie.add(pattern, "value")
    assert found(trie, "a.b") == ["value"]


def test_a_value_added_twice_stays_until_it_is_removed_twice() -> None:
    trie: TopicTrie[str] = TopicTrie()
    trie.add("a.#", "value")
    trie.add("a.#.#", "value")
    assert trie.remove("a.#", "value")
    assert found(trie, "a") == ["value"]
    assert trie.remove("a.#.#", "value")
    assert found(trie, "a") == []


def test_removing_what_was_never_added_changes_nothing() -> None:
    trie: TopicTrie[str] = TopicTrie()
    trie.add("a.b", "value")
    assert not trie.remove("a.b", "other")
    assert not trie.remove("a", "value")
    assert found(trie, "a.b") == ["value"]


def test_removing_a_pattern_keeps_the_longer_and_shorter_ones() -> None:
    trie: TopicTrie[str] = TopicTrie()
    trie.add("a", "short")
    trie.add("a.*.#", "middle")
    trie.add("a.*.#.b", "long")
    trie.remove("a.*.#", "middle")
    assert sorted([*found(trie, "a"), *found(trie, "a.x.b")]) == ["long", "short"]
    trie.remove("a.*.#.b", "long")
    assert found(trie, "a") == ["short"]


def test_nothing_is_left_of_removed_patterns() -> None:
    trie: TopicTrie[str] = TopicTrie()
    patterns = ["", "#", "a.b.c", "a.*.c", "a.*.#", "*.#.c"]
    for pattern in patterns:
        trie.add(pattern, "value")
    for pattern in patterns:
        trie.remove(pattern, "value")
    assert trie.root.is_empty


def nested_hashes() -> TopicTrie[str]:
    """All patterns `#.x.#.x….end` of nine words a or b: too many open paths for a walk."""
    trie: TopicTrie[str] = TopicTrie()
    for words in itertools.product("ab", repeat=9):
        trie.add("#." + ".#.".join(words) + ".#.end", "".join(words))
    return trie


def test_hashes_nested_in_thousands_are_answered_exactly() -> None:
    trie = nested_hashes()
    assert sorted(found(trie, ".".join("a" * 60 + "b" + "a" * 7) + ".end")) == [
        "aaaaaaaaa",
        "aaaaaaaab",
        "aaaaaaaba",
        "aaaaaabaa",
        "aaaaabaaa",
        "aaaabaaaa",
        "aaabaaaaa",
        "aabaaaaaa",
        "abaaaaaaa",
    ]
    assert found(trie, ".".join("ab" * 63) + ".other") == []
    assert len(found(trie, ".".join("ab" * 63) + ".end")) == 512


def test_changes_are_seen_when_hashes_are_nested_in_thousands() -> None:
    trie = nested_hashes()
    routing_key = ".".join("a" * 126) + ".end"
    assert found(trie, routing_key) == ["aaaaaaaaa"]
    trie.add("*.#.end", "new")
    assert found(trie, routing_key) == ["aaaaaaaaa", "new"]
    trie.remove("#." + ".#.".join("aaaaaaaaa") + ".#.end", "aaaaaaaaa")
    assert found(trie, routing_key) == ["new"]


def test_hundreds_of_words_are_told_apart_when_hashes_are_nested_in_thousands() -> None:
    trie = nested_hashes()
    words = [str(number) for number in range(300)]
    for word in words:
        trie.add(f"#.{word}.*.#", word)
    keys = [".".join(["ab" * 12, *words[start : start + 100], "last"]).replace("ab", "a.b.") for start in (0, 100, 200)]
    assert [found(trie, key) for key in keys] == [words[:100], words[100:200], words[200:]]
