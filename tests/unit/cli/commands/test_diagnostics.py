"""What `rabbitmqctl` and `rabbitmq-diagnostics` are asked before and after a node is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker.cli.failure import EX_UNAVAILABLE, CommandFailure
from tests.support.command_line import CommandLine, MemoryWay
from tests.unit.cli.test_program import brokerctl as brokerctl


def test_programs_are_told_a_version_of_rabbitmq(brokerctl: CommandLine) -> None:
    assert brokerctl("version", program="rabbitmqctl").out == "3.13.7\n"
    assert "3.13.7" not in brokerctl("server_version").out


def test_a_start_is_waited_for(brokerctl: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that answers after two seconds, and one that does not."""
    until = 2.0

    def request(
        way: MemoryWay, method: str, path: str, query: Mapping[str, str], body: str, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        if brokerctl.now < until:
            raise CommandFailure(EX_UNAVAILABLE, "no node answers on memory")
        return 200, "{}"

    brokerctl.monkeypatch.setattr(MemoryWay, "request", request)
    assert (brokerctl("await_startup").code, brokerctl.now) == (0, 2.0)
    until = 1000.0
    ended = brokerctl("await_startup --timeout 1m")
    assert (ended.code, ended.err) == (75, "Error: for 60 seconds no node answers on memory\n")
    assert brokerctl.now == pytest.approx(62.0)


def test_ports_are_connected_to_where_the_node_listens(brokerctl: CommandLine) -> None:
    assert brokerctl("check_port_connectivity").code == 0
    assert brokerctl.reached
    brokerctl.closed_ports = {brokerctl.reached[0][1]}
    ended = brokerctl("check_port_connectivity --address broker.example")
    assert (ended.code, "false\tconnection refused" in ended.out) == (69, True)
    assert brokerctl.reached[-1][0] == "broker.example"


def test_all_feature_flags_are_enabled(brokerctl: CommandLine) -> None:
    assert "quorum_queue\tenabled\n" in brokerctl("list_feature_flags name state -s").out
    assert brokerctl("enable_feature_flag quorum_queue").code == 0
    assert brokerctl("enable_feature_flag nonsense").code == 65


def test_the_log_is_told_with_the_oldest_line_first(brokerctl: CommandLine) -> None:
    lines = [{"time": str(number), "level": "info", "event": "e", "fields": {"a": number}} for number in (2, 1)]

    def logs(level: str, before: int | None, limit: int, text: str) -> list[dict[str, Any]]:
        return lines

    brokerctl.monkeypatch.setattr(type(brokerctl.node.node.view), "logs", staticmethod(logs), raising=False)
    assert brokerctl("log_tail -s").out == "1\tinfo\te\ta=1\n2\tinfo\te\ta=2\n"


def test_a_list_that_cannot_be_printed_prints_nothing(brokerctl: CommandLine) -> None:
    ended = brokerctl("list_queues frobs", program="rabbitmqctl")
    assert (ended.code, ended.out) == (64, "")
