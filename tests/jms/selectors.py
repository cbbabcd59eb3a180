"""Selectors and messages for a comparison with the library of Qpid's client: the same ones each time.

Knows the grammar of JMS 1.1, section 3.8.1; must not know what the answers are. `answers.json` beside this holds those
of the library, so that they can be compared without Java.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from broker.selector.message_view import MessageView
from broker.selector.selector import Selector
from broker.selector.tokens import SelectorError
from tests.support.selector_messages import view

Value = bool | int | float | str

ANSWERS: Final = Path(__file__).with_name("answers.json")
_COMPLETE: Final[Sequence[Mapping[str, Value]]] = tuple(
    dict(zip(("i", "j", "f", "s", "t", "b", "c", "JMSType", "JMSCorrelationID", "JMSPriority"), values, strict=True))
    for values in (
        (1, 2, 0.5, "abc", "abd", True, False, "order", "c1", 4),
        (2, 2, 2.0, "", "a", False, False, "abc", "", 9),
        (-3, 1, -1.5, "a%c", "A", True, True, "red", "red", 1),
        (5, -7, 5.0, "it's", "it's", True, False, "5", "abc", 5),
        (1 << 40, 10, 1e10, "a_c", "red", False, True, "a_c", "it's", 4),
        (-1, -1, -0.25, "5", "5", False, True, "true", "c", 3),
    )
)
"""Messages that have everything that selectors name, of one type each."""
_INCOMPLETE: Final[Sequence[Mapping[str, Value]]] = (
    {},
    {"i": 1, "s": "abc", "b": True},
    {"j": -7, "f": 2.5, "t": "red", "JMSType": "a%c"},
    {"s": "", "t": "5", "c": False, "JMSCorrelationID": "c1"},
)
MESSAGES: Final = (*_COMPLETE, *_INCOMPLETE)
SELECTORS: Final = 400
PREDICATES: Final = 150
"""Single conditions, in front of those: these are asked of the incomplete messages, too."""
_NUMBERS: Final = ("i", "j", "f", "JMSPriority", "1", "2", "5", "2.0", "0.5", "-3", "1E1", "3L")
_STRINGS: Final = ("s", "t", "JMSType", "JMSCorrelationID", "'abc'", "'red'", "''", "'it''s'", "'5'")
_NAMES: Final = ("s", "t", "JMSType", "JMSCorrelationID")
_PATTERNS: Final = ("'a%'", "'%c'", "'a_c'", "'%'", "'_'", "'a!%c' ESCAPE '!'", "'a!_c' ESCAPE '!'", "'abc'", "'%t''s'")
_LISTS: Final = ("('abc')", "('red', 'blue')", "('', 'A', 'it''s')", "('5')")


class SelectorGenerator:
    """Makes conditions that mean in Qpid's library what JMS says: without what `DEVIATIONS` shows."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def condition(self, depth: int) -> str:
        """Return a condition, nested as deep as that."""
        if depth <= 0:
            return self._dice.choice((self.predicate, self._equality, self._text, self._boolean))()
        if self._dice.randrange(4) == 0:
            return f"NOT ({self.condition(depth - 1)})"
        left, right = self.condition(depth - 1), self.condition(depth - 1)
        return f"({left}) {self._dice.choice(('AND', 'OR'))} ({right})"

    def predicate(self) -> str:
        """Return a single condition, other than one of equality."""
        return self._dice.choice((self._order, self._between, self._like, self._in, self._null))()

    def _number(self, depth: int = 2) -> str:
        if depth and self._dice.random() < 0.3:
            operator = self._dice.choice("+-*/")
            return f"({self._number(depth - 1)} {operator} {self._number(0 if operator == '/' else depth - 1)})"
        return self._dice.choice(_NUMBERS)

    def _order(self) -> str:
        return f"{self._number()} {self._dice.choice(('<', '<=', '>', '>='))} {self._number()}"

    def _equality(self) -> str:
        return f"{self._number()} {self._dice.choice(('=', '<>'))} {self._number()}"

    def _text(self) -> str:
        return f"{self._dice.choice(_STRINGS)} {self._dice.choice(('=', '<>'))} {self._dice.choice(_STRINGS)}"

    def _between(self) -> str:
        return f"{self._number()} {self._maybe_not()}BETWEEN {self._number(0)} AND {self._number(0)}"

    def _like(self) -> str:
        return f"{self._dice.choice(_NAMES)} {self._maybe_not()}LIKE {self._dice.choice(_PATTERNS)}"

    def _in(self) -> str:
        return f"{self._dice.choice(_NAMES)} {self._maybe_not()}IN {self._dice.choice(_LISTS)}"

    def _null(self) -> str:
        return f"{self._dice.choice((*_NAMES, 'i', 'b', 'gone'))} IS {self._maybe_not()}NULL"

    def _boolean(self) -> str:
        name, literal = self._dice.choice("bc"), self._dice.choice(("TRUE", "FALSE"))
        return self._dice.choice((name, f"{name} = {literal}", f"{name} <> {literal}"))

    def _maybe_not(self) -> str:
        return self._dice.choice(("", "NOT "))


DEVIATIONS: Final[Mapping[str, str]] = {
    "s <> 'x' AND i IS NULL": "nothing is different from everything: 3.8.1.2 of JMS says unknown",
    "gone = JMSType AND i IS NULL": "nothing equals nothing",
    "NOT (gone > 1 AND i = 99)": "unknown AND false is unknown: table 3-4 of JMS says false",
    "(i - i) * -0.5 < 0": "0 times a negative number is below 0",
    "i / 0 > 1": "a number divided by 0 is infinite",
}
"""Where Qpid's library does not do what JMS says, or JMS says nothing, and why. Ours differs there."""


def selectors() -> list[str]:
    """Return the selectors, all different; single predicates come first, those of `DEVIATIONS` last."""
    generator, found = SelectorGenerator(1), dict[str, None]()
    while len(found) < PREDICATES:
        found[generator.predicate()] = None
    while len(found) < SELECTORS:
        found[generator.condition(len(found) % 4)] = None
    return [*found, *DEVIATIONS]


def comparable(number: int) -> int:
    """Return how many messages, from the first, the selector with this number is to be compared by."""
    return len(MESSAGES) if number < PREDICATES else len(_COMPLETE)


def answer(selector: str) -> str:
    """Return what this broker lets pass: 1 or 0 for each message, or `refused`."""
    try:
        compiled = Selector(selector)
    except SelectorError:
        return "refused"
    return "".join("01"[compiled.matches(_seen(message))] for message in MESSAGES)


def question() -> str:
    """Return the messages and selectors as the program SelectorJudge reads them."""
    lines = []
    for message in MESSAGES:
        lines += [f"{name}\t{_type(value)}\t{json.dumps(value).strip(chr(34))}" for name, value in message.items()]
        lines.append("")
    return "\n".join([*lines, "---", *selectors()]) + "\n"


def _type(value: Value) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return "int" if -(1 << 31) <= value < 1 << 31 else "long"
    return {bool: "bool", float: "double", str: "text"}[type(value)]


_PROPERTIES: Final = {"JMSType": "type", "JMSPriority": "priority", "JMSCorrelationID": "correlation_id"}


def _seen(message: Mapping[str, Value]) -> MessageView:
    properties: dict[str, Any] = {_PROPERTIES[name]: value for name, value in message.items() if name in _PROPERTIES}
    return view({name: value for name, value in message.items() if name not in _PROPERTIES}, **properties)


def differences(answers: Sequence[str]) -> list[str]:
    """Return a line for each selector that lets others pass than the library does, whose `answers` these are."""
    found = []
    for number, (selector, theirs) in enumerate(zip(selectors(), answers, strict=True)):
        ours, count = answer(selector), comparable(number)
        if selector in DEVIATIONS:
            if ours == theirs:
                found.append(f"{selector}: does not differ")
        elif ours[:count] != theirs[:count]:
            found.append(f"{selector}: Qpid {theirs[:count]}, here {ours[:count]}")
    return found


def recorded() -> list[str]:
    """Return the library's answers as they were recorded."""
    found: dict[str, str] = json.loads(ANSWERS.read_text())
    return [found[selector] for selector in selectors()]


def record(answers: Sequence[str]) -> None:
    """Keep the library's answers."""
    ANSWERS.write_text(json.dumps(dict(zip(selectors(), answers, strict=True)), indent=0) + "\n")
