"""The expressions of permissions: as RabbitMQ reads them, in linear time (contract A8)."""

from __future__ import annotations

import pytest

from broker.auth.pattern import MAX_OCTETS, PatternError, check, matches


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        (".*", "anything", True),
        (".*", "", True),
        ("", "q", False),
        ("", "", True),
        ("^$", "q", False),
        ("orders", "my.orders.new", True),
        ("^orders$", "my.orders", False),
        (r"^amq\.gen.*", "amq.gen-abc", True),
        (r"^amq\.gen.*", "amqXgen", False),
        ("^(a|b)-.*", "b-1", True),
        ("(?i)^ORDERS", "orders.1", True),
        ("^é$", "é", True),
        (".", "\udcff", True),
        (r"^(?!amq\.).*", "amq.topic", False),
        (r"^(?!amq\.).*", "orders", True),
        (r"^(?!amq\.).*", "my.amq.orders", True),
        ("^(?!(a|b)c)x?", "bc", False),
        ("^(?!(a|b)c)x?", "bd", True),
        ("^(?![)]|[]a^])b", "b", True),
        ("^(?![)]|[]a^])[^]]", "^", False),
        (r"^(?!\(x)\(", "(y", True),
        (r"^(?!\(x)\(", "(x", False),
        ("^(?!)", "q", False),
    ],
)
def test_an_expression_is_found_anywhere_in_a_name(pattern: str, name: str, found: bool) -> None:
    check(pattern)
    assert matches(pattern, name) is found


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "[",
        "(?!a)",
        "^(?!a)b|c",
        "^(?!a",
        "^(?!a)b)c",
        "^(?!(?!a))b",
        "(?=a)",
        r"(a)\1",
        "a{1001}",
        "*",
        "x" * (MAX_OCTETS + 1),
    ],
)
def test_what_cannot_be_served_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        check(pattern)


def test_a_recorded_expression_that_cannot_be_served_matches_nothing() -> None:
    assert not matches("(?!a)", "b")


def test_an_expression_that_would_backtrack_takes_no_time() -> None:
    assert not matches("^(a+)+$", "a" * 200 + "!")
