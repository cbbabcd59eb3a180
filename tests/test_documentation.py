"""Every block of code in the documentation is tried, or says why it cannot be: `<!-- not run: REASON -->` before it.

Of command lines it is tried whether programs, commands, options and files are there; what they do others test.
Fragments of XML, YAML, TOML and JSON are read, and Python is compiled. docs/getting-started.md is run as it stands
(tests/integration/test_getting_started.py).
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import defusedxml.ElementTree as xml_reader
import pytest
import yaml

from broker.__main__ import _parser as broker_parser
from broker.cli.program import all_commands, new_program
from broker.cli.reference import MARK
from broker.cli.session import CommandSession
from broker.management.http.api import ROUTES
from broker.management.http.routing import ApiRoute
from broker.node.admin_command import parser as admin_parser
from broker.node.migrate_command import parser as migrate_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
LANGUAGES = {"", "sh", "python", "xml", "yaml", "toml", "json"}
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()


@dataclass(frozen=True)
class Block:
    """A block of code, and where it is."""

    place: str
    language: str
    text: str
    reason: str


def blocks() -> Iterator[Block]:
    for path in PAGES:
        page = path.read_text().partition(MARK)[0]  # what is generated is tried by tests/unit/cli/test_program.py
        assert page.count("\n```") % 2 == 0, path
        found = list(BLOCK.finditer(page))
        assert len(found) == page.count("\n```") // 2, f"{path}: a block is not at the beginning of its lines"
        for each in found:
            line = page[: each.start("language")].count("\n") + 1
            yield Block(f"{path.relative_to(ROOT)}:{line}", each["language"], each["text"], each["reason"] or "")


BLOCKS = list(blocks())


@pytest.mark.parametrize("block", BLOCKS, ids=[block.place for block in BLOCKS])
def test_a_block_of_code_is_in_order(block: Block) -> None:
    assert block.language in LANGUAGES
    if block.reason:
        assert len(block.reason.split()) > 1, "say why it is not run"
        return
    if block.language == "python":
        ast.parse(block.text)
    elif block.language == "xml":
        xml_reader.fromstring(block.text if block.text.count("\n<") == 0 else f"<all>{block.text}</all>")
    elif block.language == "yaml":
        assert yaml.safe_load(block.text)
    elif block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "json":
        assert json.loads(block.text)
    else:
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.strip():
                understand(line)


def understand(line: str) -> None:
    """Raise `AssertionError` for a command line that does not begin as it should."""
    words = [word for word in shlex.split(line, comments=True) if word != "&"]
    words = words[: words.index(">")] if ">" in words else words
    while words and re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    program, arguments = Path(words[0]).name, words[1:]
    if program in ("python", "python3"):
        understand_python(arguments)
    elif program == "brokerctl":
        understand_brokerctl(arguments)
    elif program == "make":
        for target in [word for word in arguments if "=" not in word]:
            assert re.search(rf"^{target}:.*##", MAKEFILE, re.M), f"make has no {target}"
    elif program == "pip":
        for extras in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
            assert set(extras.split(",")) <= EXTRAS
    elif program == "curl":
        paths = re.findall(r":\d+/api(/[^'\"\s?]+)", line)
        assert paths, "nobody tries that: say why before the block"
        assert all(any(is_of(route, path) for route in ROUTES) for path in paths), paths
    elif program == "cp":
        sources = [word for word in arguments[:-1] if not word.startswith("-")]
        assert all((ROOT / source).exists() for source in sources), sources
    else:
        raise AssertionError(f"nobody tries {program!r}: say why before the block, <!-- not run: … -->")


def is_of(route: ApiRoute, path: str) -> bool:
    """Is this a path of that route?"""
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), path) is not None


def understand_python(arguments: list[str]) -> None:
    if arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file(), arguments[0]
        return
    module, rest = arguments[1], arguments[2:]
    if module == "venv":
        return
    assert module == "broker", module
    own = {"admin": admin_parser, "migrate": migrate_parser}
    if rest == ["--help"]:
        return
    try:
        if rest[:1] and rest[0] in own:
            own[rest[0]]().parse_args(["1" if word == "ID" else word for word in rest[1:]])
        else:
            broker_parser().parse_args(rest)
    except SystemExit:
        raise AssertionError(f"that is no command line of the broker: {arguments}") from None


def understand_brokerctl(arguments: list[str]) -> None:
    whole = new_program(all_commands())
    context = whole.make_context("brokerctl", list(arguments), obj=CommandSession({}))
    command: click.Command = whole
    rest = [*context._protected_args, *context.args]
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None, name
        command = found
        context = command.make_context(name, rest, parent=context)
        rest = [*context._protected_args, *context.args]


def test_a_line_that_is_wrong_is_found() -> None:
    for line in (
        "make nothing-of-the-kind",
        "brokerctl list_queues --nope",
        "brokerctl no_such_command",
        "python -m broker --no-such-option",
        "python -m broker admin no-such-command",
        "python examples/nothing.py",
        "pip install '.[nothing]'",
        "cp nothing /etc",
        "ls",
    ):
        with pytest.raises((AssertionError, click.UsageError)):
            understand(line)


def test_every_page_of_the_documentation_is_found_by_the_navigation_of_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    missing = [path.name for path in ROOT.glob("docs/*.md") if f": {path.name}\n" not in navigation]
    assert missing == [], "add it to nav of mkdocs.yml"


@pytest.mark.slow
def test_the_documentation_is_a_site_in_which_every_link_leads_somewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "troubleshooting.html").is_file()
