from __future__ import annotations

import pytest
from pydantic import SecretStr, TypeAdapter

from broker.config.accepted import ACCEPTED, RULES
from broker.config.element_kinds import Accepted
from broker.config.files import FILES
from broker.config.layout import Layout
from broker.config.place import Place

LAYOUTS = {file.name: file.layout for file in FILES}
ROWS = [
    (file, path, element)
    for file, elements in ACCEPTED.items()
    for path, element in elements.items()
    if isinstance(element, Accepted)
]


def place_of(path: str) -> Place:
    return tuple(name.removesuffix("*") for name in path.split("/"))


def layout_at(file: str, place: Place) -> Layout:
    layout = LAYOUTS[file]
    for name in place:
        (below,) = (below for entry, below in layout.sections() if entry.alias == name)
        layout = below
    return layout


def as_written(value: object) -> object:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(value)
    return value if isinstance(value, dict) else str(value)


def test_the_table_is_of_files_that_are_read():
    assert ACCEPTED.keys() <= LAYOUTS.keys()


def test_an_accepted_element_is_not_a_field_of_a_model_too():
    for file, path, row in ROWS:
        *place, name = place_of(path)
        assert [entry.accepted for entry in layout_at(file, tuple(place)).entries if entry.alias == name] == [row]


def test_the_default_of_an_accepted_element_may_be_written():
    for _, path, row in ROWS:
        assert (path, TypeAdapter(row.kind).validate_python(as_written(row.default))) == (path, row.default)


@pytest.mark.parametrize("rules", RULES.values(), ids=list(RULES))
def test_the_defaults_of_accepted_elements_do_not_contradict_each_other(rules):
    elements = {path: row for _, path, row in ROWS}
    assert [
        rule for rule in rules if not rule.holds(elements[rule.element].default, elements[rule.other].default)
    ] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_section_has_the_same_defaults_wherever_it_is(file):
    waiting = [file.layout]
    while waiting:
        for entry, below in waiting.pop().sections():
            waiting.append(below)
            if entry.field and not entry.is_list:
                assert entry.default == type(entry.default)()
