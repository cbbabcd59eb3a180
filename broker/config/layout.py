"""Which elements a place of a file may have, and where their values go: into a field of a model, or nowhere.

A layout is made once for each file, from the fields of its model and the table of accepted elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeGuard, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from broker.config.element_kinds import Accepted, Anything, Element, Obsolete
from broker.config.values import InHome, MayBeInFile, Place, Section, Unresolved, Verbatim

_NAMED = re.compile(r"(.+)\[(.+)\]")


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

    def __init__(self, model: type[Section], elements: Mapping[str, Element]) -> None:
        """`elements` are the accepted ones, by their path from here."""
        self.renamed = {name.lower(): new for name, new in model.renamed.items()}
        self.obsolete: dict[str, str] = {}
        self.found_anywhere = model.found_anywhere
        self.has_foreign_content = model.has_foreign_content
        self._old_names = list(model.renamed)
        below = _by_first_name(elements)
        self.entries = [
            _of_field(name, info, below.pop(str(info.validation_alias), {}))
            for name, info in model.model_fields.items()
        ]
        for name, rest in below.items():
            match rest.get(""):
                case Obsolete(why):
                    self.obsolete[name.lower()] = why
                case Anything():
                    self.has_foreign_content = True
                case Accepted() as accepted:
                    self.entries.append(_of_accepted(name, accepted))
                case _:
                    is_list = any(path.startswith(f"{name}*/") for path in elements)
                    self.entries.append(Entry("", name, None, below=Layout(Section, rest), is_list=is_list))
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


def _by_first_name(elements: Mapping[str, Element]) -> dict[str, dict[str, Element]]:
    """Group elements by the first name of their path, and then by the rest; a `*` that marks repetition is dropped."""
    groups: dict[str, dict[str, Element]] = {}
    for path, element in elements.items():
        name, _, rest = path.partition("/")
        groups.setdefault(name if name == "*" else name.removesuffix("*"), {})[rest] = element
    return groups


def _of_field(name: str, info: FieldInfo, elements: Mapping[str, Element]) -> Entry:
    alias, annotation = str(info.validation_alias), info.annotation
    is_list = get_origin(annotation) is tuple and _is_section(get_args(annotation)[0])
    model = get_args(annotation)[0] if is_list else annotation
    if _is_section(model):
        return Entry(name, alias, info.get_default(), below=Layout(model, elements), is_list=is_list)
    return _leaf(Entry(name, alias, info.get_default()), annotation, info.metadata)


def _of_accepted(alias: str, accepted: Accepted) -> Entry:
    kind, *marks = get_args(accepted.kind) if get_origin(accepted.kind) is Annotated else (accepted.kind,)
    return _leaf(Entry("", alias, accepted.default, accepted=accepted), kind, marks)


def _leaf(entry: Entry, kind: Any, marks: Sequence[Any]) -> Entry:
    """Return the entry with the settings that the type of its value gives for reading the text."""
    is_secret = kind is SecretStr
    return replace(
        entry,
        is_secret=is_secret,
        may_be_in_file=is_secret or any(isinstance(mark, MayBeInFile) for mark in marks),
        is_verbatim=any(isinstance(mark, Verbatim) for mark in marks),
        is_in_home=any(isinstance(mark, InHome) for mark in marks),
        unresolved=next((mark.value for mark in marks if isinstance(mark, Unresolved)), ""),
    )


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)
