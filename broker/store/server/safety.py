"""What the settings of a database server mean for a commit (invariant I91): a line for each that can lose one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

MYSQL_VARIABLES: Final = (
    "innodb_flush_log_at_trx_commit",
    "innodb_doublewrite",
    "log_bin",
    "sync_binlog",
    "wsrep_on",
    *(
        f"rpl_semi_sync_{role}_{name}"
        for role in ("master", "source")
        for name in ("enabled", "timeout", "wait_point", "wait_no_slave")
    ),
)
UNANSWERED: Final = ("Rpl_semi_sync_master_no_tx", "Rpl_semi_sync_source_no_tx")
"""Commits that a primary did not let wait for its replicas, though it is semi-synchronous."""
MYSQL_STATUS: Final = (
    *UNANSWERED,
    "Slaves_connected",
    "wsrep_cluster_size",
    "wsrep_incoming_addresses",
    *(f"Rpl_semi_sync_{role}_{name}" for role in ("master", "source") for name in ("status", "clients")),
)
_LONG_ENOUGH: Final = 3_600_000
"""Milliseconds after which a semi-synchronous source may give up its replicas: a human has noticed before."""


def mysql_findings(variables: Mapping[str, str], status: Mapping[str, str]) -> Iterator[str]:
    """Yield what can lose a commit in MariaDB or MySQL; names and values as the server shows them."""
    flush = variables.get("innodb_flush_log_at_trx_commit", "1")
    if flush != "1":
        yield f"innodb_flush_log_at_trx_commit is {flush}, not 1: a power failure loses the last second"
    if variables.get("innodb_doublewrite", "ON") == "OFF":
        yield "innodb_doublewrite is OFF, not ON: a power failure can tear a page"
    sync = variables.get("sync_binlog", "1")
    if variables.get("log_bin") == "ON" and sync != "1":
        yield f"sync_binlog is {sync}, not 1: after a power failure log and tables can differ"
    if variables.get("wsrep_on") == "ON":
        # An arbitrator has no address and no data.
        addresses = status.get("wsrep_incoming_addresses", "")
        size = status.get("wsrep_cluster_size", "")
        if size == "1" or len([each for each in addresses.split(",") if each.strip()]) == 1:
            yield (
                f"the Galera cluster has one server with data now (wsrep_cluster_size is {size},"
                f" wsrep_incoming_addresses is '{addresses}'): what it commits is nowhere else"
            )
        return
    role = next((each for each in ("master", "source") if variables.get(f"rpl_semi_sync_{each}_enabled") == "ON"), "")
    if role:
        yield from _semi_sync_findings(role, variables, status)
    elif int(status.get("Slaves_connected", "0")):
        yield "replicas are asynchronous (no semi-sync, no Galera): a fail-over loses what they have not yet"


def _semi_sync_findings(role: str, variables: Mapping[str, str], status: Mapping[str, str]) -> Iterator[str]:
    prefix = f"rpl_semi_sync_{role}"
    if status.get(f"Rpl_semi_sync_{role}_status") == "OFF":
        yield (
            f"{prefix}_enabled is ON, but no replica answers, and replication is asynchronous now"
            f" (Rpl_semi_sync_{role}_status is OFF): a fail-over loses what the replicas have not yet"
        )
    elif status.get(f"Rpl_semi_sync_{role}_clients") == "0":
        yield (
            f"{prefix}_enabled is ON, and no replica is connected (Rpl_semi_sync_{role}_clients is 0): commits wait for"
            " one, and without this database what was on no replica would be lost"
        )
    if variables.get(f"{prefix}_wait_no_slave") == "OFF":
        yield (
            f"{prefix}_wait_no_slave is OFF, not ON: as soon as no replica is connected replication becomes"
            " asynchronous, and a fail-over loses what the replicas have not yet"
        )
    timeout = variables.get(f"{prefix}_timeout", "")
    if timeout and int(timeout) < _LONG_ENOUGH:
        yield (
            f"{prefix}_timeout is {timeout}, less than {_LONG_ENOUGH}: after so many milliseconds without an answer"
            " replication becomes asynchronous, and a fail-over loses what the replicas have not yet"
        )
    if variables.get(f"{prefix}_wait_point") == "AFTER_COMMIT":
        yield (
            f"{prefix}_wait_point is AFTER_COMMIT, not AFTER_SYNC: others see a commit before a replica has it, and a"
            " fail-over then takes it back"
        )


def postgresql_findings(
    settings: Mapping[str, str], standbys: int, synchronous: int | None, absent: Sequence[str]
) -> Iterator[str]:
    """Yield what can lose a commit in PostgreSQL.

    Of the `standbys` that are connected so many are `synchronous`; None: this user may not know. `absent` are the
    physical replication slots of those that are not connected.
    """
    if settings["fsync"] != "on":
        yield f"fsync is {settings['fsync']}, not on: a power failure loses commits, or the database"
    if settings["full_page_writes"] != "on":
        yield f"full_page_writes is {settings['full_page_writes']}, not on: a power failure can tear a page"
    names = settings["synchronous_standby_names"]
    if names:
        if not standbys or synchronous == 0:
            yield (
                f"synchronous_standby_names is '{names}', and no such standby is connected: commits wait for one, and"
                " without this database what was not on a standby would be lost"
            )
    elif standbys:
        yield "there are standbys, but synchronous_standby_names is empty: a fail-over loses what they have not yet"
    elif absent:
        yield (
            f"the standby of the replication slot '{absent[0]}' is not connected, and synchronous_standby_names is"
            " empty: a fail-over loses what it has not yet"
        )
