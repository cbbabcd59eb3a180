"""Connections of clients, closed by an operator."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.support.command_line import CommandLine, MemoryWay
from tests.unit.cli.test_program import brokerctl as brokerctl

ROWS = [{"name": name, "vhost": vhost} for name, vhost in (("a", "/"), ("b", "/"), ("gone", "/"), ("c", "carbon"))]


@pytest.fixture
def closed(brokerctl: CommandLine) -> list[tuple[str, str]]:
    """Names of connections that were closed, with the reason; one has ended before it can be closed."""
    found: list[tuple[str, str]] = []

    def request(
        way: MemoryWay, method: str, path: str, query: Mapping[str, str], body: str, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        if method == "DELETE":
            name = path.rpartition("/")[2]
            found.append((name, headers["x-reason"]))
            return (404, "{}") if name == "gone" else (204, "")
        return (200, json.dumps(ROWS)) if path == "/connections" else (200, "{}")

    brokerctl.monkeypatch.setattr(MemoryWay, "request", request)
    return found


def test_those_of_a_virtual_host_are_closed_with_a_reason(
    brokerctl: CommandLine, closed: list[tuple[str, str]]
) -> None:
    ended = brokerctl("close_all_connections because --yes --per-connection-delay 1s")
    assert (ended.out, brokerctl.now) == ("2 connections of virtual host '/' are closed\n", 2.0)
    assert closed == [("a", "because"), ("b", "because"), ("gone", "because")]


def test_those_of_all_virtual_hosts_are_closed_up_to_a_limit(
    brokerctl: CommandLine, closed: list[tuple[str, str]]
) -> None:
    told = brokerctl("close_all_connections because --global --dry-run").out
    assert (told, closed) == ("would close 4 connections of all virtual hosts\n", [])
    assert brokerctl("close_all_connections because --global --limit 1 --yes").code == 0
    assert closed == [("a", "because")]


def test_those_of_a_user_are_closed_with_a_reason(brokerctl: CommandLine, closed: list[tuple[str, str]]) -> None:
    assert brokerctl("close_all_user_connections ann because --yes").code == 0
    assert closed == [("ann", "because")]


def test_a_virtual_host_that_is_not_there_is_named(brokerctl: CommandLine) -> None:
    ended = brokerctl("close_all_connections because -p none --yes")
    assert (ended.code, ended.err) == (65, "Error: there is no virtual host 'none'\n")
