"""Names in the three engines: the same text comes back, and different ones stay different."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Dialect
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable

from broker.store.sql.schema import NODE, Name, metadata, postgresql_text

DIALECTS = {"sqlite": sqlite.dialect(), "mysql": mysql.dialect(), "postgresql": postgresql.dialect()}
each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())


def stored(name: str | None, dialect: Dialect) -> Any:
    return Name().process_bind_param(name, dialect)


def loaded(value: Any, dialect: Dialect) -> str | None:
    return Name().process_result_value(value, dialect)


@each_dialect
@given(name=st.text())
def test_a_name_comes_back_as_it_was(dialect: Dialect, name: str) -> None:
    assert loaded(stored(name, dialect), dialect) == name


@each_dialect
@given(names=st.tuples(st.text("a\\0\0 "), st.text("a\\0\0 ")))
def test_different_names_are_stored_differently(dialect: Dialect, names: tuple[str, str]) -> None:
    first, second = names

    assert (stored(first, dialect) == stored(second, dialect)) == (first == second)


@each_dialect
def test_no_name_stays_no_name(dialect: Dialect) -> None:
    assert stored(None, dialect) is None
    assert loaded(None, dialect) is None


def test_mysql_gets_octets() -> None:
    assert stored("é ", DIALECTS["mysql"]) == b"\xc3\xa9 "
    assert loaded(bytearray(b"\xc3\xa9 "), DIALECTS["mysql"]) == "é "


def test_postgresql_gets_no_nul() -> None:
    assert postgresql_text("a\0b\\0c") == "a\\0b\\\\0c"


@pytest.mark.parametrize(
    ("dialect", "compiled"),
    [
        ("sqlite", '"NODE_ID" VARCHAR(255) NOT NULL'),
        ("mysql", "`NODE_ID` VARBINARY(255) NOT NULL"),
        ("postgresql", '"NODE_ID" TEXT COLLATE "C" NOT NULL'),
    ],
)
def test_a_name_is_compared_octet_by_octet(dialect: str, compiled: str) -> None:
    assert compiled in str(CreateTable(NODE).compile(dialect=DIALECTS[dialect]))


def test_every_table_is_transactional_in_mysql() -> None:
    engines = {table.dialect_options["mysql"]["engine"] for table in metadata.tables.values()}

    assert engines == {"InnoDB"}
