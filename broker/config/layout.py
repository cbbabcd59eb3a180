"""Which elements a place of a file may have, and where their values go: into a field of a model, or nowhere.

A layout is made once for each file, by `model_layout`. Must not import pydantic: see `place`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.config.element_kinds import Accepted
from broker.config.place import Place

_NAMED: Final = re.compile(r"(.+)\[(.+)\]")
_NONE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """One element: its name in the file and how it is read.

    `field` is the name in the model, empty for an element that is only accepted. `below` is the layout of the nested
    elements; with `is_list` the element may be repeated.
    """

    field: str
    alias: str
    default: Any
    below: Layout | None = None
    accepted: Accepted | None = None
    is_list: bool = False
    is_secret: bool = False
    may_be_in_file: bool = False
    is_verbatim: bool = False
    is_in_home: bool = False
    unresolved: str = ""

    @property
    def element(self) -> str:
        """The name of the element."""
        named = _NAMED.fullmatch(self.alias)
        return named[1] if named else self.alias

    @property
    def selector(self) -> str:
        """The value that the `name` attribute must have. `*` means any, `*SQL*` any with that in it; all such elements
        fill one mapping.
        """
        named = _NAMED.fullmatch(self.alias)
        return named[2] if named else ""

    @property
    def is_mapping(self) -> bool:
        return self.selector.startswith("*")


class Layout:
    """All elements that one place may have, by their names in the file; the case of a name does not matter."""

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        renamed: Mapping[str, str] = _NONE,
        obsolete: Mapping[str, str] = _NONE,
        found_anywhere: Mapping[str, str] = _NONE,
        has_foreign_content: bool = False,
        is_part: bool = False,
    ) -> None:
        """`renamed` are old names with their new ones, `obsolete` those without effect with the reason; the next two
        are as of a `Section`. Of a part of a layout nothing is known about what it does not have.
        """
        self.entries = list(entries)
        self.renamed = {name.lower(): new for name, new in renamed.items()}
        self.obsolete = {name.lower(): why for name, why in obsolete.items()}
        self.found_anywhere = found_anywhere
        self.has_foreign_content = has_foreign_content or is_part
        self.is_part = is_part
        self._old_names = list(renamed)
        self._by_name = {(entry.element.lower(), entry.selector.lower()): entry for entry in self.entries}
        self._patterns: dict[str, list[str]] = {}
        for element, selector in self._by_name:
            if selector.startswith("*") and selector != "*":
                self._patterns.setdefault(element, []).append(selector)

    def attribute(self, name: str) -> Entry | None:
        return self._by_name.get(("@" + name.lower(), ""))

    def element(self, name: str, selector: str = "") -> Entry | None:
        """Return the element called `name` whose name attribute is `selector`."""
        within = (pattern for pattern in self._patterns.get(name.lower(), ()) if pattern.strip("*") in selector.lower())
        for key in (selector.lower(), *within, "*", ""):
            if entry := self._by_name.get((name.lower(), key)):
                return entry
        return None

    def attribute_names(self) -> list[str]:
        return [entry.element[1:] for entry in self.entries if entry.element.startswith("@")]

    def element_names(self) -> list[str]:
        """Return the names of the elements that may stand here, including old names."""
        names = [entry.element for entry in self.entries if not entry.element.startswith("@") and not entry.selector]
        return names + self._old_names

    def selectors(self, name: str) -> list[str]:
        """Return the name attributes known for elements called `name`."""
        return [entry.selector for entry in self.entries if entry.element.lower() == name.lower() and entry.selector]

    def default(self, place: Place) -> Any:
        """Return the default of the element at `place`, a path from here. Raises KeyError."""
        alias, *rest = (part for part in place if isinstance(part, str))
        entry = {entry.alias: entry for entry in self.entries}[alias]
        return entry.below.default(tuple(rest)) if entry.below else entry.default

    def sections(self) -> Iterator[tuple[Entry, Layout]]:
        for entry in self.entries:
            if entry.below:
                yield entry, entry.below
