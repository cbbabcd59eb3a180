"""The import rules between layers, and what pure modules may not touch (house rules; ARCHITECTURE.md)."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / "broker").rglob("*.py") if "migrations" not in path.parts)

# The layer of a module, or of a whole package: the longest name that fits decides.
LAYERS = {
    "broker": 0,
    "broker.errors": 0,
    "broker.backoff": 0,
    "broker.clock": 0,
    "broker.ports.cluster_rows": 0,
    "broker.message": 0,
    "broker.ports.peer_calls": 0,
    "broker.ports.slot": 0,
    "broker.ports.records": 0,
    "broker.config": 0,
    "broker.ports": 1,
    "broker.ports.store": 1,
    "broker.ports.cluster": 1,
    "broker.amqp": 2,
    "broker.codec": 0,
    "broker.auth": 2,
    "broker.broker": 2,
    "broker.coordination": 2,
    "broker.coordination.slots": 2,
    "broker.coordination.membership": 2,
    "broker.coordination.replication": 2,
    "broker.dead_letter": 2,
    "broker.topology.declaration": 2,
    "broker.topology": 2,
    "broker.topology.exchange": 2,
    "broker.policy": 2,
    "broker.queue": 2,
    "broker.queue.queue": 2,
    "broker.topology.routing": 2,
    "broker.topology.consumers": 2,
    "broker.topology.subscriptions": 2,
    "broker.topology.snapshot": 2,
    "broker.topology.diff": 2,
    "broker.topology.apply": 2,
    "broker.topology.recorder": 2,
    "broker.topology.topic_trie": 2,
    "broker.topology.vhost": 2,
    "broker.server.resource_monitor": 3,
    "broker.node.allocator": 3,
    "broker.coordination.membership.agent": 3,
    "broker.coordination.slots.count_exchange": 3,
    "broker.queue.slot_reader": 3,
    "broker.coordination.peers": 3,
    "broker.coordination.service": 3,
    "broker.coordination.slots.runner": 3,
    "broker.coordination.slots.coordinator": 3,
    "broker.coordination.slots.term": 3,
    "broker.coordination.replication.replicator": 3,
    "broker.node.logs": 3,
    "broker.management": 3,
    "broker.server.listener": 3,
    "broker.store": 3,
    "broker.thrift": 3,
    "broker.server.tls": 3,
    "broker.__main__": 4,
    "broker.cli": 4,
    "broker.node": 4,
    "broker.server": 3,
    "broker.node.standalone": 4,
    "broker.node.incarnation": 4,
    "broker.node.clustered": 4,
    "broker.node.process": 4,
    "broker.testing": 4,
}

IMPURE = {
    "asyncio", "aiomysql", "asyncpg", "concurrent", "multiprocessing", "os", "pymysql", "random", "secrets", "select",
    "selectors", "signal", "socket", "sqlalchemy", "sqlite3", "ssl", "subprocess", "thriftpy2", "threading", "time",
    "uuid", "uvloop",
}  # fmt: skip

# Packages that know nothing of each other, in either direction.
STRANGERS = [
    ("broker.amqp", "broker.coordination"),
    ("broker.store", "broker.server"),
    ("broker.store", "broker.thrift"),
    ("broker.store", "broker.management"),
    ("broker.thrift", "broker.server"),
    ("broker.thrift", "broker.management"),
    ("broker.management", "broker.server"),
]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> set[str]:
    """Return the full name of every module that `path` imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names if is_module(node.module, alias.name))
    return names


def is_module(package: str | None, name: str) -> bool:
    place = ROOT.joinpath(*(package or "").split("."), name)
    return place.is_dir() or place.with_suffix(".py").exists()


def layer(module: str) -> int:
    name = module
    while name not in LAYERS:
        name = name.rpartition(".")[0]
    assert name != "broker" or module == "broker", f"{module} has no layer: give it one in LAYERS"
    return LAYERS[name]


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


PURE = [
    path
    for path in FILES
    if layer(module_of(path)) <= 2 and module_of(path) != "broker.clock" and not is_in(module_of(path), "broker.config")
]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_modules_import_only_from_their_own_layer_or_a_lower_one(path: Path) -> None:
    module = module_of(path)
    higher = {name for name in imports(path) if is_in(name, "broker") and layer(name) > layer(module)}
    assert not higher


@pytest.mark.parametrize("path", PURE, ids=module_of)
def test_pure_modules_import_no_io(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_the_core_does_not_know_the_protocol(path: Path) -> None:
    module = module_of(path)
    if layer(module) <= 2 and not is_in(module, "broker.amqp"):
        assert not {name for name in imports(path) if is_in(name, "broker.amqp")}


@pytest.mark.parametrize(("one", "other"), STRANGERS)
def test_neighbours_meet_through_the_ports_only(one: str, other: str) -> None:
    for path in FILES:
        for here, there in ((one, other), (other, one)):
            if is_in(module_of(path), here):
                assert not {name for name in imports(path) if is_in(name, there)}, path


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
