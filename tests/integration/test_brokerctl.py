"""`brokerctl` and a running broker: over the control socket without a password, and over HTTP with one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerProcess
from broker.cli.program import run


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
    assert brokerctl(*control, "status", "--json")[0] == 0
    assert brokerctl(*control, "subscriptions", "ls") == (0, "id\n", "")
    code, _, error = brokerctl("--url", http[1].replace("guest:guest", "guest:wrong"), "list_queues")
    assert (code, error.count("\n")) == (77, 1)
