"""What measures runs without what draws, and says in one line what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_WITHOUT = """
import runpy, sys
sys.modules[sys.argv[1]] = None
sys.argv[1:] = sys.argv[2:]
runpy.run_module("benchmarks", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "code", "text"),
    [("matplotlib", 0, ""), ("psutil", 1, "error: there is no module psutil: pip install '.[bench]'")],
)
def test_only_what_is_used_must_be_installed(module: str, code: int, text: str) -> None:
    command = [sys.executable, "-c", _WITHOUT, module, "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stderr.startswith(text), "Traceback" in ended.stderr) == (code, True, False)
    assert ended.stderr.count("\n") == (1 if text else 0)
