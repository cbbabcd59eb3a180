from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, StaticPool, create_engine, inspect, text

from broker.errors import ConfigError
from broker.store.sql import migrate, schema

ROOT = Path(__file__).parents[4]


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def test_an_empty_database_has_no_revision(connection: Connection) -> None:
    assert migrate.current_revision(connection) is None


def test_an_empty_database_gets_the_newest_schema(connection: Connection) -> None:
    migrate.upgrade(connection)

    assert migrate.current_revision(connection) == migrate.HEAD
    assert set(inspect(connection).get_table_names()) == {*schema.metadata.tables, "alembic_version"}


def test_the_newest_schema_is_left_alone(connection: Connection) -> None:
    migrate.upgrade(connection)
    connection.execute(text("INSERT INTO MB_VIRTUAL_HOST VALUES ('kept')"))

    migrate.upgrade(connection)

    assert connection.scalar(text("SELECT VHOST FROM MB_VIRTUAL_HOST")) == "kept"


def test_a_schema_of_a_newer_program_is_refused(connection: Connection) -> None:
    migrate.upgrade(connection)
    connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(ConfigError, match="schema revision '9999', this program knows up to '0017'"):
        migrate.upgrade(connection)


def test_the_revisions_create_what_the_statements_use(connection: Connection) -> None:
    everything = text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' ORDER BY name")
    migrate.upgrade(connection)
    migrated = connection.execute(everything).all()
    for name in inspect(connection).get_table_names():
        connection.execute(text(f"DROP TABLE {name}"))

    schema.metadata.create_all(connection)

    assert [tuple(" ".join(str(part).split()) for part in row) for row in connection.execute(everything)] == [
        tuple(" ".join(str(part).split()) for part in row) for row in migrated
    ]


def test_the_known_revisions_are_those_in_the_package() -> None:
    revisions = ScriptDirectory(str(Path(migrate.__file__).with_name("migrations"))).walk_revisions()

    assert tuple(script.revision for script in revisions)[::-1] == migrate.REVISIONS


@pytest.mark.parametrize("dialect", migrate.DIALECTS)
def test_the_script_for_administrators_is_up_to_date(dialect: str, capsys: pytest.CaptureFixture[str]) -> None:
    migrate.main(["--dialect", dialect])

    assert capsys.readouterr().out == (ROOT / "dbscripts" / "mb-store" / f"{dialect}-mb.sql").read_text()


def test_a_database_made_by_the_script_is_at_the_newest_revision(connection: Connection) -> None:
    run(connection, (ROOT / "dbscripts" / "mb-store" / "sqlite-mb.sql").read_text())

    migrate.upgrade(connection)

    assert migrate.current_revision(connection) == migrate.HEAD


@pytest.mark.parametrize(
    ("dialect", "name_type"),
    [("mysql", "VARBINARY(255)"), ("postgresql", 'TEXT COLLATE "C"')],
    ids=["mysql", "postgresql"],
)
def test_a_server_is_told_to_compare_names_octet_by_octet(dialect: str, name_type: str) -> None:
    script = migrate.script(dialect)

    assert all(name in script for name in schema.metadata.tables)
    assert name_type in script


def test_a_database_of_the_first_revision_is_brought_up_to_date_with_its_rows(connection: Connection) -> None:
    first, _, _ = migrate.script("sqlite").partition("-- Running upgrade 0001 -> 0002")
    run(connection, first)
    connection.execute(text("INSERT INTO MB_NODE VALUES ('node-a', 3, 'running')"))

    migrate.upgrade(connection)

    assert migrate.current_revision(connection) == "0017"
    assert connection.execute(text("SELECT * FROM MB_NODE")).all() == [("node-a", 3, "running", "", 0)]


def run(connection: Connection, script: str) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(text(statement))
