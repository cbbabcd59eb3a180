"""What a selector is made of: a tree of conditions and values, before it is compiled.

A node says what kind its value has: a condition, a number, a string, or ANY when only the message tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

Value: TypeAlias = bool | int | float | str | None
"""A value of a message or constant; None is NULL and, of a condition, UNKNOWN."""

CONDITION: Final = "a condition"
NUMERIC: Final = "a number"
TEXTUAL: Final = "a string"
ANY: Final = "any value"


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: Value

    @property
    def kind(self) -> str:
        return {bool: CONDITION, int: NUMERIC, float: NUMERIC, str: TEXTUAL}.get(type(self.value), ANY)

    @property
    def parts(self) -> tuple[Node, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Identifier:
    """A value of the message."""

    name: str
    kind: ClassVar = ANY

    @property
    def parts(self) -> tuple[Node, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Signed:
    """A number with a sign before it."""

    operand: Node
    is_negative: bool
    kind: ClassVar = NUMERIC

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two numbers and one of `+ - * / %`."""

    operator: str
    left: Node
    right: Node
    kind: ClassVar = NUMERIC

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class Compare:
    """Two values and one of `= <> < <= > >=`."""

    operator: str
    left: Node
    right: Node
    kind: ClassVar = CONDITION

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class Between:
    """`operand [NOT] BETWEEN low AND high`."""

    operand: Node
    low: Node
    high: Node
    is_negated: bool
    kind: ClassVar = CONDITION

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.operand, self.low, self.high)


@dataclass(frozen=True, slots=True)
class In:
    """`operand [NOT] IN (strings)`."""

    operand: Node
    strings: frozenset[str]
    is_negated: bool
    kind: ClassVar = CONDITION

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Like:
    """`operand [NOT] LIKE pattern [ESCAPE escape]`; `escape` is empty when there is none."""

    operand: Node
    pattern: str
    escape: str
    is_negated: bool
    kind: ClassVar = CONDITION

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class IsNull:
    """`operand IS [NOT] NULL`."""

    operand: Node
    is_negated: bool
    kind: ClassVar = CONDITION

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT operand`."""

    operand: Node
    kind: ClassVar = CONDITION

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class And:
    """Terms that must all be true. A single one is a term that is taken for a condition."""

    terms: tuple[Node, ...]
    kind: ClassVar = CONDITION

    @property
    def parts(self) -> tuple[Node, ...]:
        return self.terms


@dataclass(frozen=True, slots=True)
class Or:
    """Terms of which one must be true."""

    terms: tuple[Node, ...]
    kind: ClassVar = CONDITION

    @property
    def parts(self) -> tuple[Node, ...]:
        return self.terms


Node: TypeAlias = Literal | Identifier | Signed | Arithmetic | Compare | Between | In | Like | IsNull | Not | And | Or


def measure(root: Node) -> tuple[int, int]:
    """Return how many nodes the tree has, and on how many levels. Each `%` of a pattern counts as a node."""
    nodes, levels = 0, 0
    row: list[Node] = [root]
    while row:
        nodes += len(row) + sum(node.pattern.count("%") for node in row if isinstance(node, Like))
        levels += 1
        row = [part for node in row for part in node.parts]
    return nodes, levels
