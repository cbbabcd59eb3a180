"""Turns the elements of one file into the values of one model, and remembers where each value came from.

It reports unknown, repeated, empty and renamed elements, and adds file, line and element to errors. `judging` has the
values validated. Must not import pydantic: see `place`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.config.element_kinds import Given
from broker.config.home import found_in_home
from broker.config.layout import Entry, Layout
from broker.config.place import Place, did_you_mean, one_line
from broker.config.secure_vault import SecureVault, alias_in
from broker.config.substitution import secret_from_file, substitute
from broker.config.xml_reader import XmlElement
from broker.errors import ConfigError

MAX_WARNINGS = 50


def spell(path: Place) -> str:
    """Return a place in a file as text: `coordination/thriftServerPort`."""
    return "/".join(str(part) for part in path if isinstance(part, str))


def origin_key(file: str, path: Place) -> str:
    """Return the key under which a `Configuration` keeps where the value at `path` came from."""
    return f"{file}:{'/'.join(map(str, path))}"


@dataclass(slots=True)
class Reading:
    """The state of reading one file: the origins of its values, its errors and its warnings."""

    label: str
    folder: Path
    environ: Mapping[str, str]
    vault: SecureVault
    origins: dict[Place, str] = field(default_factory=dict)
    accepted: dict[Place, Given] = field(default_factory=dict)
    warnings: list[tuple[int, str]] = field(default_factory=list)
    errors: list[tuple[int, str]] = field(default_factory=list)
    lines: dict[Place, int] = field(default_factory=dict)

    def note(self, path: Place, line: int) -> None:
        self.lines.setdefault(path, line)
        self.origins.setdefault(path, f"{self.label}:{line}")

    def warn(self, line: int, text: str) -> None:
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append((line, one_line(f"{self.label}:{line}: {text}")))
        elif len(self.warnings) == MAX_WARNINGS:
            self.warnings.append((line, f"{self.label}:{line}: further warnings about this file are left out"))

    def refuse(self, path: Place, text: str) -> None:
        """Report a wrong value, with the origin of `path` or of the nearest enclosing element that has one."""
        for length in range(len(path), -1, -1):
            known = path[:length]
            if known in self.lines:
                line = self.lines[known]
                self.errors.append((line, one_line(f"{self.label}:{line}: {spell(path)}: {text}")))
                return
            if known in self.origins:
                self.errors.append((0, one_line(f"{self.origins[known]}: {text}")))
                return
        self.errors.append((0, one_line(f"{self.label}: {spell(path)}: {text}")))


def bind(layout: Layout, node: XmlElement, reading: Reading, path: Place = (), home: str = "") -> dict[str, Any]:
    """Return the raw values that `node` gives to the entries of `layout`, by their aliases.

    `home` names the element in messages when it is the root, whose name is not part of `path`.
    """
    raw: dict[str, Any] = {}
    reading.note(path, node.line)
    place = spell(path) or home
    for name, text in node.attributes.items():
        entry = layout.attribute(name)
        if entry:
            _leaf(entry, text, None, node.line, raw, reading, path)
        elif not layout.has_foreign_content and name.lower() != "name":
            reading.warn(node.line, _unknown("attribute", name, place, layout.attribute_names()))
    replaced: list[tuple[Entry, Entry, XmlElement]] = []
    for child in node.children:
        if new := layout.renamed.get(child.name.lower()):
            reading.warn(child.line, f"element '{child.name}' in {place} is deprecated; use '{new}'")
            if entry := layout.element(new):
                # An old element in another unit has a field of its own.
                replaced.append((entry, layout.element(child.name) or entry, child))
        elif reason := layout.obsolete.get(child.name.lower()):
            reading.warn(child.line, f"element '{child.name}' in {place} has no effect: {reason}")
        elif entry := layout.element(child.name, _selector(child)):
            _child(entry, child, raw, reading, path, home)
        elif not layout.is_part:
            _unknown_child(layout, child, reading, place)
    for successor, entry, child in replaced:
        if successor.alias not in raw:
            _child(entry, child, raw, reading, path, home)
    return raw


def override(raw: dict[str, Any], path: Place, variable: str, reading: Reading) -> None:
    """Replace the value of the file by that of the environment variable, if this is set and not empty."""
    value = reading.environ.get(variable, "")
    if not value:
        return
    for name in path[:-1]:
        raw = raw.setdefault(str(name), {})
    raw[str(path[-1])] = value
    reading.lines.pop(path, None)
    reading.origins[path] = f"environment variable {variable}"


def place_roots(layout: Layout, root_name: str, roots: list[XmlElement], label: str) -> XmlElement:
    """Return the root of the whole file: the document's own, or a new one that holds fragments in their places."""
    if len(roots) == 1 and roots[0].name.lower() == root_name.lower():
        root = roots[0]
    else:
        root = XmlElement(root_name, roots[0].line if roots else 1)
        for fragment in roots:
            parents = _parents_of(fragment, layout)
            if parents is None:
                raise ConfigError(
                    f"{label}:{fragment.line}: '{fragment.name}' is neither the root element '{root_name}' "
                    "nor an element that belongs below it"
                )
            _graft(root, parents, fragment)
    return root


def adopt(layout: Layout, root: XmlElement, reading: Reading) -> None:
    """Move each element that may stand anywhere into the element it belongs in, unless one is there already."""
    for name, home in layout.found_anywhere.items():
        parents = [child for child in root.children if child.name.lower() == home.lower()]
        found = any(child.name.lower() == name.lower() for parent in parents for child in parent.children)
        for parent, stray in list(_strays(root, name.lower(), parents)):
            parent.children.remove(stray)
            if found:
                reading.warn(stray.line, f"element '{stray.name}' in {parent.name} is ignored: {home} has one")
            else:
                _graft(root, (home,), stray)
                found = True


def _strays(node: XmlElement, name: str, homes: list[XmlElement]) -> list[tuple[XmlElement, XmlElement]]:
    found = []
    waiting = [node]
    while waiting:
        parent = waiting.pop(0)
        for child in parent.children:
            if child.name.lower() == name and not any(parent is home for home in homes):
                found.append((parent, child))
            else:
                waiting.append(child)
    return found


def _graft(root: XmlElement, parents: tuple[str, ...], node: XmlElement) -> None:
    for name in parents:
        existing = next((child for child in root.children if child.name.lower() == name.lower()), None)
        if existing is None:
            existing = XmlElement(name, node.line)
            root.children.append(existing)
        root = existing
    root.children.append(node)


def _parents_of(node: XmlElement, layout: Layout) -> tuple[str, ...] | None:
    """Return the names of the parents of the outermost matching element: the search is breadth first."""
    waiting: list[tuple[tuple[str, ...], Layout]] = [((), layout)]
    while waiting:
        parents, place = waiting.pop(0)
        if place.element(node.name, _selector(node)) or node.name.lower() in {**place.renamed, **place.obsolete}:
            return parents
        waiting += [((*parents, entry.element), below) for entry, below in place.sections()]
    return None


def _child(entry: Entry, child: XmlElement, raw: dict[str, Any], reading: Reading, path: Place, home: str) -> None:
    here = (*path, entry.alias)
    if entry.is_mapping:
        values = raw.setdefault(entry.alias, {})
        _mapping(entry, child, values, reading, here)
    elif entry.below and entry.is_list:
        items = raw.setdefault(entry.alias, [])
        items.append(bind(entry.below, child, reading, (*here, len(items)), home))
    elif entry.alias in raw:
        reading.warn(child.line, f"element '{child.name}' in {spell(path) or home} appears again; the first one counts")
    elif entry.below:
        raw[entry.alias] = bind(entry.below, child, reading, here, home)
    else:
        _leaf(entry, child.text, child, child.line, raw, reading, path)


def _mapping(entry: Entry, child: XmlElement, values: dict[str, str], reading: Reading, path: Place) -> None:
    name = _selector(child)
    given = next((text for key, text in child.attributes.items() if key.lower() == "value"), child.text).strip()
    if not name:
        reading.warn(child.line, f"element '{child.name}' in {spell(path[:-1])} has no name and is ignored")
        return
    reading.note((*path, name), child.line)
    text = _text(given, child, entry, reading, (*path, name))
    if text is not None:
        values.setdefault(name, text)


def _leaf(
    entry: Entry, text: str, child: XmlElement | None, line: int, raw: dict[str, Any], reading: Reading, path: Place
) -> None:
    here = (*path, entry.alias)
    reading.note(here, line)
    value = _text(text.strip(), child, entry, reading, here)
    if child:
        for inner in child.children:
            reading.warn(inner.line, _unknown("element", inner.name, spell(here), []))
    if value is None:
        return
    if value or entry.is_secret or entry.default in ("", ()):
        raw[entry.alias] = value
    else:
        reading.warn(line, f"{spell(here)} is empty; the default '{entry.default}' applies")
        del reading.origins[here], reading.lines[here]


def _text(text: str, child: XmlElement | None, entry: Entry, reading: Reading, path: Place) -> str | None:
    """Return the text with placeholders and secrets replaced, or None after reporting why that failed."""
    alias = child.attributes.get("secretAlias") if child else None
    if alias is None and entry.may_be_in_file:
        alias = alias_in(text)
    if alias is not None and entry.accepted:
        return None  # nobody uses the secret, so nothing has to be there to open it
    try:
        if alias is not None:
            return reading.vault.secret(alias)
        if entry.is_verbatim:
            return text
        text = substitute(text, reading.environ, is_secret=entry.may_be_in_file)
        if entry.may_be_in_file and text.startswith("file:"):
            text, warning = secret_from_file(text, reading.folder)
            if warning:
                reading.warn(reading.lines[path], f"{spell(path)}: {warning}")
        if entry.is_in_home:
            text = found_in_home(text, reading.folder, reading.environ)
    except ValueError as error:
        if entry.unresolved:
            reading.warn(reading.lines[path], f"{spell(path)}: {error}; '{entry.unresolved}' is taken")
            return entry.unresolved
        reading.refuse(path, str(error))
        return None
    return text


def _selector(node: XmlElement) -> str:
    return next((value for key, value in node.attributes.items() if key.lower() == "name"), "")


def _unknown_child(layout: Layout, child: XmlElement, reading: Reading, place: str) -> None:
    if len(reading.warnings) > MAX_WARNINGS:
        return
    selector = _selector(child)
    selectors = layout.selectors(child.name)
    if selectors:
        text = _unknown(child.name, selector, place, selectors)
    else:
        text = _unknown("element", child.name, place, layout.element_names())
    if not layout.has_foreign_content or "did you mean" in text:
        reading.warn(child.line, text)


def _unknown(kind: str, name: str, place: str, known: list[str]) -> str:
    return f"unknown {kind} '{name}' in {place}{did_you_mean(name, known)}"
