"""What the demo wants, said in one line."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.nodes.process import PROJECT


def refused(*arguments: str, **environ: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.demo", *arguments],
        cwd=PROJECT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 78, ended
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    return line


SQLITE = "jdbc:sqlite:demo.db"


def test_an_embedded_store_cannot_be_shared() -> None:
    line = refused("3", CORDILLERA_DEMO_DATABASE=SQLITE)
    assert "not sqlite" in line
    assert "CORDILLERA_DEMO_DATABASE" in line


def test_a_wrong_address_in_the_environment_is_named() -> None:
    line = refused("3", CORDILLERA_DEMO_DATABASE="jdbc:oracle:thin:@host")
    assert line.startswith(
        "the environment variable CORDILLERA_DEMO_DATABASE: 'jdbc:oracle:********' is not a database"
    )


def test_there_are_as_many_nodes_as_there_are_digits() -> None:
    assert refused("10", CORDILLERA_DEMO_DATABASE=SQLITE) == "the demo takes 1 to 9 nodes, not 10"
