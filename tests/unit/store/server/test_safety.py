"""What settings of database servers mean for a commit, as the servers show them."""

from __future__ import annotations

import pytest

from broker.store.server.safety import mysql_findings, postgresql_findings

SAFE = {"innodb_flush_log_at_trx_commit": "1", "innodb_doublewrite": "ON", "log_bin": "ON", "sync_binlog": "1"}
SEMI_SYNC = SAFE | {
    "rpl_semi_sync_master_enabled": "ON",
    "rpl_semi_sync_master_timeout": "3600000",
    "rpl_semi_sync_master_wait_point": "AFTER_SYNC",
    "rpl_semi_sync_master_wait_no_slave": "ON",
}
ANSWERED = {"Slaves_connected": "1", "Rpl_semi_sync_master_status": "ON", "Rpl_semi_sync_master_clients": "1"}
ON = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "synchronous_standby_names": ""}
NAMED = ON | {"synchronous_standby_names": "standby1"}


@pytest.mark.parametrize(
    ("variables", "status"),
    [
        (SAFE, {}),
        (SAFE, {"Slaves_connected": "0"}),
        (SEMI_SYNC, ANSWERED),
        (SAFE | {"wsrep_on": "ON"}, {"wsrep_cluster_size": "3", "Slaves_connected": "1"}),
        (SAFE | {"wsrep_on": "ON"}, {"wsrep_cluster_size": "3", "wsrep_incoming_addresses": "db1:0,,db2:0"}),
    ],
)
def test_a_mysql_that_keeps_what_it_commits_has_no_findings(variables: dict[str, str], status: dict[str, str]) -> None:
    assert list(mysql_findings(variables, status)) == []


@pytest.mark.parametrize(
    ("variables", "status", "finding"),
    [
        (SAFE | {"innodb_flush_log_at_trx_commit": "2"}, {}, "innodb_flush_log_at_trx_commit is 2, not 1:"),
        (SAFE | {"innodb_doublewrite": "OFF"}, {}, "innodb_doublewrite is OFF, not ON:"),
        (SAFE | {"sync_binlog": "0"}, {}, "sync_binlog is 0, not 1:"),
        (SAFE, {"Slaves_connected": "1"}, "replicas are asynchronous (no semi-sync, no Galera):"),
        (SAFE | {"wsrep_on": "ON"}, {"wsrep_cluster_size": "1"}, "the Galera cluster has one server with data now"),
        (
            SAFE | {"wsrep_on": "ON"},
            {"wsrep_cluster_size": "2", "wsrep_incoming_addresses": "db2:0,"},
            "the Galera cluster has one server with data now (wsrep_cluster_size is 2, wsrep_incoming_addresses is",
        ),
        (SEMI_SYNC, ANSWERED | {"Rpl_semi_sync_master_status": "OFF"}, "rpl_semi_sync_master_enabled is ON, but no"),
        (
            SEMI_SYNC,
            ANSWERED | {"Rpl_semi_sync_master_status": "OFF", "Rpl_semi_sync_master_clients": "0"},
            "rpl_semi_sync_master_enabled is ON, but no replica answers",
        ),
        (
            SEMI_SYNC,
            ANSWERED | {"Rpl_semi_sync_master_clients": "0"},
            "rpl_semi_sync_master_enabled is ON, and no replica is connected (Rpl_semi_sync_master_clients is 0):",
        ),
        (
            SEMI_SYNC | {"rpl_semi_sync_master_wait_no_slave": "OFF"},
            ANSWERED,
            "rpl_semi_sync_master_wait_no_slave is OFF, not ON:",
        ),
        (SEMI_SYNC | {"rpl_semi_sync_master_timeout": "10000"}, ANSWERED, "rpl_semi_sync_master_timeout is 10000,"),
        (
            SEMI_SYNC | {"rpl_semi_sync_master_wait_point": "AFTER_COMMIT"},
            ANSWERED,
            "rpl_semi_sync_master_wait_point is AFTER_COMMIT, not AFTER_SYNC:",
        ),
        (
            SAFE | {"rpl_semi_sync_source_enabled": "ON"},
            {"Rpl_semi_sync_source_status": "OFF"},
            "rpl_semi_sync_source_enabled is ON, but no replica answers",
        ),
    ],
)
def test_a_mysql_that_can_lose_a_commit_is_told_by_its_setting(
    variables: dict[str, str], status: dict[str, str], finding: str
) -> None:
    (line,) = mysql_findings(variables, status)

    assert line.startswith(finding)


@pytest.mark.parametrize(
    ("settings", "standbys", "synchronous", "absent"),
    [(ON, 0, 0, []), (NAMED, 1, 1, ["standby2"]), (NAMED, 1, None, [])],
)
def test_a_postgresql_that_keeps_what_it_commits_has_no_findings(
    settings: dict[str, str], standbys: int, synchronous: int | None, absent: list[str]
) -> None:
    assert list(postgresql_findings(settings, standbys, synchronous, absent)) == []


@pytest.mark.parametrize(
    ("settings", "standbys", "synchronous", "absent", "finding"),
    [
        (ON | {"fsync": "off"}, 0, 0, [], "fsync is off, not on:"),
        (ON | {"full_page_writes": "off"}, 0, 0, [], "full_page_writes is off, not on:"),
        (ON, 1, 0, [], "there are standbys, but synchronous_standby_names is empty:"),
        (ON, 0, 0, ["standby1"], "the standby of the replication slot 'standby1' is not connected, and"),
        (NAMED, 0, 0, [], "synchronous_standby_names is 'standby1', and no such standby is connected:"),
        (NAMED, 2, 0, [], "synchronous_standby_names is 'standby1', and no such standby is connected:"),
    ],
)
def test_a_postgresql_that_can_lose_a_commit_is_told_by_its_setting(
    settings: dict[str, str], standbys: int, synchronous: int | None, absent: list[str], finding: str
) -> None:
    (line,) = postgresql_findings(settings, standbys, synchronous, absent)

    assert line.startswith(finding)
