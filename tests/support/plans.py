"""The plans of the statements that a store runs on large tables: how each database is filled, listened to and asked.

A statement is listened to where the database sees it, so none escapes. Knows the tables' columns; must not know what
the store is asked to do.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.databases import DatabaseServer

ROWS: Final = 20_000
"""Rows of the largest tables; the others have a tenth."""
LANE: Final = 5
QUEUE: Final = 1000
"""The first queue id."""
QUEUES: Final = ROWS // 10
"""Messages of the lane are spread over so many queues, ten to each, and so are segments of streams."""

GROWING: Final = {
    "MB_EXCHANGE",
    "MB_QUEUE",
    "MB_BINDING",
    "MB_SUBSCRIPTION",
    "MB_METADATA",
    "MB_EXPIRATION_DATA",
    "MB_DAMAGED_MESSAGE",
    "MB_CONTENT",
    "MB_SLOT",
    "MB_NODE_BATCH",
    "MB_CLUSTER_EVENT",
    "MB_DTX_BRANCH",
    "MB_DTX_BRANCH_CONTENT",
    "MB_DEDUPLICATION_KEY",
    "MB_MESSAGE_GROUP",
    "MB_STREAM_SEGMENT",
    "MB_STREAM_PLACE",
}
"""Tables with as many rows as clients like; the others have one for each node at most, or a bound of their own."""

_ID: Final = f"(i * 262144 + {LANE << 10})"
_FILL: Final = (
    ("MB_EXCHANGE", QUEUES, "concat('v', i % 50), concat('e', i), 'topic', false, false, {nothing}, true"),
    ("MB_QUEUE", QUEUES, f"{QUEUE} + i, concat('v', i % 50), concat('q', i), false, false, {{nothing}}, true, '', ''"),
    (
        "MB_BINDING",
        ROWS,
        f"-i, {{digest}}, concat('v', i % 50), concat('e', i % {QUEUES}), 'queue', concat('q', i % {QUEUES}),"
        " concat('k', i), {nothing}",
    ),
    ("MB_SUBSCRIPTION", QUEUES, f"-i, {QUEUE} + i, 'c', 'gone', false, 0"),
    (
        "MB_METADATA",
        ROWS,
        f"{_ID}, {QUEUE} + i % {QUEUES}, CASE WHEN i % 10 = 0 THEN {_ID} END, 0, {{metadata}}, {{body}}, NULL",
    ),
    ("MB_EXPIRATION_DATA", ROWS, f"{_ID}, {QUEUE} + i % {QUEUES}, i"),
    ("MB_DAMAGED_MESSAGE", ROWS, f"-i, {QUEUE} + i % {QUEUES}, 'reason', 0"),
    ("MB_CONTENT", ROWS, f"{_ID}, 0, {{body}}"),
    (
        "MB_SLOT",
        QUEUES * 2,
        f"{_ID}, {_ID} + 262144, {QUEUE} + i % {QUEUES}, {LANE}, 2, false, false,"
        " CASE WHEN i % 2 = 0 THEN 'c' END, CASE WHEN i % 2 = 0 THEN 'gone' END",
    ),
    ("MB_NODE_BATCH", ROWS, f"{LANE}, i"),
    ("MB_CLUSTER_EVENT", ROWS, "i, 'c', 'gone', concat('t', i), {nothing}, 0"),
    ("MB_DTX_BRANCH", ROWS, "{digest}, concat('v', i % 50), 1, {body}, {body}"),
    ("MB_DTX_BRANCH_CONTENT", ROWS, "{digest}, 0, {body}"),
    ("MB_DEDUPLICATION_KEY", ROWS, f"{QUEUE} + i % {QUEUES}, {{key}}, {_ID}, i % 2"),
    ("MB_MESSAGE_GROUP", ROWS, f"{_ID}, {QUEUE} + i % {QUEUES}, i % {QUEUES}"),
    ("MB_STREAM_SEGMENT", ROWS, f"{QUEUE} + i % {QUEUES}, i, 0, {QUEUES}, i, i, {QUEUES}, 0, {{body}}"),
    ("MB_STREAM_PLACE", ROWS, f"{QUEUE} + i % {QUEUES}, concat('c', i), i"),
    ("MB_NODE", 1, f"'c', {LANE}, 'dead', '', 0"),
)
_SPELLINGS: Final = {
    "sqlite": {
        "nothing": "x''",
        "digest": "printf('%064d', i)",
        "key": "printf('%032d', i)",
        "metadata": "x'0000'",
        "body": "x'00'",
    },
    "mariadb": {
        "nothing": "x''",
        "digest": "lpad(i, 64, '0')",
        "key": "lpad(i, 32, '0')",
        "metadata": "x'0000'",
        "body": "x'00'",
    },
    "postgresql": {
        "nothing": "''",
        "digest": "lpad(i::text, 64, '0')",
        "key": "lpad(i::text, 32, '0')",
        "metadata": "'\\x0000'",
        "body": "'\\x00'",
    },
}
_SERIES: Final = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {0}) SELECT {1} FROM n",
    "mariadb": "SELECT {1} FROM (SELECT seq AS i FROM seq_1_to_{0}) AS n",
    "postgresql": "SELECT {1} FROM generate_series(1::bigint, {0}) AS n(i)",
}


def filling(kind: str) -> Iterator[str]:
    """Return the statements that fill the tables of an empty database, and let it count their rows."""
    mark = '"' if kind == "postgresql" else ""
    for table, count, columns in _FILL:
        values = columns.format(**_SPELLINGS[kind])
        if kind == "sqlite":
            values = re.sub(r"concat\('(\w)', ([^)]*)\)", r"'\1' || (\2)", values)
        yield f"INSERT INTO {mark}{table}{mark} {_SERIES[kind].format(count, values)}"
    yield f"UPDATE {mark}MB_CLUSTER_EVENT_HEAD{mark} SET {mark}EVENT_ID{mark} = {ROWS}"
    if kind == "mariadb":
        yield f"ANALYZE TABLE {','.join(sorted(GROWING))}"
    elif kind == "postgresql":
        yield "ANALYZE"


@dataclass(frozen=True, slots=True)
class Scan:
    """A statement that reads all of a table or of an index of it."""

    table: str
    statement: str


@dataclass
class SqliteListener:
    """Listens to the two connections of an embedded store."""

    store: Any
    heard: list[str] = field(default_factory=list)

    async def begin(self) -> None:
        for statement in filling("sqlite"):
            await self.store._on_writer(lambda statement=statement: self.store._raw.execute(statement))
        await self.store._on_writer(lambda: self.store._raw.set_trace_callback(self.heard.append))
        await self.store._on_reader(lambda: self.store._read_only.set_trace_callback(self.heard.append))

    def scans(self) -> Iterator[Scan]:
        connection = sqlite3.connect(self.store._path)
        for statement in _different(self.heard):
            if re.match(r"(WITH|SELECT|INSERT|UPDATE|DELETE)\b", statement):
                for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
                    found = re.match(r"SCAN (\w+)", detail)
                    if found and (table := _named(statement, found[1])) in GROWING:
                        yield Scan(table, statement)
        connection.close()


@dataclass
class MariaDbListener:
    """Listens to a MariaDB server by its general log, and asks it for the plans."""

    server: DatabaseServer
    database: str

    async def begin(self) -> None:
        self.server.sql(";".join(filling("mariadb")), self.database)
        self.server.sql("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = 1; TRUNCATE mysql.general_log")

    def scans(self) -> Iterator[Scan]:
        heard = "SELECT argument FROM mysql.general_log WHERE command_type = 'Query' AND user_host LIKE 'broker%'"
        text = self.server.sql(f"SET GLOBAL general_log = 0; {heard}", "mysql")
        lines = (line.replace("\\n", " ").replace("\\\\", "\\") for line in text.splitlines())
        asked = [line for line in _different(lines) if re.match(r"\(?(SELECT|INSERT|UPDATE|DELETE)\b.*MB_", line)]
        asked = [line for line in asked if not line.startswith("INSERT") or " SELECT " in line]
        script = ";".join(f"SELECT '#{number}'; EXPLAIN {line}" for number, line in enumerate(asked))
        statement = ""
        for line in self.server.sql(script, self.database).splitlines():
            if line.startswith("#"):
                statement = asked[int(line[1:])]
                continue
            _, _, alias, kind, _, _, _, _, rows, *_ = line.split("\t")
            if rows == "NULL":  # it is known without reading that there is nothing
                continue
            if kind in ("ALL", "index") and int(rows) > ROWS // 20 and _named(statement, alias) in GROWING:
                yield Scan(_named(statement, alias), statement)


@dataclass
class PostgreSqlListener:
    """Listens to a PostgreSQL server, which logs the plan of every statement that it executes."""

    server: DatabaseServer
    database: str
    log: Path
    has_generic_plans: bool
    """Whether plans are made without a look at the values, as after some repetitions of a prepared statement."""
    from_octet: int = 0

    def prepare(self) -> None:
        """Let sessions that begin from now on log their plans."""
        for name, value in (
            ("session_preload_libraries", "auto_explain"),
            ("auto_explain.log_min_duration", "0"),
            ("auto_explain.log_format", "json"),
            ("plan_cache_mode", "force_generic_plan" if self.has_generic_plans else "force_custom_plan"),
        ):
            self.server.sql(f"ALTER DATABASE {self.database} SET {name} = '{value}'")

    async def begin(self) -> None:
        self.server.sql(";".join(filling("postgresql")), self.database)
        self.from_octet = self.log.stat().st_size

    def scans(self) -> Iterator[Scan]:
        text = self.log.read_bytes()[self.from_octet :].decode(errors="replace")
        for found in re.finditer(r"plan:\n((?:\t.*\n)+)", text):
            logged = json.loads(found[1])
            for table in _scanned(logged["Plan"]):
                if table in GROWING:
                    yield Scan(table, " ".join(logged["Query Text"].split()))


def _scanned(plan: dict[str, Any], is_limited: bool = False) -> Iterator[str]:
    """Return the tables that a plan reads from their beginning to their end."""
    kind = plan["Node Type"]
    is_whole = kind == "Seq Scan" or (kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in plan)
    if is_whole and not is_limited:
        yield plan["Relation Name"]
    for inner in plan.get("Plans", ()):
        yield from _scanned(inner, is_limited or kind == "Limit")


def _different(statements: Iterable[str]) -> Iterator[str]:
    """Return the statements that differ in more than their values."""
    seen: set[str] = set()
    for statement in statements:
        text = " ".join(statement.split())
        shape = re.sub(r"x'[0-9a-fA-F]*'|'[^']*'|-?\b\d+\b", "?", text)
        if shape not in seen:
            seen.add(shape)
            yield text


def _named(statement: str, alias: str) -> str:
    """Return the table that a statement calls `alias`."""
    found = re.search(rf"[`\"]?(MB_\w+)[`\"]? (?:AS )?[`\"]?{re.escape(alias)}[`\"]?(?!\w)", statement)
    return found[1] if found else alias


Listener = SqliteListener | MariaDbListener | PostgreSqlListener
Make = Callable[[], Any]
