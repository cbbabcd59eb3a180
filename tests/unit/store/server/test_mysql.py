"""What a server that speaks MySQL's protocol is taken for by what it says of itself, and its codes of errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pymysql
import pytest

from broker.config.connection_options import ConnectionOptions
from broker.config.store_url import parse
from broker.errors import ConfigError, StoreUnavailable
from broker.store.server.engine import Failure
from broker.store.server.mysql import MySql

MARIADB, TIDB = "5.5.5-10.11.19-MariaDB-log", "8.0.11-TiDB-v7.5.1"
NOT_READY = {"wsrep_ready": "OFF", "wsrep_cluster_status": "non-Primary"}


@dataclass
class Answer:
    rows: Any
    has_next: bool = False


@dataclass(eq=False)
class Raw:
    """A connection whose server has this version and this status."""

    version: str = MARIADB
    status: Mapping[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def get_server_info(self) -> str:
        return self.version

    async def query(self, statement: str) -> int:
        self.asked.append(statement)
        self._result = Answer(tuple(self.status.items()) if statement.startswith("SHOW") else ())
        return 0


@pytest.fixture
def dialect() -> MySql:
    return MySql(parse("jdbc:mysql://db1,db2/mb"), ConnectionOptions())


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        *((code, Failure.CONFLICT) for code in (1213, 1205, 3101, 8002, 8005, 8022, 8028, 9007)),
        *((code, Failure.LOST) for code in (2013, 1180, 8501)),
        *((code, Failure.BUSY) for code in (1047, 3100, 9001, 9002, 9003, 9004, 9005, 9006)),
        *((code, Failure.READ_ONLY) for code in (1290, 1792, 1836)),
    ],
)
def test_each_code_of_galera_group_replication_and_tidb_has_its_class(
    dialect: MySql, code: int, failure: Failure
) -> None:
    assert dialect.failure(pymysql.err.OperationalError(code, "why")) is failure


@pytest.mark.parametrize(
    "variables",
    [{"read_only": "ON"}, {"super_read_only": "ON", "read_only": "ON"}, {"innodb_read_only": "ON"}, {"read_only": "1"}],
)
async def test_a_server_that_takes_no_writes_is_refused(dialect: MySql, variables: dict[str, str]) -> None:
    with pytest.raises(StoreUnavailable, match=r"this server takes no writes \(\w*read_only is"):
        await dialect._judge(Raw(), variables)


async def test_a_server_that_takes_no_writes_will_do_for_reading() -> None:
    dialect = MySql(parse("jdbc:mysql://db1,db2/mb"), ConnectionOptions(), needs_writes=False)

    await dialect._judge(Raw(), {"read_only": "ON"})


async def test_a_server_of_galera_that_is_not_ready_is_refused(dialect: MySql) -> None:
    with pytest.raises(StoreUnavailable, match=r"is not ready \(wsrep_cluster_status non-Primary\)"):
        await dialect._judge(Raw(status=NOT_READY), {"wsrep_on": "ON"})


async def test_on_galera_locks_are_local_and_reads_wait_for_the_other_servers(dialect: MySql) -> None:
    raw = Raw(status={"wsrep_ready": "ON", "wsrep_cluster_size": "3"})

    await dialect._judge(raw, {"wsrep_on": "ON"})

    assert dialect.has_local_locks(raw)
    assert raw.asked[-1] == "SET SESSION wsrep_sync_wait = 15"
    assert await dialect.describe(raw) == "MariaDB 10.11.19 (Galera, servers: 3)"


async def test_a_server_by_itself_is_asked_for_nothing_more(dialect: MySql) -> None:
    raw = Raw()

    await dialect._judge(raw, {"read_only": "OFF", "wsrep_on": "OFF"})

    assert (raw.asked, dialect.has_local_locks(raw)) == ([], False)
    assert await dialect.describe(raw) == "MariaDB 10.11.19"


async def test_tidb_is_known_by_its_version_and_locks_by_writing(dialect: MySql) -> None:
    raw = Raw(version=TIDB)

    await dialect._judge(raw, {"tidb_enable_noop_functions": "OFF"})

    assert raw.asked == ["SET SESSION tidb_txn_mode = 'pessimistic'"]
    assert dialect.has_local_locks(raw)
    assert await dialect.describe(raw) == "TiDB v7.5.1"


async def test_tidb_with_locks_that_lock_nothing_is_refused(dialect: MySql) -> None:
    with pytest.raises(
        ConfigError, match=r"tidb_enable_noop_functions is ON: TiDB then accepts locks that lock nothing"
    ):
        await dialect._judge(Raw(version=TIDB), {"tidb_enable_noop_functions": "ON"})
