"""In which order the servers of a database are tried."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from broker.config.store_url import parse
from broker.store.server.addresses import Servers

FIRST, SECOND, THIRD = ("db1", 5432), ("db2", 5432), ("db3", 5433)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servers(clock: Clock) -> Servers:
    return Servers(parse("jdbc:postgresql://db1,db2,db3:5433/mb?user=me&password=canary"), clock)


def test_servers_are_tried_in_the_order_of_the_url(servers: Servers) -> None:
    assert servers.in_order() == [FIRST, SECOND, THIRD]


def test_a_server_that_has_failed_is_tried_last_for_ten_seconds(servers: Servers, clock: Clock) -> None:
    servers.on_failed(FIRST)
    assert servers.in_order() == [SECOND, THIRD, FIRST]

    clock.now += 10
    assert servers.in_order() == [FIRST, SECOND, THIRD]


def test_a_server_that_was_reached_again_is_tried_in_its_turn(servers: Servers) -> None:
    servers.on_failed(FIRST)
    servers.on_connected(FIRST)

    assert servers.in_order() == [FIRST, SECOND, THIRD]


def test_the_server_in_use_is_tried_first_until_it_fails(servers: Servers) -> None:
    servers.on_connected(SECOND)
    assert servers.in_order() == [SECOND, FIRST, THIRD]

    servers.on_failed(SECOND)
    assert servers.in_order() == [FIRST, THIRD, SECOND]


def test_the_server_in_use_is_named_and_nothing_secret(servers: Servers) -> None:
    assert servers.where == servers.in_use == "db1:5432,db2:5432,db3:5433/mb"

    servers.on_connected(SECOND)

    assert servers.in_use == "db2:5432/mb"


def test_a_change_of_the_server_in_use_is_told_once(servers: Servers) -> None:
    with capture_logs() as logs:
        for address in (FIRST, FIRST, SECOND, SECOND):
            servers.on_connected(address)

    assert [(line["server"], line["before"]) for line in logs] == [("db2:5432/mb", "db1:5432/mb")]


def test_commits_that_did_not_wait_are_all_counted_and_told_every_ten_seconds(servers: Servers, clock: Clock) -> None:
    servers.on_connected(SECOND)
    with capture_logs() as logs:
        for _ in range(3):
            servers.on_not_replicated()
        clock.now += 10
        servers.on_not_replicated()

    assert [(line["server"], line["commits"]) for line in logs] == [("db2:5432/mb", 1), ("db2:5432/mb", 4)]
    assert servers.not_replicated == 4


def test_a_server_that_has_the_database_again_is_told_when_it_has_not(servers: Servers) -> None:
    servers.on_connected(FIRST)
    servers.expect(7)
    with capture_logs() as logs:
        assert servers.why_not(SECOND, None) == servers.why_not(SECOND, None)
        assert servers.why_not(SECOND, 7) == ""
        assert servers.why_not(SECOND, 8).endswith("another database of this broker, not the database of db1:5432/mb")

    assert [line["server"] for line in logs] == ["db2:5432/mb"] * 2
