"""The schema on every engine: what the revisions make, from whatever they find, and which names it holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_mock_engine
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import SchemaItem

from broker.config.datasources import PoolConfiguration
from broker.errors import ConfigError
from broker.ports.cluster_rows import Leave, Register
from broker.ports.records import ExchangeRecord, Put, QueueRecord, Topology, VirtualHostRecord
from broker.ports.store import Store
from broker.store.server.opening import server_store
from broker.store.sql import migrate
from broker.store.sql.schema import metadata
from broker.store.sqlite.store import SqliteStore
from tests.support.databases import DatabaseServer

ROOT = Path(__file__).parents[2]

NAMES = (
    "e",
    "é",
    "e\u0301",
    "a",
    "A",
    "a ",
    " a",
    "a\0b",
    "a\\0b",
    "a\\b",
    "ß",
    "ss",
    "\N{PILE OF POO}",
    "\N{SNOWMAN}",
    "é" * 127 + "e",
    "é" * 127 + "f",
)

NEVER_HELD = [["1\t0\t0"], ["1\t0\t0"], ["1\t0\t"]]

# What of a table is the same whoever has made it, and in whatever order its columns came to it.
_MARIADB_SHAPE = """
    SELECT table_name, column_name, column_type, is_nullable, column_default, extra, character_set_name
      FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name LIKE 'MB%' ORDER BY 1, 2;
    SELECT table_name, index_name, non_unique, seq_in_index, column_name
      FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name LIKE 'MB%' ORDER BY 1, 2, 4;
    SELECT table_name, engine
      FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'MB%' ORDER BY 1;
"""
_POSTGRESQL_SHAPE = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage, l.collname,
           pg_get_expr(d.adbin, d.adrelid)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_collation l ON l.oid = a.attcollation
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE c.relkind = 'r' AND c.relname LIKE 'MB%' ORDER BY 1, 2;
    SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'MB%' ORDER BY 1;
    SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)
      FROM pg_constraint WHERE conrelid::regclass::text LIKE '"MB%' ORDER BY 1, 2;
"""


class ServerDatabase:
    """One empty database of a server."""

    def __init__(self, server: DatabaseServer, charset: str | None = None) -> None:
        self._server = server
        self._name = server.create_database(charset)
        self.dialect = "mysql" if server.kind == "mariadb" else "postgresql"

    def store(self) -> Store:
        return server_store(PoolConfiguration(url=self._server.jdbc_url(self._name)))

    def run(self, script: str) -> None:
        """Run statements as the broker's own user, who then owns what they make."""
        as_broker = "SET ROLE broker;\n" if self.dialect == "postgresql" else ""
        self._server.sql(as_broker + script, self._name)

    def rows(self, statement: str) -> list[str]:
        return self._server.sql(statement, self._name).splitlines()

    def shape(self) -> list[str]:
        return self.rows(_MARIADB_SHAPE if self.dialect == "mysql" else _POSTGRESQL_SHAPE)

    def close(self) -> None:
        self._server.drop_database(self._name)


class SqliteDatabase:
    """A file that is not there yet."""

    dialect = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._path = directory / "mb.db"

    def store(self) -> Store:
        return SqliteStore(self._path)

    def run(self, script: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.executescript(script)

    def rows(self, statement: str) -> list[str]:
        with closing(sqlite3.connect(self._path)) as connection:
            return ["\t".join(map(str, row)) for row in connection.execute(statement)]

    def shape(self) -> list[str]:
        return self.rows("""
            SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk
              FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.name LIKE 'MB%' AND m.type = 'table'
            UNION ALL
            SELECT m.name, i.name, i."unique", i.origin, i.partial, group_concat(x.name)
              FROM sqlite_master m JOIN pragma_index_list(m.name) i JOIN pragma_index_info(i.name) x
             WHERE m.name LIKE 'MB%' AND m.type = 'table' GROUP BY 1, 2, 3, 4, 5
            ORDER BY 1, 2
        """)

    def close(self) -> None:
        pass


Database = ServerDatabase | SqliteDatabase


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Database]]:
    """Two empty databases of one engine."""
    if request.param == "sqlite":
        made: list[Database] = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            made.append(SqliteDatabase(tmp_path / name))
    else:
        server = request.getfixturevalue(request.param)
        made = [ServerDatabase(server), ServerDatabase(server)]
    yield made
    for database in made:
        database.close()


async def opened_and_closed(database: Database) -> Topology:
    """Return what the store knew."""
    store = database.store()
    await store.open()
    topology = await store.load()
    await store.close()
    return topology


def declared_schema(dialect_name: str) -> str:
    """Return the statements for the tables as `schema.py` declares them."""
    statements: list[str] = []
    dialects = {"sqlite": sqlite.dialect, "mysql": mysql.dialect, "postgresql": postgresql.dialect}

    def dump(item: SchemaItem | str, *_: object, **__: object) -> None:
        compiled = item if isinstance(item, str) else item.compile(dialect=dialects[dialect_name]())  # type: ignore[attr-defined]
        statements.append(f"{str(compiled).strip()};\n")

    metadata.create_all(create_mock_engine(f"{dialect_name}://", dump), checkfirst=False)
    return "".join(statements)


def first_revision(dialect: str) -> str:
    script, _, _ = migrate.script(dialect).partition("-- Running upgrade 0001 -> 0002")
    return script + ("COMMIT;" if dialect == "postgresql" else "")


async def test_the_revisions_make_what_the_tables_declare(databases: list[Database]) -> None:
    migrated, declared = databases

    await opened_and_closed(migrated)
    declared.run(declared_schema(declared.dialect))

    assert migrated.shape() == declared.shape()
    assert len(migrated.shape()) > 40


async def test_a_database_of_the_first_revision_becomes_like_a_new_one_and_keeps_its_rows(
    databases: list[Database],
) -> None:
    old, new = databases
    old.run(first_revision(old.dialect))
    quote = "`" if old.dialect == "mysql" else '"'
    old.run(f"INSERT INTO {quote}MB_NODE{quote} VALUES ('node-a', 3, 'stopped');")
    no, nothing = ("FALSE", "''") if old.dialect == "postgresql" else ("0", "x''")
    old.run(f"INSERT INTO {quote}MB_VIRTUAL_HOST{quote} VALUES ('/');")
    old.run(f"INSERT INTO {quote}MB_EXCHANGE{quote} VALUES ('/', 'sales', 'topic', {no}, {no}, {nothing});")
    old.run(f"INSERT INTO {quote}MB_QUEUE{quote} VALUES (7, '/', 'orders', {no}, {no}, {nothing});")
    old.run(f"INSERT INTO {quote}MB_METADATA{quote} VALUES (5, 7, NULL, 0, 'about', 'hello');")

    topology = await opened_and_closed(old)
    await opened_and_closed(new)

    assert topology == Topology(
        [VirtualHostRecord("/"), ExchangeRecord("/", "sales", "topic"), QueueRecord("/", "orders", 7)]
    )
    assert old.rows(f"SELECT {quote}MESSAGE_ID{quote} FROM {quote}MB_METADATA{quote}") == ["5"]
    assert old.shape() == new.shape()
    assert old.rows(f"SELECT * FROM {quote}MB_NODE{quote}") == ["node-a\t3\tstopped\t\t0"]
    assert old.rows("SELECT version_num FROM alembic_version") == [migrate.HEAD]


async def test_a_database_made_by_the_script_is_used_as_it_is(databases: list[Database]) -> None:
    scripted, new = databases
    scripted.run((ROOT / "dbscripts" / "mb-store" / f"{scripted.dialect}-mb.sql").read_text())
    before = scripted.shape()

    await opened_and_closed(scripted)
    await opened_and_closed(new)

    assert scripted.shape() == before == new.shape()
    assert scripted.rows("SELECT version_num FROM alembic_version") == [migrate.HEAD]


async def test_a_lease_that_nobody_ever_held_comes_with_the_schema(databases: list[Database]) -> None:
    scripted, upgraded = databases
    scripted.run((ROOT / "dbscripts" / "mb-store" / f"{scripted.dialect}-mb.sql").read_text())
    upgraded.run(first_revision(upgraded.dialect))

    await opened_and_closed(scripted)
    await opened_and_closed(upgraded)

    assert lease_and_fence(scripted) == lease_and_fence(upgraded) == NEVER_HELD


def lease_and_fence(database: Database) -> list[list[str]]:
    """Return the number of rows and the largest value of each column that tells of somebody, or of a change."""
    quote = "`" if database.dialect == "mysql" else '"'
    columns = {
        "MB_COORDINATOR_HEARTBEAT": ("EPOCH", "BEAT"),
        "MB_COORDINATOR_FENCE": ("EPOCH", "SEQUENCE"),
        "MB_CLUSTER_EVENT_HEAD": ("EVENT_ID", "TOKEN"),
    }
    return [
        database.rows(
            f"SELECT COUNT(*), MAX({quote}{one}{quote}), MAX({quote}{other}{quote}) FROM {quote}{name}{quote}"
        )
        for name, (one, other) in columns.items()
    ]


async def test_a_schema_of_a_newer_program_is_refused_in_one_line(databases: list[Database]) -> None:
    database, _ = databases
    await opened_and_closed(database)
    database.run("UPDATE alembic_version SET version_num = '9999';")

    with pytest.raises(ConfigError, match="schema revision '9999', this program knows up to") as refused:
        await database.store().open()
    assert "\n" not in str(refused.value)


async def test_every_name_is_a_name_of_its_own(databases: list[Database]) -> None:
    await holds_every_name(databases[0])


async def test_a_latin1_database_of_mariadb_holds_every_name(mariadb: DatabaseServer) -> None:
    database = ServerDatabase(mariadb, "latin1")
    try:
        await holds_every_name(database)
    finally:
        database.close()


async def test_a_latin1_database_of_postgresql_is_refused(postgresql: DatabaseServer) -> None:
    database = ServerDatabase(postgresql, "LATIN1")
    try:
        with pytest.raises(ConfigError, match=r"encoding LATIN1, .* create one with ENCODING 'UTF8'"):
            await database.store().open()
    finally:
        database.close()


async def holds_every_name(database: Database) -> None:
    """Hold queues and nodes of all the names, and the same after another start."""
    queues = tuple(QueueRecord("/", name, number) for number, name in enumerate(NAMES, 1))
    store = database.store()
    await store.open()
    await store.register("a\\node\0é")
    await store.record([Put(VirtualHostRecord("/")), *(Put(queue) for queue in queues)])
    for name in NAMES:
        assert await store.cluster.register_node(Register(None, "incarnation", 0.0, 0.0), name, name, 5672)
        await store.cluster.leave(Leave("incarnation"), name)
    await store.resign()
    await store.close()

    store = database.store()
    await store.open()
    try:
        assert (await store.register("a\\node\0é")).clean
        assert await store.load() == Topology([VirtualHostRecord("/"), *queues])
        assert {(row.node_id, row.host) for row in await store.cluster.nodes()} == {(name, name) for name in NAMES}
    finally:
        await store.close()


@pytest.mark.parametrize(
    "done", [1, 6, 7, 13, 14, 15, 16, 18, 19, 20, 23, 24, 25, 28, 29, 31, 33, 34, 37, 39, 40, 41, 42, 43]
)
async def test_a_first_start_that_was_killed_is_finished_by_the_next(
    mariadb: DatabaseServer, mariadb_shape: list[str], done: int
) -> None:
    statements = (ROOT / "dbscripts" / "mb-store" / "mysql-mb.sql").read_text().split(";\n")
    database = ServerDatabase(mariadb)
    try:
        database.run(";\n".join(statements[:done]) + ";")

        await holds_every_name(database)

        assert database.shape() == mariadb_shape
        assert lease_and_fence(database) == NEVER_HELD
        assert database.rows("SELECT version_num FROM alembic_version") == [migrate.HEAD]
    finally:
        database.close()


@pytest.fixture
async def mariadb_shape(mariadb: DatabaseServer) -> list[str]:
    database = ServerDatabase(mariadb)
    try:
        await opened_and_closed(database)
        return database.shape()
    finally:
        database.close()


async def test_two_schemas_of_one_postgresql_database_are_two_stores(postgresql: DatabaseServer) -> None:
    name = postgresql.create_database()
    postgresql.sql("CREATE SCHEMA one AUTHORIZATION broker; CREATE SCHEMA other AUTHORIZATION broker", name)
    url = postgresql.jdbc_url(name)
    one, other = (server_store(PoolConfiguration(url=f"{url}&currentSchema={schema}")) for schema in ("one", "other"))
    try:
        await one.open()
        await other.open()
        await one.record([Put(VirtualHostRecord("/"))])

        assert await one.load() == Topology([VirtualHostRecord("/")])
        assert await other.load() == Topology()
    finally:
        await one.close()
        await other.close()
        postgresql.drop_database(name)


async def test_a_schema_of_postgresql_that_is_not_there_is_told(postgresql: DatabaseServer) -> None:
    name = postgresql.create_database()
    url = f"{postgresql.jdbc_url(name)}&currentSchema=nowhere"
    try:
        with pytest.raises(ConfigError, match="correct the datasource or the database"):
            await server_store(PoolConfiguration(url=url)).open()
    finally:
        postgresql.drop_database(name)
