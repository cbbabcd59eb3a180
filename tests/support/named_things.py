"""Links of documents, and the files, modules, classes and elements that documents and docstrings name.

Knows how such names are written; asks a `Library` what there is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from tests.support.citations import prose_of
from tests.support.library import Fault, Library, blanked, line_of, normal, without_fences

_LINK: Final = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_FILE: Final = re.compile(r"(?<![\w/.*:-])(?:[\w.-]+/)*[\w*{},-]+\.(?:py|md|sql|thrift|toml|sh)\b(?![\w/-])")
_SLASHED: Final = re.compile(r"[a-z_][\w.]*(?:/[\w*{},@.\[\]-]+)+/?")
_DOTTED: Final = re.compile(r"(?:broker|tests|benchmarks)(?:\.[A-Za-z_]\w*)+")
_CLASS_OF_MODULE: Final = re.compile(r"([a-z_]+)\.([A-Z]\w+)(?:\.(\w+))?(?:\(\))?")
_MEMBER: Final = re.compile(r"([A-Z][A-Za-z]*[a-z][A-Za-z]*)\.(\w+)(?:\(.*\))?")
_CLASS: Final = re.compile(r"[A-Z][a-z]\w+")
_GONE: Final = re.compile(r"^Gone since.*?(?:\n\n|\Z)", re.M | re.S)

_TESTS: Final = re.compile(
    r"\b(u|i|unit|integration|property|cluster|simulation|contract)/([a-z_]\w*(?:/\w+)*\*?)(?![\w/…])"
)
_SHORT: Final = {"u": "unit/amqp", "i": "integration"}
CONFORMANCE: Final = "docs/conformance.md"
_OF_THE_CODE: Final = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/adr/")


def wrong_links(path: str, text: str, library: Library) -> Iterator[Fault]:
    """Yield the links of a document to a file or heading that is not there. Other hosts are not asked."""
    text = blanked(without_fences(text), _SPAN)
    for match in _LINK.finditer(text):
        target, _, anchor = match[1].partition("#")
        if ":" in target:
            continue
        place = normal(PurePosixPath(path).parent / target) if target else path
        if place not in library.files and place not in library.folders:
            yield Fault(path, line_of(text, match.start()), match[1], "there is no such file")
        elif anchor and anchor not in library.anchors(place):
            yield Fault(path, line_of(text, match.start()), match[1], "there is no such heading")


def wrong_files(path: str, text: str, library: Library) -> Iterator[Fault]:
    """Yield files that a document, docstring or comment names and that are not there."""
    if path.endswith(".py"):
        prose = prose_of(text) if _FILE.search(text) else ""
    else:
        prose = blanked(without_fences(text), _LINK)
    for match in _FILE.finditer(prose):
        if why := _wrong_file(match[0], path, library):
            yield Fault(path, line_of(text, match.start()), match[0], why)
    if path == CONFORMANCE:
        for match in _TESTS.finditer(prose):
            folder, _, name = f"{_SHORT.get(match[1], match[1])}/{match[2]}".rpartition("/")
            wanted = f"tests/{folder}/{name if name.startswith('test_') else f'test_{name}'}.py"
            if not library.has_path(wanted, path):
                yield Fault(path, line_of(text, match.start()), match[0], f"there is no {wanted}")


def _wrong_file(name: str, path: str, library: Library) -> str:
    if library.has_path(name, path):
        return ""
    count = 0 if "/" in name else library.files_named(name, path)
    if count > 1 and path.endswith(".md"):
        return "several files have this name: write more of the path"
    return "" if count else "there is no such file"


def wrong_names(path: str, text: str, library: Library) -> Iterator[Fault]:
    """Yield modules, classes, members and elements of configuration that a document names and that are not there.

    A document may say at its end what it names and is gone since.
    """
    gone = {match[1] for part in _GONE.findall(text) for match in _SPAN.finditer(part)}
    prose = without_fences(text)
    for match in _SPAN.finditer(prose):
        name = match[1]
        if name not in gone and (why := _wrong(name, path, library)):
            yield Fault(path, line_of(text, match.start()), name, why)


def _wrong(name: str, path: str, library: Library) -> str:
    if _FILE.fullmatch(name):
        return ""  # told by `wrong_files`
    if path == CONFORMANCE and _TESTS.fullmatch(name):
        return ""  # likewise
    if _SLASHED.fullmatch(name):
        is_there = library.has_module(name, path) or library.is_configured(name)
        return "" if is_there else "there is no such module, folder or element"
    if _DOTTED.fullmatch(name):
        module, _, last = name.rpartition(".")
        is_there = bool(library.modules_named(name)) or last in library.defined_in(module)
        return "" if is_there else "there is no such module"
    if (match := _CLASS_OF_MODULE.fullmatch(name)) and match[1] not in sys.stdlib_module_names:
        if match[2] not in library.defined_in(match[1]):
            return "that module has no such class"
        name = f"{match[2]}.{match[3]}" if match[3] else ""
    if match := _MEMBER.fullmatch(name):
        members = library.members_of(match[1])
        if members is None:
            return "there is no such class"
        return "" if match[2] in members else "that class has no such member"
    if path.startswith(_OF_THE_CODE) and _CLASS.fullmatch(name) and not library.is_a_word(name):
        return "the code has no such name"
    return ""
