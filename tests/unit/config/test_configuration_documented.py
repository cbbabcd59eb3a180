"""docs/configuration.md tells of each element whether it has an effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.config.accepted import ACCEPTED
from broker.config.element_kinds import Accepted
from broker.config.files import FILES
from broker.config.layout import Layout

TEXT = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
SECTIONS = {part.splitlines()[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
NAMES = re.compile(r"`([^`]+)`")


def leaves(layout: Layout, path: str = "") -> Iterator[str]:
    """Yield the paths of the elements that have an effect."""
    for entry in layout.entries:
        if entry.below:
            yield from leaves(entry.below, f"{path}{entry.alias}/")
        elif entry.field:
            yield path + entry.alias


def rows(section: str, head: str) -> list[list[str]]:
    """Return the cells of the table that begins with the column `head`."""
    lines = SECTIONS[section].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {head} |"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return table


def means(name: str, path: str) -> bool:
    """Whether the manual's `name`, the end of a path or one with everything below it, is the element at `path`."""
    if name.endswith("…"):
        return f"/{name[:-1]}" in f"/{path}" if name != "…" else True
    return f"/{path}".endswith(f"/{name}")


def without_effect() -> Iterator[tuple[str, str, str]]:
    """Yield file, name and reason of the manual's table."""
    file = ""
    for first, elements, why in rows("Elements without effect", "File"):
        file = first.strip("`") or file
        yield from ((file, name, why) for name in NAMES.findall(elements.partition(";")[0]))


WITHOUT_EFFECT = list(without_effect())
ROWS = [
    (file, path.replace("*/", "/"), element.why)
    for file, elements in ACCEPTED.items()
    for path, element in elements.items()
    if isinstance(element, Accepted)
]
IN_EFFECT = [(file.name, path) for file in FILES for path in leaves(file.layout)]


@pytest.mark.parametrize("file", ACCEPTED)
def test_the_manual_names_every_element_without_effect_and_says_why(file):
    told = {
        path: {why for where, name, why in WITHOUT_EFFECT if where == file and means(name, path)}
        for where, path, _ in ROWS
        if where == file
    }
    assert told == {path: {why} for where, path, why in ROWS if where == file}


@pytest.mark.parametrize(("file", "name", "why"), WITHOUT_EFFECT)
def test_the_manual_names_nothing_without_effect_that_has_one_or_is_not_there(file, name, why):
    assert any(where == file and means(name, path) for where, path, _ in ROWS)
    if not name.endswith("…"):
        assert not any(where == file and means(name, path) for where, path in IN_EFFECT)


@pytest.mark.parametrize(("file", "path"), IN_EFFECT)
def test_the_manual_tells_of_every_element_in_effect(file, path):
    assert any(means(name, path) for name in NAMES.findall(SECTIONS[file]))


@pytest.mark.parametrize("file", sorted({file for file, _ in IN_EFFECT}))
def test_the_manual_promises_no_effect_of_an_element_without(file):
    promised = [name for row in rows(file, "Element") for name in NAMES.findall(row[0])]
    assert promised
    assert [name for name in promised for where, path, _ in ROWS if where == file and means(name, path)] == []
