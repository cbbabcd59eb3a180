"""Nodes that are remembered, and the file they are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.cli.contexts import Context, Contexts, contexts_path, read_contexts, write_contexts
from broker.cli.failure import EX_CANTCREAT, EX_CONFIG, CommandFailure
from broker.cli.program import run


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def test_contexts_are_added_selected_listed_and_removed(environ: dict[str, str], capsys: Any) -> None:
    assert run(["context", "add", "shop", "http://ops:s3cret@mq.example.com:1"], environ) == 0
    assert run(["context", "add", "here", "--socket", "/run/control"], environ) == 0
    assert run(["context", "select", "shop"], environ) == 0
    path = contexts_path(environ)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_contexts(path) == Contexts(
        {"shop": Context("http://mq.example.com:1", "ops", "s3cret"), "here": Context(socket="/run/control")}, "shop"
    )
    capsys.readouterr()
    assert run(["context", "ls", "-s"], environ) == 0
    assert capsys.readouterr().out == (
        "local\tfalse\tcontrol socket\t\nshop\ttrue\thttp://mq.example.com:1\tops\nhere\tfalse\t/run/control\t\n"
    )
    assert run(["context", "rm", "shop"], environ) == 0
    assert read_contexts(path).selected == ""
    assert run(["context", "rm", "shop"], environ) == 64
    assert run(["context", "add", "local", "http://localhost"], environ) == 64
    assert run(["context", "add", "both", "http://localhost", "--socket", "/run/control"], environ) == 64


def test_no_file_is_no_context(tmp_path: Path) -> None:
    assert read_contexts(tmp_path / "none") == Contexts()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"contexts": 1}', '{"contexts": {"a": {"nope": 1}}}'])
def test_a_file_that_is_none_of_contexts_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "contexts.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(CommandFailure, match="is no file of contexts") as failure:
        read_contexts(path)
    assert failure.value.code == EX_CONFIG


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contexts.json"
    write_contexts(path, Contexts())
    path.chmod(0o640)
    with pytest.raises(CommandFailure, match="others may open it: chmod 600"):
        read_contexts(path)


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailure, match="cannot be written") as failure:
        write_contexts(tmp_path / "file" / "contexts.json", Contexts())
    assert failure.value.code == EX_CANTCREAT
