"""What a batch does to prepared branches, listened to in the place of a server; a conflict stops it."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import BranchConflict
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.store import Batch
from broker.store.server.batch import Rows, rows_of
from broker.store.server.branches import change_in_mysql, change_in_postgresql

KEY = BranchKey("/", Xid(7, b"g", b"b"))
PREPARED = rows_of(Batch(prepared=[PreparedBranch(KEY, b"what it does")]), 0)
RESOLVED = rows_of(Batch(resolved=[KEY]), 0)


class PostgreSqlServer:
    """Answers each statement with the number of rows that the test says."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.heard: list[str] = []

    async def execute(self, statement: str, *_: Any) -> str:
        self.heard.append(statement)
        verb = statement.split()[0]
        return f"INSERT 0 {self.count}" if verb == "INSERT" else f"{verb} {self.count}"


class MySqlServer:
    """Likewise."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.heard: list[str] = []

    async def __call__(self, statement: str) -> list[int]:
        self.heard.append(statement)
        return [self.count]


@pytest.mark.parametrize("rows", [PREPARED, RESOLVED], ids=["prepared", "resolved"])
async def test_a_branch_that_is_not_as_expected_stops_the_batch(rows: Rows) -> None:
    postgresql, mysql = PostgreSqlServer(0), MySqlServer(0)

    with pytest.raises(BranchConflict):
        await change_in_postgresql(postgresql, rows)
    with pytest.raises(BranchConflict):
        await change_in_mysql(mysql, rows)

    assert (len(postgresql.heard), len(mysql.heard)) == (1, 1)


async def test_mysql_is_told_of_a_branch_in_hexadecimal_octets() -> None:
    server = MySqlServer(1)

    await change_in_mysql(server, PREPARED)

    added, content = server.heard
    assert added.startswith("INSERT IGNORE INTO MB_DTX_BRANCH (BRANCH_KEY,VHOST,FORMAT_CODE,GLOBAL_ID,BRANCH_ID)")
    assert added.endswith(f" VALUES ('{KEY.digest}',x'2f',7,x'67',x'62')")
    assert content.endswith(f" VALUES ('{KEY.digest}',0,x'{b'what it does'.hex()}')")


async def test_mysql_loses_a_branch_that_is_resolved_with_its_content() -> None:
    server = MySqlServer(1)

    await change_in_mysql(server, RESOLVED)

    assert server.heard == [
        f"DELETE FROM MB_DTX_BRANCH WHERE BRANCH_KEY='{KEY.digest}'",
        f"DELETE FROM MB_DTX_BRANCH_CONTENT WHERE BRANCH_KEY='{KEY.digest}'",
    ]
