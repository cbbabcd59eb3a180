"""What a server that speaks MySQL's protocol is taken for by what it says of itself, and its codes of errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pymysql
import pytest
from sqlalchemy.exc import ProgrammingError
from structlog.testing import capture_logs

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
        *((code, Failure.CONFLICT) for code in (1213, 1205, 3101, 8002, 8005, 8022, 8028, 8147, 8229, 9007)),
        *((code, Failure.LOST) for code in (2013, 1180, 8501)),
        *((code, Failure.BUSY) for code in (1047, 3100, 9001, 9002, 9003, 9004, 9005, 9006, 9008, 9010)),
        *((code, Failure.BUSY) for code in (8001, 8004, 8025, 8027, 8055, 8120, 8175, 8252, 9500)),
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


@pytest.mark.parametrize("version", ["5.7.25-TiDB-v5.4.3", "5.7.25-TiDB-v6.1.7", "5.7.25-TiDB-None"])
async def test_tidb_without_savepoints_is_refused(dialect: MySql, version: str) -> None:
    with pytest.raises(ConfigError, match=r"TiDB \S+ has no savepoints; version 6\.2 or later is needed"):
        await dialect._judge(Raw(version=version), {})


@pytest.mark.parametrize(
    "version", ["5.7.25-TiDB-v6.2.0", "8.0.11-TiDB-v7.5.1-serverless", "8.0.11-TiDB-v10.0.0-alpha"]
)
async def test_tidb_with_savepoints_is_served(dialect: MySql, version: str) -> None:
    await dialect._judge(Raw(version=version), {})


async def test_tidb_looks_for_keys_that_are_there_before_it_commits(dialect: MySql) -> None:
    raw = Raw(version=TIDB)

    await dialect._judge(raw, {"tidb_constraint_check_in_place_pessimistic": "OFF"})

    assert raw.asked == ["SET SESSION tidb_txn_mode = 'pessimistic', tidb_constraint_check_in_place_pessimistic = ON"]


@pytest.mark.parametrize("name", ["tidb_restricted_read_only", "tidb_super_read_only"])
async def test_tidb_that_takes_no_writes_is_refused(dialect: MySql, name: str) -> None:
    with pytest.raises(StoreUnavailable, match=rf"this server takes no writes \({name} is ON\)"):
        await dialect._judge(Raw(version=TIDB), {name: "ON"})


async def test_what_innodb_variables_say_means_nothing_on_tidb(dialect: MySql) -> None:
    assert await dialect.check_safety(Raw(TIDB, {"innodb_flush_log_at_trx_commit": "2"})) == []


async def test_tidb_with_locks_that_lock_nothing_is_refused(dialect: MySql) -> None:
    with pytest.raises(
        ConfigError, match=r"tidb_enable_noop_functions is ON: TiDB then accepts locks that lock nothing"
    ):
        await dialect._judge(Raw(version=TIDB), {"tidb_enable_noop_functions": "ON"})


UNANSWERED = "Rpl_semi_sync_master_no_tx"


async def test_commits_that_no_replica_has_answered_are_told_once(dialect: MySql) -> None:
    raw = Raw()
    with capture_logs() as logs:
        for count in ("5", "5", "7", "7", "0", "1"):
            raw.status = {UNANSWERED: count}
            await dialect.check_safety(raw)

    told = [line["commits"] for line in logs if line["event"] == "commits were done that no replica has answered"]
    assert told == [2, 1]


async def test_the_count_of_another_server_is_not_compared(dialect: MySql) -> None:
    raw = Raw(status={UNANSWERED: "0"})
    with capture_logs() as logs:
        await dialect.check_safety(raw)
        dialect.servers.on_connected(("db2", 3306))
        raw.status = {UNANSWERED: "9"}
        await dialect.check_safety(raw)

    assert "commits were done that no replica has answered" not in [line["event"] for line in logs]


class Connection:
    """A connection of SQLAlchemy whose server answers with an error, if any."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.heard: list[str] = []

    async def exec_driver_sql(self, statement: str) -> None:
        self.heard.append(statement)
        if self.code:
            raise ProgrammingError(statement, None, pymysql.err.ProgrammingError(self.code, "why"))


async def test_a_row_is_written_for_which_a_replica_has_to_answer(dialect: MySql) -> None:
    connection = Connection()

    await dialect.write_anyway(cast(Any, connection))

    assert connection.heard[0].startswith("INSERT INTO MB_MSG_STORE_STATUS ")


async def test_where_there_is_no_schema_yet_nothing_can_be_in_doubt(dialect: MySql) -> None:
    await dialect.write_anyway(cast(Any, Connection(1146)))
    with pytest.raises(ProgrammingError):
        await dialect.write_anyway(cast(Any, Connection(1064)))


async def test_nothing_is_written_where_servers_need_take_no_writes() -> None:
    connection = Connection()

    await MySql(parse("jdbc:mysql://db1/mb"), ConnectionOptions(), needs_writes=False).write_anyway(
        cast(Any, connection)
    )

    assert connection.heard == []
