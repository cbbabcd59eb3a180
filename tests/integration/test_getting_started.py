"""The blocks of docs/getting-started.md do what the page says, in its order, against a node in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerProcess

PAGE = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[BrokerProcess]:
    folder = tmp_path / "here"
    folder.mkdir()
    configuration = NodeConfiguration(f"jdbc:sqlite:{folder}/broker-data/mb.db", http_port=quiet_port())
    process = BrokerProcess(tmp_path / "node", configuration)
    process.start()
    yield process
    process.stop()


def test_the_first_steps_lead_where_the_page_says(node: BrokerProcess, tmp_path: Path) -> None:
    program = f"{sys.executable} -m broker.cli"
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_CONFIG_HOME": str(tmp_path)}
    outputs = []
    for language, text in BLOCKS:
        if "make run" in text:
            continue  # the fixture has done that
        if language == "python":
            command = [sys.executable, "-c", text.replace("127.0.0.1:5672", f"127.0.0.1:{node.port}")]
        else:
            command = ["sh", "-ec", text.replace(".venv/bin/brokerctl", program)]
        done = subprocess.run(command, cwd=tmp_path / "here", env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        outputs.append(done.stdout)
    assert "messages\ttrue" in outputs[0], "a message went through"
    assert outputs[1].splitlines()[-2:] == ["orders\t1", "one coffee"]
    assert outputs[2] == "one coffee\n"
