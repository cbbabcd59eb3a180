"""The floors of ARCHITECTURE.md, and what the modules on them may not do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.imports import ROOT, House, floor_of, floors, imported, is_in, module_of, parsed

HOUSE = House()
TABLE = floors((ROOT / "ARCHITECTURE.md").read_text())
FILES = list(HOUSE.files.values())

IMPURE = {
    "asyncio", "aiomysql", "asyncpg", "concurrent", "multiprocessing", "os", "pathlib", "pymysql", "random", "secrets",
    "select", "selectors", "signal", "socket", "sqlalchemy", "sqlite3", "ssl", "subprocess", "thriftpy2", "threading",
    "time", "uuid", "uvloop",
}  # fmt: skip

MOST_AT_THE_TOP = 8


def may_do_io(module: str) -> bool:
    edges = floor_of(module, TABLE).edges
    return edges is None or any(is_in(module, edge) for edge in edges)


PURE = [path for module, path in HOUSE.files.items() if module != "broker" and not may_do_io(module)]


def test_every_package_and_every_module_at_the_top_stands_on_one_floor() -> None:
    named = [name for floor in TABLE for name in floor.packages]
    here = {module_of(path) for path in (ROOT / "broker").glob("*.py") if path.name != "__init__.py"}
    here |= {module_of(path.parent) for path in (ROOT / "broker").glob("*/__init__.py")}
    assert sorted(named) == sorted(here)


def test_a_package_imports_only_from_packages_on_lower_floors() -> None:
    assert HOUSE.upward(TABLE) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert HOUSE.circles() == []


def test_a_circle_and_an_import_that_runs_up_are_found_wherever_they_hide(tmp_path: Path) -> None:
    """In a house of two floors: `low` is below `high`, and `low.a` and `low.b` need each other."""
    sources = {
        "high/__init__.py": "",
        "high/roof.py": "from broker.low.a import A",
        "low/__init__.py": "",
        "low/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from broker.low.b import B",
        "low/b.py": "def f():\n    from broker.low import a\n    import broker.high.roof",
    }
    for name, source in sources.items():
        path = tmp_path / "broker" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    table = floors("## Floors\n| 2 | `high` | | |\n| 1 | `low` | | |\n")
    house = House(tmp_path)
    assert house.circles() == [["broker.high.roof", "broker.low.a", "broker.low.b"]]
    assert house.upward(table) == [("broker.low.b", "broker.high.roof")]


def test_the_top_of_the_package_holds_few_modules() -> None:
    assert len(HOUSE.top) <= MOST_AT_THE_TOP, HOUSE.top


@pytest.mark.parametrize("path", PURE, ids=module_of)
def test_pure_modules_import_no_io(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & IMPURE


def test_every_module_that_may_do_io_by_name_does() -> None:
    named = [edge for floor in TABLE if floor.edges is not None for edge in floor.edges]
    for edge in named:
        files = [path for module, path in HOUSE.files.items() if is_in(module, edge)]
        assert any({name.split(".")[0] for name in imported(path)} & IMPURE for path in files), edge


# What only one place may do


def assigned(path: Path) -> set[tuple[str, str]]:
    """Return what is assigned as an attribute in a file: the expression before the dot, and the name after it."""
    found = set()
    for node in ast.walk(parsed(path)):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        parts = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
        found |= {(ast.unparse(part.value), part.attr) for part in parts if isinstance(part, ast.Attribute)}
    return found


def queue_attributes() -> set[str]:
    """Return the names of everything that a queue has: attributes, properties and methods."""
    tree = parsed(ROOT / "broker/queue/queue.py")
    queue = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Queue")
    slots = next(
        node for node in queue.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__"
    )
    names = {element.value for element in ast.walk(slots.value) if isinstance(element, ast.Constant)}
    return names | {node.name for node in queue.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", [path for path in FILES if "queue" not in path.parts], ids=module_of)
def test_no_module_outside_the_queue_package_assigns_an_attribute_of_a_queue(path: Path) -> None:
    attributes = queue_attributes()
    knows_queues = "broker.queue.queue" in imported(path)
    for holder, name in assigned(path):
        is_queue = holder.rpartition(".")[2].lstrip("_").endswith("queue") and knows_queues
        assert not is_queue, f"{holder}.{name} = ..."
        assert holder in ("self", "cls") or name not in attributes or not knows_queues, f"{holder}.{name} = ..."


def test_that_rule_finds_an_assignment(tmp_path: Path) -> None:
    path = tmp_path / "careless.py"
    path.write_text("def f(queue, it):\n    queue.ready, it.queue._unacked = [], 0\n    queue.lane += 1\n")
    assert assigned(path) == {("queue", "ready"), ("it.queue", "_unacked"), ("queue", "lane")}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_only_the_node_and_the_cluster_itself_ask_whether_there_is_a_cluster(path: Path) -> None:
    module = module_of(path)
    if is_in(module, "broker.node") or is_in(module, "broker.coordination") or is_in(module, "broker.config"):
        return
    for node in ast.walk(parsed(path)):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        assert name not in ("is_clustered", "is_alone", "is_standalone"), f"line {getattr(node, 'lineno', 0)}: {name}"
        if isinstance(node, ast.Compare) and any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
            asked = ast.unparse(node.left).rpartition(".")[2].lstrip("_")
            assert asked not in ("cluster", "peers", "replicator", "agent"), f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_task_is_started_outside_a_group_and_no_error_is_swallowed_unseen(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"line {node.lineno}: bare except"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("asyncio.create_task", "asyncio.ensure_future"), f"line {node.lineno}: {called}"


@pytest.mark.parametrize("path", [path for path in FILES if path.read_text()], ids=module_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parsed(path))
