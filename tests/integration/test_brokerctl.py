"""`brokerctl` and a running broker: over the control socket without a password, and over HTTP with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerProcess
from broker.cli.program import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    folder = tmp_path_factory.mktemp("node")
    process = BrokerProcess(folder, NodeConfiguration(f"jdbc:sqlite:{folder}/data/mb.db", http_port=quiet_port()))
    process.start()
    yield process
    print(process.log)
    process.stop()


Told = tuple[int, str, str]


@pytest.fixture
def brokerctl(capsys: Any, tmp_path: Path) -> Callable[..., Told]:
    def start(*arguments: str) -> Told:
        code = run(arguments, {"XDG_CONFIG_HOME": str(tmp_path), "PATH": os.environ["PATH"]})
        found = capsys.readouterr()
        return code, found.out, found.err

    return start


def test_both_ways_lead_to_the_same_node(broker: BrokerProcess, brokerctl: Callable[..., Told]) -> None:
    control = ("--socket", f"{broker.config.parent}/data/mb.db.control")
    http = ("--url", f"http://guest:guest@127.0.0.1:{broker.configuration.http_port}")
    assert brokerctl(*control, "queue", "add", "orders") == (0, "queue 'orders' declared\n", "")
    assert brokerctl(*http, "pub", "orders", "one") == (0, "published\n", "")
    assert brokerctl(*control, "pub", "orders", "two") == (0, "published\n", "")
    assert brokerctl(*control, "list_queues", "-s") == (0, "orders\t2\n", "")
    assert brokerctl(*http, "list_queues", "-s") == (0, "orders\t2\n", "")
    code, out, _ = brokerctl("--config", str(broker.config), "get", "orders", "--ack", "--count", "9", "--json")
    assert (code, [each["payload"] for each in json.loads(out)]) == (0, ["one", "two"])
    assert brokerctl(*control, "check", "--all")[0] == 0
    assert "takes clients\tyes\n" in brokerctl(*control, "status")[1]
    assert brokerctl(*control, "drain")[0] == 0
    assert "takes clients\tno: the node is drained and takes no clients\n" in brokerctl(*control, "status")[1]
    assert "is drained" in json.loads(brokerctl(*http, "status", "--json")[1])["refuses_clients"]
    assert brokerctl(*control, "revive")[0] == 0
    assert brokerctl(*control, "subscriptions", "ls") == (0, "id\n", "")
    code, _, error = brokerctl("--url", http[1].replace("guest:guest", "guest:wrong"), "list_queues")
    assert (code, error.count("\n")) == (77, 1)


COMPLETING = """
eval "$(brokerctl completion bash)"
compopt() { :; }
try() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _brokerctl_completion brokerctl "${!#}"
    echo "${COMPREPLY[*]}"
}
"""


def test_bash_completes_commands_options_and_names_for_a_user_who_has_set_up_nothing_else(
    broker: BrokerProcess, brokerctl: Callable[..., Told], tmp_path: Path
) -> None:
    socket = f"{broker.config.parent}/data/mb.db.control"
    assert brokerctl("--socket", socket, "queue", "add", "invoices")[0] == 0
    program = tmp_path / "brokerctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m broker.cli "$@"\n')
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    lines = ("list_qu", "list-qu", "list_queues --jsonl", "queue show inv", "config check /")
    script = COMPLETING + "".join(f"try brokerctl {line}\n" for line in lines)
    command = ["bash", "--norc", "--noprofile", "-c", script]
    found = subprocess.run(
        command, env=environ | {"BROKER_SOCKET": socket}, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert found.stderr == ""
    assert found.stdout.splitlines() == ["list_queues", "list-queues", "--jsonl", "invoices", ""]
