"""The private database servers of the tests: their data live through a kill, and they end with the run."""

from __future__ import annotations

import threading
from collections.abc import Callable

import aiomysql
import asyncpg
import pytest

from tests.support.databases import PASSWORD, USER, DatabaseServer, ServerFailed


def test_a_new_database_is_empty_and_keeps_what_is_written(database_server: DatabaseServer, database: str) -> None:
    database_server.sql("CREATE TABLE t (a INT, b VARCHAR(20)); INSERT INTO t VALUES (1, 'one'), (2, 'two')", database)

    assert database_server.sql("SELECT a, b FROM t ORDER BY a", database) == "1\tone\n2\ttwo"


def test_a_killed_server_starts_again_with_its_data(database_server: DatabaseServer, database: str) -> None:
    database_server.sql("CREATE TABLE t (a INT); INSERT INTO t VALUES (7)", database)

    database_server.kill9()
    assert not database_server.is_running()
    with pytest.raises(ServerFailed, match="exit code"):
        database_server.sql("SELECT 1")
    database_server.start()

    assert database_server.sql("SELECT a FROM t", database) == "7"


def test_a_stopped_server_starts_again_with_its_data(database_server: DatabaseServer, database: str) -> None:
    database_server.sql("CREATE TABLE t (a INT); INSERT INTO t VALUES (7)", database)

    database_server.stop()
    database_server.start()

    assert database_server.sql("SELECT a FROM t", database) == "7"


def test_a_suspended_server_answers_after_it_is_resumed(database_server: DatabaseServer) -> None:
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(database_server.sql("SELECT 1")))

    database_server.suspend()
    asking.start()
    asking.join(0.3)
    assert answers == []
    database_server.resume()
    asking.join(10)

    assert answers == ["1"]


def test_a_suspended_server_can_be_killed(database_server: DatabaseServer) -> None:
    database_server.suspend()
    database_server.kill9()
    assert not database_server.is_running()


def test_a_wrong_statement_is_reported_in_the_words_of_the_server(database_server: DatabaseServer) -> None:
    with pytest.raises(ServerFailed, match="nowhere"):
        database_server.sql("SELECT * FROM nowhere.t")


def test_a_dump_restores_into_another_database(database_server: DatabaseServer, database: str) -> None:
    database_server.sql("CREATE TABLE t (a INT); INSERT INTO t VALUES (7)", database)
    copy = database_server.create_database()

    database_server.sql(database_server.dump(database), copy)

    assert database_server.sql("SELECT a FROM t", copy) == "7"
    database_server.drop_database(copy)


async def test_a_database_is_dropped_under_an_open_transaction(database_server: DatabaseServer) -> None:
    name = database_server.create_database()
    leave = await open_transaction(database_server, name)

    database_server.drop_database(name)
    leave()

    with pytest.raises(ServerFailed, match=name):
        database_server.sql("SELECT 1", name)


async def open_transaction(server: DatabaseServer, database: str) -> Callable[[], None]:
    """Log in over TCP as the user of the tests, make a table and write into it; return what leaves without a word."""
    address = {"host": server.host, "port": server.port, "user": USER, "password": PASSWORD}
    if server.kind == "mariadb":
        mariadb = await aiomysql.connect(**address, db=database)
        await (await mariadb.cursor()).execute("CREATE TABLE t (a INT)")
        await (await mariadb.cursor()).execute("INSERT INTO t VALUES (1)")
        return mariadb.close  # type: ignore[no-any-return]
    postgresql = await asyncpg.connect(**address, database=database)
    await postgresql.execute("CREATE TABLE t (a INT)")
    await postgresql.execute("BEGIN; INSERT INTO t VALUES (1)")
    return postgresql.terminate  # type: ignore[no-any-return]
