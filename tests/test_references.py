"""Every reference resolves inside the repository: citations, links, files, modules and classes that are named.

CONTRIBUTING.md describes the forms. The finder is held first, against a small repository with planted mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.citations import wrong_citations
from tests.support.library import CONTRACT, TAG, Fault, Library
from tests.support.named_things import CONFORMANCE, wrong_files, wrong_links, wrong_names

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "broker", "conf", "dbscripts", "deploy", "docs", "examples", "tests")
KINDS = {".json", ".md", ".png", ".properties", ".py", ".service", ".sh", ".sql", ".thrift", ".toml", ".xml", ".yml"}

# What this module plants is wrong on purpose.
SKIPPED = "tests/test_references.py"


def faults(path: str, text: str, library: Library) -> Iterator[Fault]:
    yield from wrong_citations(path, text, library)
    if path.endswith(".md"):
        yield from wrong_links(path, text, library)
    if path.endswith((".md", ".py")):
        yield from names(path, text, library)


def names(path: str, text: str, library: Library) -> Iterator[Fault]:
    yield from wrong_files(path, text, library)
    if path.endswith(".md"):
        yield from wrong_names(path, text, library)


# The finder

SMALL = {
    "README.md": "# Small\n\n## What it is\n",
    "docs/contract.md": "| X1 | declare |\n| X2 | again |\n| X4 | type |\n\n| §4.2.3 | General Frame Format |\n",
    "docs/conformance.md": "| X1 | yes | u/channel |\n",
    "docs/invariants.md": "| I1 | confirmed |\n| I52 | no overlap |\n",
    "docs/andes.md": "# Andes\n\n## 4. Slots\n\n### 4.1 Ids\n\n### 4.2 Windows\n",
    "docs/adr/0006-slots.md": "# 6. Slots\n",
    "docs/adr/0007-other.md": "# 8. Another number\n",
    "docs/adr/0009-one.md": "# 9. One of two\n",
    "docs/adr/0009-two.md": "# 9. Two of two\n",
    "conf/broker.xml": '<limits><maxConnections>1</maxConnections></limits><amqp enabled="true"/>',
    "broker/queue/window.py": "class Window:\n    size = 1\n    def __init__(self, on_full):\n        self.last = 0\n",
    "broker/queue/ring.py": "class Ring(Window):\n    def turn(self): ...\n",
    "broker/store/events.py": "LIMIT = 1\n",
    "broker/topology/events.py": "",
    "tests/unit/amqp/test_channel.py": "",
    "tests/unit/test_frames.py": "",
}
LIBRARY = Library(SMALL)


def found(path: str, text: str) -> list[tuple[int, str]]:
    return [(fault.line, fault.text) for fault in faults(path, text, LIBRARY)]


@pytest.mark.parametrize(
    "text",
    [
        "contract X1",
        "Contract X1, X4",
        "contract X1 to X2 and X4",
        "contract X1; invariant I52",
        "invariant I1, I52",
        "andes §4.1 to §4.2",
        "andes §4",
        "0-9-1 §4.2.3",
        "ADR 6",
        "a contract of one\nX mark",
        "an H2 file",
        "[it](../README.md#what-it-is)",
        "[here](adr/0006-slots.md)",
        "[elsewhere](https://example.org/none.md#nothing)",
        "`queue/window`, `queue/window.py` and `broker/queue/`",
        "`queue/{window,ring}` and `queue/*`",
        "`window.py`",
        "`limits/maxConnections`, `amqp/@enabled`",
        "`broker.queue.window` and `broker.queue.window.Window`",
        "`window.Window`, `queue.Window` and `store.events.LIMIT`",
        "`Window.last`, `Window.on_full`, `Ring.turn()` and `Ring.size`",
        "`asyncio.Protocol`",
        "```\nX9 and `nowhere/at.py`\n```",
        "Here was `queue/lane`.\n\nGone since 2: `queue/lane`.\n",
    ],
)
def test_what_is_there_is_found(text: str) -> None:
    assert found("docs/page.md", text) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("contract X3", "contract X3"),
        ("contract X1, X3", "contract X3"),
        ("contract X1 to X4", "contract X3"),
        ("contract X4 to X2", "X4 to X2"),
        ("contract I1", "contract I1"),
        ("contract\nX3", "contract X3"),
        ("invariant I2", "invariant I2"),
        ("invariant X1", "invariant X1"),
        ("andes §4.3", "andes §4.3"),
        ("andes §4.1, §5", "andes §5"),
        ("0-9-1 §4.2", "0-9-1 §4.2"),
        ("ADR 5", "ADR 5"),
        ("ADR 7", "ADR 7"),
        ("ADR 9", "ADR 9"),
        ("see §4.1", "§"),
        ("(X1)", "X1"),
        ("as I52 says", "I52"),
        ("reliability.md §3.4", "reliability.md"),
        ("amqp-contract", "amqp-contract"),
        ("contract §1.0", "contract §"),
        ("andes.md §4.1", "andes.md §"),
        ("design §3", "design §"),
        ("decision 6", "decision 6"),
        ("a house rule", "house rule"),
        ("S-19", "S-19"),
        ("(test 4.8)", "(test 4.8)"),
        ("[it](nowhere.md)", "nowhere.md"),
        ("[it](../README.md#what-it-was)", "../README.md#what-it-was"),
        ("`queue/lane`", "queue/lane"),
        ("`queue/{window,lane}`", "queue/{window,lane}"),
        ("`queue/lane.py`", "queue/lane.py"),
        ("docs/limits.md", "docs/limits.md"),
        ("`lane.py`", "lane.py"),
        ("`events.py`", "events.py"),
        ("`test_frames.py`", "test_frames.py"),
        ("`limits/maxChannels`", "limits/maxChannels"),
        ("`store/maxConnections`", "store/maxConnections"),
        ("`broker.queue.lane`", "broker.queue.lane"),
        ("`window.Lane`", "window.Lane"),
        ("`Lane.size`", "Lane.size"),
        ("`Window.first`", "Window.first"),
        ("`Window.turn`", "Window.turn"),
    ],
)
def test_what_is_not_there_is_told_with_its_line(text: str, wrong: str) -> None:
    assert (2, wrong) in found("docs/page.md", f"\n{text}")


def test_classes_that_decisions_name_are_looked_for() -> None:
    assert found("docs/adr/0006-slots.md", "# 6. Slots\n\nA `Ring` is a `Window`, and no `Lane`.\n") == [(3, "Lane")]
    assert found("docs/page.md", "A `Lane`.") == []


@pytest.mark.parametrize(
    "text",
    ['"""As contract X3 says."""', "# contract X3", "x = 1  # contract\n# X3", "def f():\n    '''contract X3'''"],
)
def test_modules_are_read_like_documents(text: str) -> None:
    assert [wrong for _, wrong in found("broker/queue/window.py", text)] == ["contract X3"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('"""Deletes (D9)."""', "D9"),
        ('"""One.\n\n`queue/lane.py` has it."""', "queue/lane.py"),
        ("def f():\n    x: int = 1\n    '''Of design §3.'''", "design §"),
        ('raise Fault(f"I2: {name} is lost")', "I2"),
        ("# see andes.md §4.1", "andes.md §"),
    ],
)
def test_comments_docstrings_and_what_violations_say_are_read(text: str, wrong: str) -> None:
    assert wrong in [each for _, each in found("broker/queue/window.py", text)]


def test_code_is_not_prose() -> None:
    assert found("broker/queue/window.py", 'E1 = "X9, S-19, §5, design §3, lane.py"\nraise Fault(f"I52: {E1}")') == []


def test_tests_that_conformance_names_are_looked_for() -> None:
    assert found("docs/conformance.md", "| X1 | u/channel, unit/test_frames |\n") == []
    wrong = found("docs/conformance.md", "| X3 | u/frames, i/pika*, unit/amqp/test_frames |\n")
    assert wrong == [(1, "u/frames"), (1, "i/pika*"), (1, "unit/amqp/test_frames")]


# The repository


@cache
def repository() -> Library:
    places = [ROOT, *(folder for name in FOLDERS for folder in (ROOT / name).rglob("*") if folder.is_dir())]
    paths = sorted(path for place in {*places, *(ROOT / name for name in FOLDERS)} for path in place.iterdir())
    return Library(
        {
            path.relative_to(ROOT).as_posix(): "" if path.suffix == ".png" else path.read_text()
            for path in paths
            if path.is_file() and (path.suffix in KINDS or path.name in ("Dockerfile", "LICENSE", "Makefile"))
        }
    )


def test_every_reference_resolves() -> None:
    library = repository()
    texts = ((path, text) for path, text in library.files.items() if path != SKIPPED)
    wrong = [str(fault) for path, text in texts for fault in faults(path, text, library)]
    assert not wrong, "\n".join(wrong)


def test_every_row_of_the_contract_has_its_state() -> None:
    library = repository()
    told = re.findall(rf"^\| ({TAG}) \|", library.files[CONFORMANCE], re.M)
    assert sorted(told) == sorted(library.rows)


def test_no_tag_is_given_twice() -> None:
    library = repository()
    for path in (CONTRACT, "docs/invariants.md"):
        tags = re.findall(rf"^\| ({TAG}) \|", library.files[path], re.M)
        assert len(tags) == len(set(tags)), path
    assert not library.rows & library.invariants
