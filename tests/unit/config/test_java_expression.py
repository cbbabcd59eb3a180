from __future__ import annotations

import pytest

from broker.config.java_expression import whole_match


@pytest.mark.parametrize(
    ("expression", "text", "matches"),
    [
        (r"^[\S]{3,30}$", "abc", True),
        (r"^[\S]{3,30}$", "a b", False),
        (r"[a-z]{3}", "abcd", False),
        (r"[a-zA-Z0-9._\-|//]{3,30}$", "a.b-c|d/e", True),
        (r"^(?=.*\d)(?=.*[a-z]).{5,10}$", "abc12", True),
        (r"^(?=.*\d)(?=.*[a-z]).{5,10}$", "abcde", False),
        ("", "x", True),
        ("", "", False),
        (".*", "x" * 256, False),
        ("", "x" * 256, False),
        ("(?=x).*", "x" * 256, False),
    ],
)
def test_a_text_matches_as_a_whole(expression: str, text: str, matches: bool) -> None:
    assert whole_match(expression)(text) is matches


def test_an_expression_that_backtracks_elsewhere_takes_no_time_here() -> None:
    assert not whole_match("(a+)+b")("a" * 255)


def test_what_no_engine_reads_is_told() -> None:
    with pytest.raises(ValueError, match=r"the expression '\(' cannot be read"):
        whole_match("(")
