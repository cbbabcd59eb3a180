"""Names: a class has one of its own, and no identifier uses a word that the glossary has replaced (ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "broker").rglob("*.py"))

# Words of the glossary's left column that no identifier has any more.
REPLACED = {
    "appetite": "demand size",
    "applying": "apply",
    "carve": "split",
    "carving": "split",
    "company": "the port Cluster",
    "comparison": "diff",
    "consumption": "consumers",
    "duties": "the maintenance lock",
    "equivalence": "declaration",
    "fast": "direct dispatch",
    "giver": "handoff",
    "giving": "handoff",
    "holdings": "owned slots",
    "hunger": "demand",
    "inquiry": "pending request",
    "life": "incarnation",
    "lives": "incarnations",
    "patience": "timeout, retry, backoff",
    "patient": "retrying",
    "recording": "recorder",
    "settler": "deliveries",
    "sharing": "balancer",
    "surrender": "release",
    "surroundings": "shared context",
    "tally": "queue counts",
    "traces": "orphans",
    "whereabouts": "coordinator address",
}

# Words that identifiers still have, and the change that removes the last of them. This list only shrinks.
STILL_IN_USE = {
    "hungry": "thrift: a field of the wire, which nodes of other versions know",
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def public_classes(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def identifiers(path: Path) -> Iterator[str]:
    """Return every name in the file, and that of its module."""
    yield path.stem
    for node in ast.walk(parsed(path)):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.alias():
                yield node.name
            case ast.Name():
                yield node.id
            case ast.Attribute():
                yield node.attr
            case ast.arg() | ast.keyword():
                yield node.arg or ""


@cache
def words(path: Path) -> frozenset[str]:
    """Return the words that the identifiers of a file are made of."""
    found: set[str] = set()
    for name in identifiers(path):
        found.update(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name))
    return frozenset(found)


def test_a_public_class_name_stands_once() -> None:
    names = Counter(name for path in FILES for name in public_classes(path))
    assert not {name for name, count in names.items() if count > 1}


def test_no_identifier_has_a_word_that_was_replaced() -> None:
    assert {path.relative_to(ROOT): found for path in FILES if (found := words(path) & REPLACED.keys())} == {}


@pytest.mark.parametrize("word", STILL_IN_USE)
def test_a_word_that_is_gone_leaves_the_list_of_those_in_use(word: str) -> None:
    assert any(word in words(path) for path in FILES), f"move {word!r} to REPLACED"
