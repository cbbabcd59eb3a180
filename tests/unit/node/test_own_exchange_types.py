"""What is loaded from installed packages, and what is refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from broker.codec.field_table import EMPTY_TABLE
from broker.errors import ConfigError
from broker.node.own_exchange_types import GROUP, exchange_types_of, installed_exchange_types
from broker.topology.binding import Binding
from broker.topology.routed_message import ANY_MESSAGE
from broker.turn_budget import TurnBudget
from tests.support.packages import install

GOOD = """
class Good:
    def __init__(self, arguments): self.bound = []
    def bind(self, destination, routing_key, arguments): self.bound.append(destination)
    def unbind(self, destination, routing_key, arguments): self.bound.remove(destination)
    def route(self, routing_key, headers, properties): return self.bound
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder that modules are imported from."""
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in ("geo", "broken"):
        sys.modules.pop(name, None)


def found(site: Path) -> list[EntryPoint]:
    return [point for each in distributions(path=[str(site)]) for point in each.entry_points.select(group=GROUP)]


def test_the_classes_of_installed_packages_are_exchange_types(site: Path) -> None:
    install(site, "geo", GOOD, {"x-geo": "geo:Good", "x-other": "geo:Good"})
    types = exchange_types_of(found(site))
    assert sorted(types) == ["x-geo", "x-other"]
    router = types["x-geo"]("places", EMPTY_TABLE)
    router.add(Binding("places", ("queue", "q"), "", EMPTY_TABLE))
    assert list(router.match("k", ANY_MESSAGE, TurnBudget())) == [("queue", "q")]


def test_without_such_packages_there_are_none() -> None:
    assert installed_exchange_types() == {}


@pytest.mark.parametrize(
    ("source", "names", "what"),
    [
        ("import nowhere_to_be_found", {"x-geo": "geo:Good"}, "does not load: ModuleNotFoundError: No module named"),
        ("raise SystemExit('two\\nlines')", {"x-geo": "geo:Good"}, "does not load: SystemExit: two lines"),
        ("", {"x-geo": "geo:Good"}, "does not load: AttributeError"),
        ("def", {"x-geo": "geo:Good"}, "does not load: SyntaxError"),
        ("class Good:\n def route(self): ...", {"x-geo": "geo:Good"}, "it lacks bind, unbind"),
        ("Good = 7", {"x-geo": "geo:Good"}, "it lacks bind, unbind, route"),
        (f"{GOOD}\nGood = Good({{}})", {"x-geo": "geo:Good"}, "is no class with bind, unbind, route"),
        (GOOD, {"geo": "geo:Good"}, "must have a name that begins with x-"),
        (GOOD, {"x-random": "geo:Good"}, "is there already under that name"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(site: Path, source: str, names: dict[str, str], what: str) -> None:
    install(site, "geo", source, names)
    [name] = names
    with pytest.raises(ConfigError) as refused:
        exchange_types_of(found(site))
    text = str(refused.value)
    assert text.startswith(f"the exchange type '{name}' of geo 1.0 (geo:Good) ")
    assert what in text
    assert text.endswith("; mend that package or uninstall it")
    assert "\n" not in text


def test_two_packages_cannot_bring_the_same_type(site: Path) -> None:
    install(site, "geo", GOOD, {"x-geo": "geo:Good"})
    install(site, "broken", GOOD, {"x-geo": "broken:Good"})
    with pytest.raises(ConfigError, match="is there already under that name"):
        exchange_types_of(found(site))
