"""The import graph of `broker/`: floors as ARCHITECTURE.md has them, imports that run up, circles of modules.

`python -m tests.support.imports` prints what it counts. Every import counts, also those that only type checkers see and
those inside functions.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| *(\d+) *\|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
NAME = re.compile(r"`([\w/]+)`")


@dataclass(frozen=True)
class Floor:
    """One row of the table. `edges` are the modules that may do I/O; None when all of the floor may."""

    number: int
    packages: tuple[str, ...]
    edges: tuple[str, ...] | None


def floors(text: str) -> list[Floor]:
    """Return the floors that the table "Floors" in `text` has, the top one first."""
    table = text[text.index("## Floors") :].split("\n## ")[0]
    found = []
    for number, packages, _, edges in ROW.findall(table):
        may_all = edges.strip() == "all"
        found.append(Floor(int(number), _names(packages), None if may_all else _names(edges)))
    return found


def _names(cell: str) -> tuple[str, ...]:
    return tuple("broker." + name.replace("/", ".") for name in NAME.findall(cell))


class House:
    """The modules under `root`/broker with all that they import of each other."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.files = {
            module_of(path, root): path
            for path in sorted((root / "broker").rglob("*.py"))
            if "migrations" not in path.parts
        }

    @cached_property
    def imports(self) -> Mapping[str, frozenset[str]]:
        """What each module imports of the others."""
        return {module: frozenset(self._known(path) - {module}) for module, path in self.files.items()}

    @property
    def top(self) -> list[str]:
        """The modules at the top of `broker/`."""
        return sorted(path.name for path in (self.root / "broker").glob("*.py") if path.name != "__init__.py")

    def _known(self, path: Path) -> set[str]:
        return {name for name in imported(path) if name in self.files and self.files[name].name != "__init__.py"}

    def circles(self) -> list[list[str]]:
        """Return the modules that import each other in a circle, circle by circle (Tarjan)."""
        index: dict[str, int] = {}
        low: dict[str, int] = {}
        stack: list[str] = []
        found: list[list[str]] = []

        def visit(module: str) -> None:
            index[module] = low[module] = len(index)
            stack.append(module)
            for other in sorted(self.imports[module]):
                if other not in index:
                    visit(other)
                    low[module] = min(low[module], low[other])
                elif other in stack:
                    low[module] = min(low[module], index[other])
            if low[module] == index[module]:
                at = stack.index(module)
                if len(stack) - at > 1:
                    found.append(sorted(stack[at:]))
                del stack[at:]

        sys.setrecursionlimit(10_000)
        for module in self.imports:
            if module not in index:
                visit(module)
        return found

    def upward(self, table: list[Floor]) -> list[tuple[str, str]]:
        """Return the imports that do not go to the own package or to a lower floor."""
        return [
            (module, other)
            for module, others in self.imports.items()
            for other in sorted(others)
            if package_of(module, table) != package_of(other, table)
            and floor_of(other, table).number >= floor_of(module, table).number
        ]


def module_of(path: Path, root: Path = ROOT) -> str:
    """Return the dotted name of a file."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def package_of(module: str, table: list[Floor]) -> str:
    """Return the package of the table, or the module at the top, to which `module` belongs."""
    names = [name for floor in table for name in floor.packages if is_in(module, name)]
    if not names:
        raise LookupError(f"{module} stands on no floor of ARCHITECTURE.md")
    return max(names, key=len)


def floor_of(module: str, table: list[Floor]) -> Floor:
    """Return the floor on which `module` stands."""
    package = package_of(module, table)
    return next(floor for floor in table if package in floor.packages)


def is_in(module: str, package: str) -> bool:
    """Is `module` this package, or in it?"""
    return module == package or module.startswith(package + ".")


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text())


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the full name of every module, and of everything else, that `path` imports, wherever in the file."""
    return frozenset(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def main() -> int:
    """Print what the graph has, and return 1 when something is not as it should be."""
    house, table = House(), floors((ROOT / "ARCHITECTURE.md").read_text())
    circles, upward, top = house.circles(), house.upward(table), house.top
    print(f"modules {len(house.files)}, imports {sum(map(len, house.imports.values()))}")
    print(f"floors {len(table)}, packages {sum(len(floor.packages) for floor in table)}")
    print(f"circles {len(circles)}", *map(" <-> ".join, circles), sep="\n  ")
    print(f"imports that run up {len(upward)}", *(f"{module} -> {other}" for module, other in upward), sep="\n  ")
    print(f"modules at the top of broker/ {len(top)}: {' '.join(top)}")
    return int(bool(circles or upward or len(top) > 8))


if __name__ == "__main__":
    sys.exit(main())
