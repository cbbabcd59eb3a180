"""Which element of a file fills which field of a model.

Derived once per model from its field declarations. Knows models and names; reads no element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeGuard, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from broker.config.values import MayBeInFile, Section, Verbatim

_NAMED = re.compile(r"(.+)\[(.+)\]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a model: its name in the file and how its element is read.

    `section` is the model of a nested element, `is_list` says that there may be several of them; `selector` is the
    name attribute an element must carry (`*`: any; all of them fill one mapping).
    """

    field: str
    alias: str
    default: Any
    element: str
    selector: str = ""
    section: type[Section] | None = None
    is_list: bool = False
    is_secret: bool = False
    may_be_in_file: bool = False
    is_verbatim: bool = False

    @property
    def is_mapping(self) -> bool:
        return self.selector == "*"


class Layout:
    """All fields of one model, found by the names in the file; the case of a name does not matter."""

    def __init__(self, model: type[Section]) -> None:
        self.entries = [_entry(name, info) for name, info in model.model_fields.items()]
        self._by_name: dict[tuple[str, str], Entry] = {}
        for entry in self.entries:
            self._by_name[entry.element.lower(), entry.selector.lower()] = entry

    def attribute(self, name: str) -> Entry | None:
        return self._by_name.get(("@" + name.lower(), ""))

    def element(self, name: str, selector: str = "") -> Entry | None:
        """Return the field of an element called `name` whose name attribute is `selector`."""
        for key in (selector.lower(), "*", ""):
            if entry := self._by_name.get((name.lower(), key)):
                return entry
        return None

    def attribute_names(self) -> list[str]:
        return [entry.element[1:] for entry in self.entries if entry.element.startswith("@")]

    def element_names(self) -> list[str]:
        return [entry.element for entry in self.entries if not entry.element.startswith("@") and not entry.selector]

    def selectors(self, name: str) -> list[str]:
        """Return the name attributes known for elements called `name`."""
        return [entry.selector for entry in self.entries if entry.element.lower() == name.lower() and entry.selector]

    def sections(self) -> Iterator[tuple[Entry, type[Section]]]:
        for entry in self.entries:
            if entry.section:
                yield entry, entry.section


@cache
def layout_of(model: type[Section]) -> Layout:
    return Layout(model)


def _entry(name: str, info: FieldInfo) -> Entry:
    alias = str(info.validation_alias)
    named = _NAMED.fullmatch(alias)
    annotation = info.annotation
    is_list = get_origin(annotation) is tuple and _is_section(get_args(annotation)[0])
    model = get_args(annotation)[0] if is_list else annotation
    section: type[Section] | None = model if _is_section(model) else None
    return Entry(
        field=name,
        alias=alias,
        default=info.get_default(),
        element=named[1] if named else alias,
        selector=named[2] if named else "",
        section=section,
        is_list=is_list,
        is_secret=annotation is SecretStr,
        may_be_in_file=annotation is SecretStr or any(isinstance(mark, MayBeInFile) for mark in info.metadata),
        is_verbatim=any(isinstance(mark, Verbatim) for mark in info.metadata),
    )


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)
