"""What an element without effect is, as the table of `accepted` lists them, and what a file has for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Accepted:
    """An element without effect: the type that validates its text, and its value when it is empty or missing.

    `shipped` are further values that WSO2's files have as they come, so nobody chose them. An element that does not ask
    for anything (`asks`) only describes something, to people or to Java.
    """

    kind: Any
    default: Any
    why: str
    shipped: tuple[Any, ...] = ()
    asks: bool = True


@dataclass(frozen=True, slots=True)
class Obsolete:
    """An element of an older version: its content is not validated, and a warning says why it has no effect."""

    why: str


class Anything:
    """Marks an element that also configures parts of WSO2's platform; see `Section.has_foreign_content`."""


ANYTHING: Final = Anything()

Element = Accepted | Obsolete | Anything


@dataclass(frozen=True, slots=True)
class Given:
    """The content of an accepted element in a file."""

    value: Any = field(repr=False)
    why: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on the values of two accepted elements of a file, and the error reported at the first of them."""

    element: str
    other: str
    holds: Callable[[Any, Any], bool]
    complaint: str
