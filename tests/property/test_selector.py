"""Selectors of any shape: what a naive evaluation of the tree gives, and no text that does harm."""

from __future__ import annotations

import random
import sys
from fractions import Fraction
from types import FrameType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.selector.selector import Selector
from broker.selector.tokens import SelectorError
from tests.support.selector_messages import truth, view

# Trees are tuples: an operator and its operands. A naive evaluation knows no short way and no kinds of nodes.

Tree = tuple[Any, ...]
NAMES = ("s", "t", "i", "j", "f", "yes", "no", "none")
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "s": st.sampled_from(["", "a", "ab", "5"]),
        "t": st.sampled_from(["a", 5]),
        "i": st.integers(-3, 3),
        "j": st.sampled_from([0, 1, 2, 1 << 53, (1 << 53) + 1]),
        "f": st.sampled_from([0.0, 0.5, 2.0, -1.5, float(1 << 53)]),
        "yes": st.booleans(),
        "no": st.sampled_from([False, 0, "FALSE"]),
    },
)
names = st.sampled_from(NAMES).map(lambda name: ("name", name))
numbers = st.sampled_from([0, 1, 2, 5, 0.5, 2.0, (1 << 53) + 1]).map(lambda number: ("number", number))
strings = st.sampled_from(["", "a", "ab", "it's", "5"]).map(lambda text: ("string", text))
booleans = st.sampled_from([True, False]).map(lambda value: ("boolean", value))
null = st.just(("null",))


def _numeric(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/", "%"]), inner, inner),
        st.tuples(st.sampled_from(["minus", "plus"]), inner),
    )


numeric = st.recursive(st.one_of(names, numbers, null), _numeric, max_leaves=4)
any_value = st.one_of(numeric, strings, booleans)


def _conditions(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.one_of(
        st.tuples(st.just("and"), inner, inner),
        st.tuples(st.just("or"), inner, inner),
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["=", "<>"]), inner, st.one_of(inner, any_value)),
        st.tuples(st.just("null?"), inner, st.booleans()),
    )


simple = st.one_of(
    names,
    booleans,
    null,
    st.tuples(st.sampled_from(["=", "<>"]), any_value, any_value),
    st.tuples(st.sampled_from(["<", "<=", ">", ">="]), numeric, numeric),
    st.tuples(st.just("between"), numeric, numeric, numeric, st.booleans()),
    st.tuples(st.just("in"), names, st.lists(strings, min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("like"), st.one_of(names, strings), st.text("ab_%", max_size=4), st.booleans()),
    st.tuples(st.just("null?"), any_value, st.booleans()),
)
conditions = st.recursive(simple, _conditions, max_leaves=6)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def printed(tree: Tree) -> str:
    """Return the text, each operand in parentheses."""
    match tree:
        case ("name", name):
            return str(name)
        case ("number", number):
            return repr(number)
        case ("string", text):
            return quoted(text)
        case ("boolean", value):
            return str(value).upper()
        case ("null",):
            return "NULL"
        case ("minus" | "plus" as sign, operand):
            return f"{'-' if sign == 'minus' else '+'}({printed(operand)})"
        case ("not", operand):
            return f"NOT ({printed(operand)})"
        case ("null?", operand, is_negated):
            return f"({printed(operand)}) IS {'NOT ' * is_negated}NULL"
        case ("between", operand, low, high, is_negated):
            limits = f"({printed(low)}) AND ({printed(high)})"
            return f"({printed(operand)}) {'NOT ' * is_negated}BETWEEN {limits}"
        case ("in", operand, texts, is_negated):
            return f"{printed(operand)} {'NOT ' * is_negated}IN ({', '.join(map(printed, texts))})"
        case ("like", operand, pattern, is_negated):
            return f"{printed(operand)} {'NOT ' * is_negated}LIKE {quoted(pattern)}"
        case (sign, left, right):
            return f"({printed(left)}) {sign.upper()} ({printed(right)})"
    raise AssertionError(tree)


def kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def order(sign: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    if kind(left) != "number" or kind(right) != "number":
        return False
    difference = Fraction(left) - Fraction(right)
    return {"<": difference < 0, "<=": difference <= 0, ">": difference > 0, ">=": difference >= 0}[sign]


def both(left: bool | None, right: bool | None) -> bool | None:
    ranks = {False: 0, None: 1, True: 2}
    return min(left, right, key=lambda value: ranks[value])


def opposite(value: bool | None) -> bool | None:
    return None if value is None else not value


def condition(tree: Tree, headers: dict[str, Any]) -> bool | None:
    """Evaluate what stands for a condition: anything but a boolean and NULL is FALSE."""
    value = evaluated(tree, headers)
    return value if value is None or isinstance(value, bool) else False


def like(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "%":
        return like(pattern[1:], text) or (bool(text) and like(pattern, text[1:]))
    return bool(text) and pattern[0] in ("_", text[0]) and like(pattern[1:], text[1:])


def calculated(sign: str, left: Any, right: Any) -> Any:
    if kind(left) != "number" or kind(right) != "number":
        return None
    if sign in "/%" and right == 0:
        return None
    if sign == "%":
        quotient = Fraction(left) / Fraction(right)
        rest = Fraction(left) - int(quotient) * Fraction(right)
        return int(rest) if type(left) is type(right) is int else float(rest)
    return {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "/": lambda: left / right}[
        sign
    ]()


def evaluated(tree: Tree, headers: dict[str, Any]) -> Any:
    match tree:
        case ("name", name):
            return headers.get(name)
        case ("number" | "string" | "boolean", value):
            return value
        case ("null",):
            return None
        case ("minus" | "plus" as sign, operand):
            return calculated("*", -1 if sign == "minus" else 1, evaluated(operand, headers))
        case ("not", operand):
            return opposite(condition(operand, headers))
        case ("and", left, right):
            return both(condition(left, headers), condition(right, headers))
        case ("or", left, right):
            return opposite(both(opposite(condition(left, headers)), opposite(condition(right, headers))))
        case ("null?", operand, is_negated):
            return (evaluated(operand, headers) is None) != is_negated
        case ("between", operand, low, high, is_negated):
            value, least, most = (evaluated(each, headers) for each in (operand, low, high))
            if is_negated:
                within = both(opposite(order("<", value, least)), opposite(order(">", value, most)))
                return opposite(within)
            return both(order(">=", value, least), order("<=", value, most))
        case ("in", operand, texts, is_negated):
            value = evaluated(operand, headers)
            return None if value is None else (value in [text for _, text in texts]) != is_negated
        case ("like", operand, pattern, is_negated):
            value = evaluated(operand, headers)
            return None if value is None else (isinstance(value, str) and like(pattern, value)) != is_negated
        case ("=" | "<>" as sign, left, right):
            first, second = evaluated(left, headers), evaluated(right, headers)
            if first is None or second is None:
                return None
            if kind(first) != kind(second):
                return False
            return (first == second) == (sign == "=")
        case ("<" | "<=" | ">" | ">=" as sign, left, right):
            return order(sign, evaluated(left, headers), evaluated(right, headers))
        case (sign, left, right):
            return calculated(sign, evaluated(left, headers), evaluated(right, headers))
    raise AssertionError(tree)


@settings(deadline=None, max_examples=400)
@given(tree=conditions, headers=HEADERS)
def test_a_condition_of_any_shape_has_the_value_of_a_naive_evaluation(tree: Tree, headers: dict[str, Any]) -> None:
    assert truth(printed(tree), view(headers)) is condition(tree, headers)


@settings(deadline=None, max_examples=200)
@given(tree=conditions, headers=HEADERS)
def test_what_a_selector_says_must_be_equal_is_equal_in_every_message_that_passes(
    tree: Tree, headers: dict[str, Any]
) -> None:
    selector = Selector(printed(tree))
    if selector.equals and selector.matches(view(headers)):
        for name, value in selector.equals.items():
            assert (headers[name], kind(headers[name])) == (value, kind(value))


# Any text

WORDS = (
    "a", "b", "JMSType", '"q"', "'x'", "'it''s'", "''", "5", "0x1F", "017", "5.", ".5", "5e3", "1L", "TRUE", "FALSE",
    "NULL", "AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ESCAPE", "IS", "=", "<>", "<", "<=", ">", ">=", "+", "-", "*",
    "/", "%", "(", ")", ",", "/* c */", "-- c\n", "--", "/*", "'", '"', "\\", ".", "!", "\0", "é", "😀", "\udce9",
    "\ud800", "'%a_b%'", "'!%'",
)  # fmt: skip
GOOD = (
    "a = 'x' AND b > 5 OR NOT (a LIKE '%x_' ESCAPE '!')",
    "a BETWEEN 1 AND 2 + 3 * -b AND b NOT IN ('x', 'y') AND a IS NOT NULL",
    "JMSPriority >= 4 AND (a = TRUE OR b <> .5e3) -- end\n",
)
CALLS_PER_CHARACTER = 40
"""More calls than a character ever costs; a parser that tried things twice would need more for some texts."""


def calls_of(text: str) -> int:
    """Return how many Python functions are called to compile a text and to look at a message by it."""
    calls, error = 0, None

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        Selector(text).matches(Nothing())
    except SelectorError as refused:
        error = refused
    finally:
        sys.setprofile(before)
    if error is not None:
        assert "\n" not in str(error)
        assert 1 <= error.position <= len(text.encode("utf-8", "replace")) + 1
    return calls


class Nothing:
    """A message without values."""

    def __getitem__(self, name: str) -> None:
        return None


def spoilt(text: str, chance: random.Random) -> str:
    """Return the text with something left out, doubled, exchanged or put in."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.randint(0, 5))
        text = text[:start] + chance.choice(("", text[start:end] * 2, chance.choice(WORDS))) + text[end:]
    return text


def test_no_text_does_more_than_be_refused_and_none_costs_more_than_its_length() -> None:
    chance = random.Random(20_260)
    texts = [
        *(" ".join(chance.choices(WORDS, k=chance.randint(1, 30))) for _ in range(600)),
        *("".join(chance.choices(WORDS, k=chance.randint(1, 30))) for _ in range(600)),
        *(spoilt(chance.choice(GOOD), chance) for _ in range(1200)),
        *(
            unit * (2000 // len(unit))
            for unit in (*WORDS, "--", "/*/", "NOT (", "(a=", "a OR ", "- (", "a LIKE '%' OR ")
        ),
    ]
    for text in texts:
        assert calls_of(text) <= 500 + CALLS_PER_CHARACTER * len(text), text


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=60))
def test_no_text_at_all_raises_anything_else(text: str) -> None:
    assert calls_of(text) <= 500 + CALLS_PER_CHARACTER * len(text)
