"""A worker changes a file, runs the tests beside it, and puts the file back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.support.mutants.selection import Selection
from tests.support.mutants.worker import Job, Outcome

PROJECT = Path(__file__).parents[4]
CODE = "def add(a, b):\n    return a + b\n"
TEST = "from code_under_test import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "code_under_test.py").write_text(CODE)
    (tmp_path / "test_code.py").write_text(TEST)
    return tmp_path


def outcomes(folder: Path, *jobs: Job) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.mutants.worker"],
        input="".join(json.dumps(asdict(job)) + "\n" for job in jobs),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}:{PROJECT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [Outcome(**json.loads(line)).result for line in done.stdout.splitlines()]


def change(text: str, seconds: float = 60.0) -> Job:
    return Job("code_under_test.py", text, ["test_code.py"], seconds)


def test_a_change_is_noticed_unless_it_changes_nothing(folder: Path) -> None:
    learned = folder / "lines.json"
    learning = Job("", "", ["test_code.py"], 60.0, learn=str(learned), modules=("code_under_test.py",))
    hanging = change("def add(a, b):\n    while True:\n        pass\n", seconds=3.0)

    found = outcomes(folder, learning, change(CODE.replace("+", "-")), change(CODE), hanging)

    assert found == ["passed", "failed", "passed", "hung"]
    assert (folder / "code_under_test.py").read_text() == CODE
    assert Selection.load(learned).within(folder).tests_of("code_under_test.py", 2, 2) == ["test_code.py::test_add"]
