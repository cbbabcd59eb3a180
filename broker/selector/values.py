"""What selectors do with values: arithmetic and comparisons that know NULL and never raise.

A value has exactly one of the types bool, int, float, str and None, no subclass of them. Numbers are compared exactly,
integers with floating numbers too. A boolean is no number here, which it is in Python.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from broker.selector.syntax import Value

_KINDS: Final[Mapping[type, int]] = {bool: 1, int: 2, float: 2, str: 3}

Operation: TypeAlias = Callable[[Any, Any], Any]

ORDERED: Final[Mapping[str, Operation]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def equal(left: Value, right: Value) -> bool | None:
    """Return whether two values of one kind are equal; FALSE for two kinds, UNKNOWN for NULL."""
    if left is None or right is None:
        return None
    return left == right and _KINDS[type(left)] == _KINDS[type(right)]


def unequal(left: Value, right: Value) -> bool | None:
    """Return whether two values of one kind differ; FALSE for two kinds, UNKNOWN for NULL."""
    if left is None or right is None:
        return None
    return left != right and _KINDS[type(left)] == _KINDS[type(right)]


def is_number(value: Value) -> bool:
    return type(value) is int or type(value) is float


def ordered(compare: Operation, left: Value, right: Value) -> bool | None:
    """Compare two numbers; FALSE for anything else, UNKNOWN for NULL."""
    if left is None or right is None:
        return None
    return is_number(left) and is_number(right) and bool(compare(left, right))


def conjunction(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return True if left and right else None


def disjunction(left: bool | None, right: bool | None) -> bool | None:
    if left or right:
        return True
    return False if left is False and right is False else None


def negation(value: bool | None) -> bool | None:
    return None if value is None else not value


def as_condition(value: Value) -> bool | None:
    """Return a value taken for a condition: FALSE when it is no boolean."""
    return None if value is None else value is True


def signed(value: Value, is_negative: bool) -> Value:
    """Return a number with its sign; NULL for anything else."""
    if type(value) is int or type(value) is float:
        return -value if is_negative else value
    return None


def _remainder(left: float, right: float) -> float:
    """Return the rest of a division, which has the sign of `left`."""
    if type(left) is int and type(right) is int:
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    return math.fmod(left, right)


_ARITHMETIC: Final[Mapping[str, Operation]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": _remainder,
}


def arithmetic(sign: str) -> Callable[[Value, Value], Value]:
    """Return one of the operations `+ - * / %`. It gives NULL for what is no number, and for what has no result."""
    operation = _ARITHMETIC[sign]

    def calculate(left: Value, right: Value) -> Value:
        if not is_number(left) or not is_number(right):
            return None
        try:
            result: int | float = operation(left, right)
        except (ArithmeticError, ValueError):  # a division by zero, an integer beyond what a float can be
            return None
        return result

    return calculate
