"""Turns WSO2's configuration files into ones that hold only what this broker heeds, under the names of today.

Texts stay as they are: placeholders and aliases of secrets are not resolved. Relative places of files become absolute,
because the new files lie elsewhere. What is left out is listed with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from broker.config import properties, xml_reader
from broker.config.binding import Reading, adopt, place_roots
from broker.config.files import LOG4J, ConfigFile
from broker.config.home import found_in_home
from broker.config.layout import Entry, Layout
from broker.config.loading import files_of
from broker.config.secure_vault import SecureVault, alias_in
from broker.config.xml_reader import XmlElement

_ALIAS: Final = "secretAlias"
_VAULT: Final = "http://org.wso2.securevault/configuration"
_IN_FILE: Final = re.compile(r"file:(?://(?=/))?(.+)")


@dataclass(slots=True)
class Converted:
    """The new files by their names below the new folder, and a line for each element that they have no more."""

    folder: Path
    """The folder of the old ones."""
    files: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    aliases: set[str] = field(default_factory=set)
    """The secrets of WSO2's vault that they name."""


def convert(path: Path, environ: Mapping[str, str]) -> Converted:
    """Return what the configuration at `path`, which `load` takes, becomes. Raises `ConfigError`."""
    found = files_of(path)
    converted = Converted(found[0][1].parent)
    for file, place in found:
        conversion = _Conversion(place, environ, converted)
        text = conversion.properties(file) if not file.root else conversion.xml(file)
        if text:
            converted.files[file.name] = text
    levels = converted.folder / LOG4J
    if levels.is_file():
        converted.files[LOG4J] = levels.read_bytes().decode("iso-8859-1")
    return converted


class _Conversion:
    """That of one file."""

    def __init__(self, path: Path, environ: Mapping[str, str], converted: Converted) -> None:
        self._path = path
        self._environ = environ
        self._converted = converted

    def xml(self, file: ConfigFile) -> str:
        """Return the new text of an XML file; empty when nothing of it has an effect."""
        label = str(self._path)
        roots = xml_reader.parse(xml_reader.read_bytes(self._path, label), label)
        root = place_roots(file.layout, file.root, roots, label)
        adopt(file.layout, root, Reading(label, self._path.parent, self._environ, SecureVault(Path(), {})))
        kept = self._kept(file.layout, root, file.root, file.root)
        if not (kept.attributes or kept.children):
            return ""
        if any(_ALIAS in each.attributes for each in _all(kept)):
            kept.attributes["xmlns:svns"] = _VAULT
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + "\n".join(_lines(kept, "")) + "\n"

    def properties(self, file: ConfigFile) -> str:
        """Return the new text of a properties file."""
        lines = []
        for each in properties.parse(xml_reader.read_bytes(self._path, str(self._path)), str(self._path)):
            entry = file.layout.element(each.key)
            if entry is not None and entry.field:
                lines.append(f"{entry.element}={each.value}\n")
            else:
                self._leave_out(each.line, each.key, _why(entry))
        return "".join(lines)

    def _kept(self, layout: Layout, node: XmlElement, name: str, place: str) -> XmlElement:
        """Return an element with only those attributes and elements that have an effect."""
        kept = XmlElement(name, node.line)
        for given, value in node.attributes.items():
            entry = layout.attribute(given)
            if entry is not None and entry.field:
                kept.attributes[entry.element[1:]] = self._text(entry, value)
            elif given.lower() not in ("name", _ALIAS.lower()) and not (entry is None and layout.has_foreign_content):
                self._leave_out(node.line, f"{place}/@{given}", _why(entry))
        seen: set[str] = set()
        for child in sorted(node.children, key=lambda each: each.name.lower() in layout.renamed):  # today's names win
            self._keep(layout, child, place, kept, seen)
        kept.children.sort(key=lambda each: each.line)
        return kept

    def _keep(self, layout: Layout, child: XmlElement, place: str, kept: XmlElement, seen: set[str]) -> None:
        selector = next((value for key, value in child.attributes.items() if key.lower() == "name"), "")
        here = f"{place}/{child.name}" + (f"[{selector}]" if selector else "")
        why = layout.obsolete.get(child.name.lower())
        entry = None if why else self._entry(layout, child, selector)
        if entry is None or not (entry.field or entry.below):
            if why or entry is not None or not layout.has_foreign_content:
                self._leave_out(child.line, here, why or _why(entry))
            return
        key = f"{entry.alias}={selector}" if entry.is_mapping else self._target(layout, child, entry)
        if key in seen and not entry.is_list:
            self._leave_out(child.line, here, "there is another one, which counts")
            return
        seen.add(key)
        if entry.below is not None:
            new = self._kept(entry.below, child, entry.element, here)
            if not (new.attributes or new.children):
                return
        else:
            new = XmlElement(entry.element, child.line, text=self._text(entry, child.text.strip()))
            alias = next((value for name, value in child.attributes.items() if name == _ALIAS), "")
            given = next((value for name, value in child.attributes.items() if name.lower() == "value"), "")
            if entry.is_mapping and given:
                new.text = self._text(entry, given)
            if not (new.text or alias or entry.is_secret or entry.default in ("", ())):
                self._leave_out(child.line, here, "it is empty")
                return
            if alias:
                new.attributes[_ALIAS] = alias
            elif entry.may_be_in_file:
                alias = alias_in(new.text) or ""
            self._converted.aliases |= {alias} - {""}
        if selector:
            new.attributes = {"name": selector, **new.attributes}
        kept.children.append(new)

    @staticmethod
    def _entry(layout: Layout, child: XmlElement, selector: str) -> Entry | None:
        renamed = layout.renamed.get(child.name.lower())
        if renamed is None:
            return layout.element(child.name, selector)
        # An old element in another unit has a field of its own, and keeps its name.
        return layout.element(child.name) or layout.element(renamed)

    @staticmethod
    def _target(layout: Layout, child: XmlElement, entry: Entry) -> str:
        """Return the alias of the element that counts: an old name in another unit stands for it, too."""
        renamed = layout.renamed.get(child.name.lower())
        successor = layout.element(renamed) if renamed else None
        return (successor or entry).alias

    def _text(self, entry: Entry, text: str) -> str:
        """Return a text with relative places of files made absolute."""
        if entry.is_in_home and "${" not in text:
            found = found_in_home(text, self._path.parent, self._environ)
            return str(Path(found).absolute()) if Path(found).is_file() else text
        if entry.may_be_in_file and (named := _IN_FILE.fullmatch(text)) and "${" not in text:
            return f"file:{(self._path.parent / named[1]).absolute()}"
        return text

    def _leave_out(self, line: int, place: str, why: str) -> None:
        self._converted.left_out.append(f"{self._path}:{line}: {place}: {why}")


def _why(entry: Entry | None) -> str:
    return entry.accepted.why if entry is not None and entry.accepted is not None else "this broker does not know it"


def _all(node: XmlElement) -> Iterator[XmlElement]:
    yield node
    for child in node.children:
        yield from _all(child)


def _lines(node: XmlElement, indent: str) -> Iterator[str]:
    given = "".join(
        f" {'svns:' if name == _ALIAS else ''}{name}={quoteattr(value)}" for name, value in node.attributes.items()
    )
    if not node.children:
        yield (
            f"{indent}<{node.name}{given}>{escape(node.text)}</{node.name}>"
            if node.text
            else (f"{indent}<{node.name}{given}/>")
        )
        return
    yield f"{indent}<{node.name}{given}>"
    for child in node.children:
        yield from _lines(child, indent + "    ")
    yield f"{indent}</{node.name}>"
