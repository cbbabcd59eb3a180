"""From the tree of a selector to functions of a message's values.

`value_of` compiles to a value: of a condition TRUE, FALSE or UNKNOWN. `test_of` compiles to whether a condition is
TRUE, the only thing that lets a message through: it needs no UNKNOWN below AND and OR, and has short ways for what most
selectors are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from broker.selector import like
from broker.selector.syntax import (
    CONDITION,
    And,
    Arithmetic,
    Between,
    Compare,
    Identifier,
    In,
    IsNull,
    Like,
    Literal,
    Node,
    Not,
    Or,
    Signed,
    Value,
)
from broker.selector.values import (
    ORDERED,
    arithmetic,
    as_condition,
    conjunction,
    disjunction,
    equal,
    negation,
    ordered,
    signed,
    unequal,
)


class Values(Protocol):
    """What a message has under a name: NULL when nothing. Every value is exactly a bool, int, float, str or None."""

    def __getitem__(self, name: str, /) -> Value: ...


Evaluate: TypeAlias = Callable[[Values], Value]
Decide: TypeAlias = Callable[[Values], bool | None]
Test: TypeAlias = Callable[[Values], bool]


def value_of(node: Node) -> Evaluate:
    """Return a function that gives the node's value."""
    return _COMPILERS[type(node)](node)


def _literal(node: Literal) -> Evaluate:
    value = node.value
    return lambda values: value


def _identifier(node: Identifier) -> Evaluate:
    name = node.name
    return lambda values: values[name]


def _signed(node: Signed) -> Evaluate:
    operand, is_negative = value_of(node.operand), node.is_negative
    return lambda values: signed(operand(values), is_negative)


def _arithmetic(node: Arithmetic) -> Evaluate:
    calculate, left, right = arithmetic(node.operator), value_of(node.left), value_of(node.right)
    return lambda values: calculate(left(values), right(values))


def _compare(node: Compare) -> Decide:
    left, right = value_of(node.left), value_of(node.right)
    if node.operator in ORDERED:
        compare = ORDERED[node.operator]
        return lambda values: ordered(compare, left(values), right(values))
    same = equal if node.operator == "=" else unequal
    return lambda values: same(left(values), right(values))


def _between(node: Between) -> Decide:
    operand, low, high = value_of(node.operand), value_of(node.low), value_of(node.high)
    join, first, second = (disjunction, "<", ">") if node.is_negated else (conjunction, ">=", "<=")
    below, above = ORDERED[first], ORDERED[second]

    def decide(values: Values) -> bool | None:
        value = operand(values)
        return join(ordered(below, value, low(values)), ordered(above, value, high(values)))

    return decide


def _in(node: In) -> Decide:
    operand, strings, is_negated = value_of(node.operand), node.strings, node.is_negated

    def decide(values: Values) -> bool | None:
        value = operand(values)
        return None if value is None else (value in strings) is not is_negated

    return decide


def _like(node: Like) -> Decide:
    operand, is_negated, matches = value_of(node.operand), node.is_negated, like.matcher(node.pattern, node.escape)

    def decide(values: Values) -> bool | None:
        value = operand(values)
        return None if value is None else (type(value) is str and matches(value)) is not is_negated

    return decide


def _is_null(node: IsNull) -> Decide:
    operand, is_negated = value_of(node.operand), node.is_negated
    return lambda values: (operand(values) is None) is not is_negated


def _condition(node: Node) -> Decide:
    """Compile what stands where a condition is needed: a name may turn out to be something else."""
    operand = value_of(node)
    if node.kind == CONDITION:
        return operand  # type: ignore[return-value] # its value is TRUE, FALSE or UNKNOWN
    return lambda values: as_condition(operand(values))


def _not(node: Not) -> Decide:
    operand = _condition(node.operand)
    return lambda values: negation(operand(values))


def _and(node: And) -> Decide:
    terms = tuple(map(_condition, node.terms))

    def decide(values: Values) -> bool | None:
        result: bool | None = True
        for term in terms:
            found = term(values)
            if found is False:
                return False
            if found is None:
                result = None
        return result

    return decide


def _or(node: Or) -> Decide:
    terms = tuple(map(_condition, node.terms))

    def decide(values: Values) -> bool | None:
        result: bool | None = False
        for term in terms:
            found = term(values)
            if found:
                return True
            if found is None:
                result = None
        return result

    return decide


_COMPILERS: Final[dict[type, Callable[[Any], Evaluate]]] = {
    Literal: _literal,
    Identifier: _identifier,
    Signed: _signed,
    Arithmetic: _arithmetic,
    Compare: _compare,
    Between: _between,
    In: _in,
    Like: _like,
    IsNull: _is_null,
    Not: _not,
    And: _and,
    Or: _or,
}


def fold(node: Node) -> Node:
    """Return the tree with everything calculated that needs no message."""
    match node:
        case Literal() | Identifier():
            return node
        case And(terms):
            return _fold_terms(And, terms, neutral=True)
        case Or(terms):
            return _fold_terms(Or, terms, neutral=False)
        case Signed(operand, is_negative):
            node = Signed(fold(operand), is_negative)
        case Arithmetic(sign, left, right):
            node = Arithmetic(sign, fold(left), fold(right))
        case Compare(sign, left, right):
            node = Compare(sign, fold(left), fold(right))
        case Between(operand, low, high, is_negated):
            node = Between(fold(operand), fold(low), fold(high), is_negated)
        case Like(operand, pattern, escape, is_negated):
            node = Like(fold(operand), pattern, escape, is_negated)
        case IsNull(operand, is_negated):
            node = IsNull(fold(operand), is_negated)
        case Not(operand):
            node = Not(fold(operand))
        case In(operand, strings, False) if len(strings) == 1:
            return Compare("=", operand, Literal(*strings))
        case In():
            return node
    if all(isinstance(part, Literal) for part in node.parts):
        return Literal(value_of(node)({}))  # no name is asked for
    return node


def _fold_terms(kind: type[And] | type[Or], terms: tuple[Node, ...], *, neutral: bool) -> Node:
    """Leave out the terms that change nothing; one that decides is all that is left."""
    left = [term for term in map(fold, terms) if not (isinstance(term, Literal) and term.value is neutral)]
    if any(isinstance(term, Literal) and term.value is (not neutral) for term in left):
        return Literal(not neutral)
    if not left:
        return Literal(neutral)
    if all(isinstance(term, Literal) for term in left):
        return Literal(None)
    return left[0] if len(left) == 1 and left[0].kind == CONDITION else kind(tuple(left))


def test_of(node: Node) -> Test:
    """Return a function that tells whether a condition is TRUE."""
    match node:
        case And(terms):
            return _all_of(terms)
        case Or(terms):
            return _any_of(terms)
        case Identifier(name):
            return lambda values: values[name] is True
        case Not(Identifier(name)):
            return lambda values: (value := values[name]) is not None and value is not True
        case Compare("=", Identifier(name), Literal(constant)) | Compare("=", Literal(constant), Identifier(name)):
            return _equal_to(name, constant)
        case Compare(sign, Identifier(name), Literal(int() | float() as constant)) if sign in ORDERED:
            return _ordered_to(sign, name, constant)
        case In(Identifier(name), strings, False):
            return lambda values: values[name] in strings
        case Like(Identifier(name), pattern, escape, False):
            return _like_to(name, like.matcher(pattern, escape))
    decide = _condition(node)
    return lambda values: decide(values) is True


def _equal_to(name: str, constant: Value) -> Test:
    if constant is None:
        return lambda values: False
    if isinstance(constant, bool):
        return lambda values: values[name] is constant
    if isinstance(constant, str):
        return lambda values: values[name] == constant
    return lambda values: (value := values[name]) == constant and type(value) is not bool


def _ordered_to(sign: str, name: str, constant: float) -> Test:
    compare = ORDERED[sign]

    def test(values: Values) -> bool:
        value = values[name]
        return (type(value) is int or type(value) is float) and compare(value, constant)

    return test


def _like_to(name: str, matches: like.Matches) -> Test:
    def test(values: Values) -> bool:
        value = values[name]
        return type(value) is str and matches(value)

    return test


def _all_of(terms: tuple[Node, ...]) -> Test:
    strings, others = [], []
    for term in terms:
        match term:
            case Compare("=", Identifier(name), Literal(str() as text)):
                strings.append((name, text))
            case _:
                others.append(test_of(term))
    pairs, tests = tuple(strings), tuple(others)

    def test(values: Values) -> bool:
        for name, text in pairs:
            if values[name] != text:
                return False
        for term in tests:  # noqa: SIM110 # a generator costs more than what it calls
            if not term(values):
                return False
        return True

    return test


def _any_of(terms: tuple[Node, ...]) -> Test:
    tests = tuple(map(test_of, terms))

    def test(values: Values) -> bool:
        for term in tests:  # noqa: SIM110 # a generator costs more than what it calls
            if term(values):
                return True
        return False

    return test
