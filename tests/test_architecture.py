"""The floors of ARCHITECTURE.md, and what the modules on them may not do."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

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


def imports_at_top(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def faults(rule: Callable[[Path], Iterable[str]], paths: Iterable[Path] = FILES) -> list[str]:
    """Return what breaks a rule, in which module."""
    return [f"{module_of(path)}: {fault}" for path in paths for fault in rule(path)]


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


def test_pure_modules_import_no_io() -> None:
    pure = (path for module, path in HOUSE.files.items() if module != "broker" and not may_do_io(module))
    assert {module_of(path): found for path in pure if (found := imports_at_top(path) & IMPURE)} == {}


def test_every_module_that_may_do_io_by_name_does() -> None:
    named = [edge for floor in TABLE if floor.edges is not None for edge in floor.edges]
    for edge in named:
        files = [path for module, path in HOUSE.files.items() if is_in(module, edge)]
        assert any(imports_at_top(path) & IMPURE for path in files), edge


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


def assigned_to_queues(path: Path) -> Iterator[str]:
    if "broker.queue.queue" not in imported(path):
        return
    attributes = queue_attributes()
    for holder, name in assigned(path):
        is_queue = holder.rpartition(".")[2].lstrip("_").endswith("queue")
        if is_queue or (holder not in ("self", "cls") and name in attributes):
            yield f"{holder}.{name} = ..."


def test_no_module_outside_the_queue_package_assigns_an_attribute_of_a_queue() -> None:
    assert faults(assigned_to_queues, [path for path in FILES if "queue" not in path.parts]) == []


def test_that_rule_finds_an_assignment(tmp_path: Path) -> None:
    path = tmp_path / "careless.py"
    path.write_text("def f(queue, it):\n    queue.ready, it.queue._unacked = [], 0\n    queue.lane += 1\n")
    assert assigned(path) == {("queue", "ready"), ("it.queue", "_unacked"), ("queue", "lane")}


def asks_for_a_cluster(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in ("is_clustered", "is_alone", "is_standalone"):
            yield f"line {getattr(node, 'lineno', 0)}: {name}"
        if isinstance(node, ast.Compare) and any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
            asked = ast.unparse(node.left).rpartition(".")[2].lstrip("_")
            if asked in ("cluster", "peers", "replicator", "agent"):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def test_only_the_node_and_the_cluster_itself_ask_whether_there_is_a_cluster() -> None:
    asking = ("broker.node", "broker.coordination", "broker.config")
    others = [path for module, path in HOUSE.files.items() if not any(is_in(module, each) for each in asking)]
    assert faults(asks_for_a_cluster, others) == []


def unseen(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"line {node.lineno}: bare except"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("asyncio.create_task", "asyncio.ensure_future"):
            yield f"line {node.lineno}: {ast.unparse(node.func)}"


def test_no_task_is_started_outside_a_group_and_no_error_is_swallowed_unseen() -> None:
    assert faults(unseen) == []


def test_those_rules_find_what_breaks_them(tmp_path: Path) -> None:
    path = tmp_path / "careless.py"
    path.write_text(
        "from broker.queue.queue import Queue\n"
        "def f(it):\n"
        "    it.queue.lane = it.ready = 1\n"
        "    if cluster is None or it.is_alone: asyncio.create_task(f(it))\n"
        "    try: pass\n"
        "    except: pass\n"
    )
    assert sorted(assigned_to_queues(path)) == ["it.queue.lane = ...", "it.ready = ..."]
    assert sorted(asks_for_a_cluster(path)) == ["line 4: cluster is None", "line 4: is_alone"]
    assert sorted(unseen(path)) == ["line 4: asyncio.create_task", "line 6: bare except"]


def test_every_module_says_what_it_is() -> None:
    assert [path for path in FILES if path.read_text() and not ast.get_docstring(parsed(path))] == []
