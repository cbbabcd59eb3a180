"""The paths of the console."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote

from broker.management.console.asking import Asker
from broker.management.console.sessions import Draft
from broker.management.http.call import MAX_BODY
from broker.management.http.node_view import ManagedNode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page, or one form that is sent."""

    ask: Asker
    node: ManagedNode
    names: Mapping[str, str]
    """What the places in the path stand for."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Of a form: its fields."""
    draft: Draft | None = None
    """Where definitions wait that were tried."""


Make: TypeAlias = Callable[[Visit], Awaitable[dict[str, Any]]]
"""Returns what a template shows."""
Do: TypeAlias = Callable[[Visit], Awaitable[tuple[str, str]]]
"""Does what a form asks for; returns what is said about it, and the path to go on at."""


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A page: a path, in which `{name}` stands for any name, and how it is made."""

    path: str
    template: str
    make: Make
    is_live: bool = False
    """Has it parts that change while somebody looks?"""


@dataclass(frozen=True, slots=True)
class ConsoleForm:
    """What is sent to a path."""

    path: str
    do: Do
    limit: int = MAX_BODY
    """Octets that it may have."""


class Paths:
    """Finds pages and forms."""

    def __init__(self, pages: Iterable[ConsolePage], forms: Iterable[ConsoleForm]) -> None:
        self._pages = [(_parts(page.path), page) for page in pages]
        self._forms = [(_parts(form.path), form) for form in forms]

    def page(self, path: str) -> tuple[ConsolePage, dict[str, str]] | None:
        """Return the page at a path, and the names in it."""
        return _match(self._pages, path)

    def form(self, path: str) -> tuple[ConsoleForm, dict[str, str]] | None:
        """Return what a form is sent to, and the names in the path."""
        return _match(self._forms, path)


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")


def _match(known: Sequence[tuple[list[str], T]], path: str) -> tuple[T, dict[str, str]] | None:
    asked = [unquote(part, errors="surrogateescape") for part in _parts(path)]
    for parts, found in known:
        if len(parts) == len(asked):
            pairs = list(zip(parts, asked, strict=True))
            if all(part == name or part.startswith("{") for part, name in pairs):
                return found, {part[1:-1]: name for part, name in pairs if part.startswith("{")}
    return None
