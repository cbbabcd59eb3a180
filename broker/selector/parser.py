"""From the text of a selector to its tree: a recursive descent that tries nothing twice.

The grammar is that of JMS 1.1, section 3.8.1, with what Andes allows beside it: names in double quotes, `%` for the
rest of a division, the constant NULL, comments. What makes no sense for any message is refused here: `'a' < 5`,
`x + TRUE`, `NOT 1`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.selector.like import MAX_SCANS, scans_of
from broker.selector.syntax import (
    ANY,
    CONDITION,
    NUMERIC,
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
    measure,
)
from broker.selector.tokens import END, NAME, NUMBER, STRING, SelectorError, Token, tokenize

MAX_DEPTH: Final = 100
"""Levels of operators and parentheses inside of each other."""
MAX_NODES: Final = 1000
"""Names, constants, operators, and each `%` of a LIKE; a list of IN is one."""

# How tightly operators bind. NOT before a condition has a rank of its own, between AND and `=`.
_OR, _AND, _NOT, _EQUALITY, _RELATION, _SUM, _PRODUCT = range(1, 8)
_RANKS: Final = {
    "OR": _OR,
    "AND": _AND,
    **dict.fromkeys(("=", "<>", "IS"), _EQUALITY),
    **dict.fromkeys(("<", "<=", ">", ">=", "BETWEEN", "IN", "LIKE", "NOT"), _RELATION),
    **dict.fromkeys(("+", "-"), _SUM),
    **dict.fromkeys(("*", "/", "%"), _PRODUCT),
}
_CONSTANTS: Final = {"TRUE": True, "FALSE": False, "NULL": None}


def parse(text: str) -> Node:
    """Return the tree of a selector that is not blank. Raises `SelectorError`."""
    return _Parser(tokenize(text)).condition_alone()


class _Parser:
    """One text. `_token` is the first word that has not been taken."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._token = tokens[0]
        self._depth = 0
        self._scans = 0

    def condition_alone(self) -> Node:
        """Return what all words together mean."""
        first = self._token
        root = _condition(self._expression(_OR), first)
        if self._token.kind != END:
            raise self._unexpected("the end")
        nodes, levels = measure(root)
        if levels > MAX_DEPTH:
            raise SelectorError(f"deeper than {MAX_DEPTH} levels", first.position)
        if nodes > MAX_NODES:
            raise SelectorError(f"more than {MAX_NODES} names, constants, operators and '%'", first.position)
        return root

    def _expression(self, rank: int) -> Node:
        """Take operands and the operators between them that bind at least as tightly as `rank`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise SelectorError(f"deeper than {MAX_DEPTH} levels", self._token.position)
        first = self._token
        left = self._negation(rank) if first.kind == "NOT" else self._operand()
        while (found := _RANKS.get(self._token.kind, 0)) >= rank:
            left = _OPERATORS[found](self, left, first)
        self._depth -= 1
        return left

    def _negation(self, rank: int) -> Node:
        if rank > _NOT:
            raise self._unexpected("a value")
        count = 0
        while self._accept("NOT"):
            count += 1
        first = self._token
        operand = _condition(self._expression(_EQUALITY), first)
        return Not(operand) if count % 2 else Not(Not(operand))

    def _operand(self) -> Node:
        first, minuses = self._token, 0
        while self._token.kind in ("+", "-"):
            minuses += self._take().kind == "-"
        if self._token is first:
            return self._primary()
        unsigned = self._token
        return Signed(_number(self._primary(), unsigned, first.kind), minuses % 2 == 1)

    def _primary(self) -> Node:
        kind = self._token.kind
        if kind == NAME:
            return Identifier(str(self._take().value))
        if kind in (STRING, NUMBER):
            return Literal(self._take().value)
        if kind in _CONSTANTS:
            self._take()
            return Literal(_CONSTANTS[kind])
        if kind != "(":
            raise self._unexpected("a value")
        self._take()
        inner = self._expression(_OR)
        self._expect(")")
        return inner

    # What stands after an operand: each takes its operator, and what is on the right of it.

    def _or(self, left: Node, first: Token) -> Node:
        return Or(self._terms("OR", _AND, left, first))

    def _and(self, left: Node, first: Token) -> Node:
        return And(self._terms("AND", _NOT, left, first))

    def _terms(self, operator: str, rank: int, left: Node, first: Token) -> tuple[Node, ...]:
        terms = [_condition(left, first)]
        while self._accept(operator):
            first = self._token
            terms.append(_condition(self._expression(rank), first))
        return tuple(terms)

    def _equality(self, left: Node, first: Token) -> Node:
        operator = self._take().kind
        if operator != "IS":
            return Compare(operator, left, self._expression(_RELATION))
        is_negated = self._accept("NOT")
        self._expect("NULL")
        return IsNull(left, is_negated)

    def _relation(self, left: Node, first: Token) -> Node:
        is_negated = self._accept("NOT")
        operator = self._take()
        if operator.kind == "BETWEEN":
            low = self._right(_SUM, "BETWEEN")
            self._expect("AND")
            return Between(_number(left, first, "BETWEEN"), low, self._right(_SUM, "BETWEEN"), is_negated)
        if operator.kind == "IN":
            return self._in(left, first, is_negated)
        if operator.kind == "LIKE":
            return self._like(left, first, is_negated)
        if is_negated:
            raise SelectorError(f"expected BETWEEN, IN or LIKE, found {operator}", operator.position)
        return Compare(operator.kind, _number(left, first, operator.kind), self._right(_SUM, operator.kind))

    def _in(self, left: Node, first: Token, is_negated: bool) -> Node:
        if not isinstance(left, Identifier):
            raise SelectorError("IN needs a name on its left", first.position)
        self._expect("(")
        strings = [self._string()]
        while self._accept(","):
            strings.append(self._string())
        self._expect(")")
        return In(left, frozenset(strings), is_negated)

    def _like(self, left: Node, first: Token, is_negated: bool) -> Node:
        if left.kind in (CONDITION, NUMERIC):
            raise SelectorError(f"LIKE needs a string on its left, and this is {left.kind}", first.position)
        token = self._token
        pattern, escape = self._string(), ""
        if self._accept("ESCAPE"):
            token = self._token
            escape = self._string()
            if len(escape) != 1:
                raise SelectorError("ESCAPE needs one character", token.position)
        try:
            self._scans += scans_of(pattern, escape)
        except ValueError as error:
            raise SelectorError(str(error), token.position) from None
        if self._scans > MAX_SCANS:
            raise SelectorError(f"more than {MAX_SCANS} times '_' between letters behind a '%'", token.position)
        return Like(left, pattern, escape, is_negated)

    def _arithmetic(self, left: Node, first: Token) -> Node:
        operator = self._take().kind
        rank = _RANKS[operator]
        return Arithmetic(operator, _number(left, first, operator), self._right(rank + 1, operator))

    def _right(self, rank: int, operator: str) -> Node:
        """Take a number on the right of an operator."""
        first = self._token
        right = self._operand() if rank > _PRODUCT else self._expression(rank)
        return _number(right, first, operator)

    # Words

    def _take(self) -> Token:
        token = self._token
        if token.kind != END:
            self._next += 1
            self._token = self._tokens[self._next]
        return token

    def _accept(self, kind: str) -> bool:
        if self._token.kind != kind:
            return False
        self._take()
        return True

    def _expect(self, kind: str) -> None:
        if not self._accept(kind):
            raise self._unexpected(kind)

    def _string(self) -> str:
        if self._token.kind != STRING:
            raise self._unexpected("a string")
        return str(self._take().value)

    def _unexpected(self, wanted: str) -> SelectorError:
        return SelectorError(f"expected {wanted}, found {self._token}", self._token.position)


_OPERATORS: Final[dict[int, Callable[[_Parser, Node, Token], Node]]] = {
    _OR: _Parser._or,
    _AND: _Parser._and,
    _EQUALITY: _Parser._equality,
    _RELATION: _Parser._relation,
    _SUM: _Parser._arithmetic,
    _PRODUCT: _Parser._arithmetic,
}


def _condition(node: Node, first: Token) -> Node:
    if node.kind not in (CONDITION, ANY):
        raise SelectorError(f"expected a condition, and this is {node.kind}", first.position)
    return node


def _number(node: Node, first: Token, operator: str) -> Node:
    if node.kind not in (NUMERIC, ANY):
        raise SelectorError(f"{operator} needs numbers, and this is {node.kind}", first.position)
    return node
