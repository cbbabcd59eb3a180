"""Which small changes are made, and that each is a program again."""

from __future__ import annotations

import ast

import pytest

from tests.support.mutants.__main__ import equivalents
from tests.support.mutants.mutant import PROJECT
from tests.support.mutants.sites import names, sites
from tests.support.mutants.targets import TARGETS


def changes(source: str) -> list[str]:
    return [site.apply(source.encode()).decode() for site in sites(source.encode())]


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("x = a < b", ["x = a <= b", "x = a >= b"]),
        ("x = a == b", ["x = a != b"]),
        ("x = a is not None", ["x = a is None"]),
        ("x = a not in b", ["x = a in b"]),
        ("x = a + b", ["x = a - b"]),
        ("x = a and b", ["x = a or b"]),
        ("x = not (a)", ["x =  (a)"]),
        ("x = 7", ["x = 8"]),
        ("x = True", ["x = False"]),
        ("x = min(a)", ["x = max(a)"]),
        ("x = a[b:]", ["x = a[:]"]),
        ("x = b if a else c", ["x = b if not a else c"]),
        ("x = [a for a in b if c]", ["x = [a for a in b if True]"]),
        ("a += b", ["a -= b", "pass"]),
        ("f(a)", ["pass"]),
        ("del a", ["pass"]),
        ("raise E(f'{a}')", ["pass"]),
        ("def f():\n    return a", ["def f():\n    return None"]),
        ("def f():\n    self.a = b", ["def f():\n    pass"]),
        ("if a:\n    b", ["if False:\n    b", "if a:\n    pass"]),
        ("x = 'A=1 AND \"B\"=$2 AND C IS NULL'", ["x = 'A=1 AND C IS NULL'", "x = 'A=1 AND \"B\"=$2'"]),
        ("x = 'A=1 AND B=ANY($1)'", []),
        ("x = f\"A=1 AND B='{b.c}' FOR UPDATE\"", ['x = f"A=1 FOR UPDATE"', "x = f\"A=1 AND B='{b.c}'\""]),
        ("x = 'A=1 LOCK IN SHARE MODE;'", ["x = 'A=1;'"]),
        ("x = 'A=1 FOR SHARE OF N'", ["x = 'A=1'"]),
        ("x = a.where(b).with_for_update(read=c)", ["x = a.where(b)"]),
    ],
)
def test_a_program_is_changed_in_one_place_at_a_time(source: str, changed: list[str]) -> None:
    assert sorted(changes(source)) == sorted(changed)


@pytest.mark.parametrize(
    "source",
    [
        '"""A text."""',
        "x = f'{a + b}'",
        "log.warning('text', a=a + 1)",
        "import a",
        "assert a < b",
        "class C(Protocol):\n    x = 1",
        "if TYPE_CHECKING:\n    x = 1",
        "__slots__ = ('a', 1)",
        "x: Final[Literal[1]]",
    ],
)
def test_what_only_speaks_is_left_alone(source: str) -> None:
    assert changes(source) == []


def test_a_change_leaves_every_line_in_its_place() -> None:
    source = "x = f(\n    a,\n)\nf(\n    a\n)\ny = 1"

    for changed in changes(source):
        assert changed.splitlines()[6].startswith("y =")
        ast.parse(changed)


@pytest.mark.parametrize("file", TARGETS)
def test_every_change_of_a_module_is_a_program_with_a_name_of_its_own(file: str) -> None:
    source = (PROJECT / file).read_bytes()
    named = dict(names(sites(source), source))

    assert len(named) == len(sites(source)) > 10
    for site in list(named.values())[::7]:
        ast.parse(site.apply(source))


@pytest.mark.parametrize("file", equivalents())
def test_every_change_that_is_called_equivalent_can_be_made_and_has_a_reason(file: str) -> None:
    source = (PROJECT / file).read_bytes()
    possible = dict(names(sites(source), source))

    for name, reason in equivalents()[file].items():
        assert name in possible, f"{file} has no such change any more: {name}"
        assert len(reason.split()) > 2
