"""What a reference can lead to: rows, invariants, sections, decisions, headings, files, modules and their classes.

Knows how the documents under `docs/` define what is cited; knows nothing of who cites.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, cached_property
from itertools import product
from pathlib import PurePosixPath
from typing import Final

CONTRACT: Final = "docs/contract.md"
INVARIANTS: Final = "docs/invariants.md"
ANDES: Final = "docs/andes.md"

TAG: Final = r"[A-Z][0-9]{1,2}"
_ROW: Final = re.compile(rf"^\| ({TAG}) \|", re.M)
_SECTION_ROW: Final = re.compile(r"^\| §([0-9.]+) \|", re.M)
_NUMBERED: Final = re.compile(r"^#+ ([0-9]+(?:\.[0-9]+)*)\.? ", re.M)
_HEADING: Final = re.compile(r"^#+ +(.*?) *$", re.M)
_FENCE: Final = re.compile(r"^```.*?^```", re.M | re.S)
_DECISION: Final = re.compile(r"docs/adr/(\d{4})-[\w-]+\.md")
_ELEMENT: Final = re.compile(r"<([A-Za-z][\w.-]*)|\b([A-Za-z][\w-]*)=\"|\bname=\"([^\"]+)\"")
_BRACES: Final = re.compile(r"\{([^{}]*)\}")

PLACES: Final = ("", "broker", "tests", "docs", "conf")
"""Where a path may begin that a document or docstring names, beside its own folder."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A reference that leads nowhere."""

    path: str
    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text!r}: {self.why}"


def line_of(text: str, position: int) -> int:
    """Return the number of the line, from 1, on which `position` lies."""
    return text.count("\n", 0, position) + 1


def blanked(text: str, pattern: re.Pattern[str]) -> str:
    """Return `text` with blanks for whatever matches; every line keeps its number."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def without_fences(text: str) -> str:
    """Return a document without its blocks of code."""
    return blanked(text, _FENCE)


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def normal(place: PurePosixPath) -> str:
    """Return the path with every `..` followed."""
    parts: list[str] = []
    for part in place.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts) or "."


class Library:
    """The files of a repository by path, and what they define."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    @cached_property
    def rows(self) -> frozenset[str]:
        return frozenset(_ROW.findall(self.files.get(CONTRACT, "")))

    @cached_property
    def invariants(self) -> frozenset[str]:
        return frozenset(_ROW.findall(self.files.get(INVARIANTS, "")))

    @cached_property
    def specification(self) -> frozenset[str]:
        """Sections of the specification, as the contract lists them."""
        return frozenset(_SECTION_ROW.findall(self.files.get(CONTRACT, "")))

    @cached_property
    def andes(self) -> frozenset[str]:
        return frozenset(_NUMBERED.findall(self.files.get(ANDES, "")))

    @cached_property
    def decisions(self) -> frozenset[int]:
        """Numbers of decisions whose file says the same number in its first line, and that no other file has."""
        texts: dict[int, list[str]] = {}
        for path, text in self.files.items():
            if match := _DECISION.fullmatch(path):
                texts.setdefault(int(match[1]), []).append(text)
        return frozenset(
            number for number, [text, *others] in texts.items() if not others and text.startswith(f"# {number}. ")
        )

    @cached_property
    def folders(self) -> frozenset[str]:
        return frozenset(str(parent) for path in self.files for parent in PurePosixPath(path).parents)

    def anchors(self, path: str) -> frozenset[str]:
        """Names by which links reach the headings of a document."""
        headings = _HEADING.findall(without_fences(self.files[path]))
        return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)

    def has_path(self, name: str, here: str) -> bool:
        """Is there such a file or folder? `name` may have braces and stars; `here` is the file that names it."""
        return all(self._has_path(each, here) for each in _expanded(name.rstrip("/")))

    def _has_path(self, name: str, here: str) -> bool:
        places = (str(PurePosixPath(here).parent), *PLACES)
        wanted = {normal(PurePosixPath(place, name)) for place in places}
        if "*" in name:
            return any(fnmatchcase(path, each) for each in wanted for path in self.files)
        return not wanted.isdisjoint(self.files) or not wanted.isdisjoint(self.folders)

    def files_named(self, name: str, here: str) -> int:
        """Return how many files have that name; tests and benchmarks count for themselves only."""
        top = PurePosixPath(here).parts[0]
        foreign = () if top in ("tests", "benchmarks") else ("tests/", "benchmarks/")
        return min(
            sum(PurePosixPath(path).name == each and not path.startswith(foreign) for path in self.files)
            for each in _expanded(name)
        )

    def has_module(self, name: str, here: str) -> bool:
        """Is there a module or package `name`, written with slashes?"""
        return self.has_path(name, here) or self.has_path(f"{name}.py", here)

    def is_configured(self, name: str) -> bool:
        """Is there such an element, attribute, parameter, value or file in `conf/`?"""
        if any(
            f"{name}<" in text or f'{name}"' in text for path, text in self.files.items() if path.startswith("conf/")
        ):
            return True
        last = name.rpartition("/")[2]
        if last.endswith((".xml", ".properties")):
            return self.has_path(f"conf/{last}", "")
        return self.elements.issuperset(re.findall(r"[\w.-]+", name))

    @cached_property
    def elements(self) -> frozenset[str]:
        """Names of elements, attributes and parameters in the files of `conf/`, and those that the code writes out."""
        texts = [text for path, text in self.files.items() if path.startswith("conf/")]
        names = {name for text in texts for match in _ELEMENT.findall(text) for name in match if name}
        models = [text for path, text in self.files.items() if path.startswith("broker/config/")]
        literals = {literal for text in models for literal in re.findall(r'"([^"\n]+)"', text)}
        return frozenset(names | {word for literal in literals for word in re.findall(r"[\w.-]+", literal)})

    def modules_named(self, name: str) -> list[str]:
        """Return the modules whose dotted name ends like that, and all modules of packages whose name does."""
        ending = f"/{name.replace('.', '/')}"
        return [
            path
            for path in self.files
            if path.endswith(".py") and (f"/{path}".endswith(f"{ending}.py") or f"{ending}/" in f"/{path}")
        ]

    def defined_in(self, module: str) -> set[str]:
        """Return what the module defines at its top; a package has its modules, and what they define."""
        paths = self.modules_named(module)
        names = {name for path in paths for name in _defined(parsed(self.files[path]).body)}
        return names | {PurePosixPath(path).stem for path in paths}

    def is_a_word(self, name: str) -> bool:
        """Does the product's code or configuration use this name?"""
        word = re.compile(rf"\b{name}\b")
        return any(
            name in text and word.search(text)
            for path, text in self.files.items()
            if path.startswith(("broker/", "conf/"))
        )

    def members_of(self, name: str) -> set[str] | None:
        """Return the members of the product's class of that name, with those of its base classes and namesakes."""
        beginning = re.compile(rf"^\s*class {name}\b", re.M)
        found: set[str] | None = None
        for path, text in self.files.items():
            if path.startswith("broker/") and f"class {name}" in text and beginning.search(text):
                for node in ast.walk(parsed(text)):
                    if isinstance(node, ast.ClassDef) and node.name == name:
                        found = (found or set()) | _members(node)
                        for base in node.bases:
                            found |= self.members_of(ast.unparse(base).partition("[")[0].rpartition(".")[2]) or set()
        return found


def _expanded(name: str) -> Iterator[str]:
    """Yield `a/b` and `a/c` for `a/{b,c}`."""
    pieces = _BRACES.split(name)
    for choice in product(*(piece.split(",") if index % 2 else [piece] for index, piece in enumerate(pieces))):
        yield "".join(choice)


def _defined(body: list[ast.stmt]) -> set[str]:
    names: set[str] = set()
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(ast.unparse(node.target))
        elif isinstance(node, ast.Assign):
            names.update(ast.unparse(target) for target in node.targets)
    return names


def _members(node: ast.ClassDef) -> set[str]:
    members = _defined(node.body)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and ast.unparse(inner.value) == "self":
            members.add(inner.attr)
        elif isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            members.update(each.arg for each in (*inner.args.args, *inner.args.kwonlyargs))  # given at construction
    return members
