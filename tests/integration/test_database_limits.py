"""A database that runs but does not serve as before: what its administrators and its other clients can do to a broker.

Each under confirmed load: nothing is lost, nothing is repeated, no client connection ends, nobody lends a hand
(ADR 14, ADR 15).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pymysql
import pytest
from pamqp import commands

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import BrokerProcess
from tests.conftest import serving
from tests.integration.test_database_faults import judge
from tests.support.backlog import WINDOW, Publishing, consume_all
from tests.support.database_products import PASSWORD, USER, MariaDB, unprivileged
from tests.support.databases import DatabaseServer, ServerFailed
from tests.support.small_disk import MIB, CannotMount, SmallDisk, small_disk
from tests.support.storm import Storm, storm
from tests.support.wire import Wire

DEADLINE = 30.0
NO_ROOM = "the store is full"
CONFLICT = '"conflict in the store, trying again"'

KILL_ON_MARIADB = """DELIMITER //
BEGIN NOT ATOMIC
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; -- the connection has ended meanwhile
  FOR connection IN (SELECT id FROM information_schema.processlist WHERE db = '{0}' AND user = 'broker') DO
    KILL connection.id;
  END FOR;
END //
"""
KILL_ON_POSTGRESQL = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{0}' AND usename = 'broker'
"""
# By the key that the broker uses too: whoever takes index and row the other way round may lose a deadlock.
HOLD_ON_MARIADB = "BEGIN; SELECT BATCH FROM MB_NODE WHERE LANE = 0 FOR UPDATE; SELECT SLEEP({0})"
HOLD_ON_POSTGRESQL = 'BEGIN; SELECT "LANE" FROM "MB_NODE" FOR UPDATE; SELECT pg_sleep({0})'
# The broker takes its node's row first and the messages after it. MariaDB ends the one that has changed fewer rows.
CROSS_ON_MARIADB = """
    CREATE TABLE IF NOT EXISTS OTHERS_WORK (ID INTEGER); SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    BEGIN; INSERT INTO OTHERS_WORK SELECT seq FROM seq_1_to_5000;
    SELECT COUNT(*) FROM (SELECT MESSAGE_ID FROM MB_METADATA FOR UPDATE) AS locked; SELECT SLEEP(0.1);
    SELECT LANE FROM MB_NODE FOR UPDATE; ROLLBACK
"""
CROSS_ON_POSTGRESQL = """
    BEGIN; SELECT count(*) FROM (SELECT 1 FROM "MB_METADATA" FOR UPDATE) AS locked; SELECT pg_sleep(0.1);
    SELECT "LANE" FROM "MB_NODE" FOR UPDATE; ROLLBACK
"""


class Administrator:
    """Whoever may do anything to the server, and does so while a broker uses `database`."""

    def __init__(self, server: DatabaseServer, database: str) -> None:
        self._server = server
        self._database = database
        self._is_mariadb = server.kind == "mariadb"

    def make_read_only(self, seconds: float) -> float:
        """Refuse every write for a while."""
        self._set_read_only(True)
        time.sleep(seconds)
        self._set_read_only(False)
        return time.monotonic()

    def _set_read_only(self, is_read_only: bool) -> None:
        if self._is_mariadb:
            self._server.sql(f"SET GLOBAL read_only = {int(is_read_only)}")
        else:
            self._server.sql(f"ALTER SYSTEM SET default_transaction_read_only = {is_read_only}")
            self._server.sql("SELECT pg_reload_conf()")

    def kill_connections(self) -> float:
        """End every connection of the broker."""
        kill = KILL_ON_MARIADB if self._is_mariadb else KILL_ON_POSTGRESQL
        self._server.sql(kill.format(self._database))
        return time.monotonic()

    def kill_connections_again_and_again(self, seconds: float) -> float:
        """End every connection ten times a second."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.kill_connections()
            time.sleep(0.1)
        return time.monotonic()

    def give_no_connections(self, seconds: float) -> float:
        """Have others take all the connections, and end those of the broker."""
        if not self._is_mariadb:
            self._server.sql(f"ALTER ROLE {USER} CONNECTION LIMIT 0")
            self.kill_connections()
            time.sleep(seconds)
            self._server.sql(f"ALTER ROLE {USER} CONNECTION LIMIT -1")
            return time.monotonic()
        self._server.sql("SET GLOBAL max_connections = 10")
        with ExitStack() as others:
            others.callback(self._insist, "SET GLOBAL max_connections = 100")
            self.kill_connections()
            for _ in range(10):
                others.enter_context(closing(self._connection_of_another()))
            time.sleep(seconds)
        return time.monotonic()

    def _connection_of_another(self) -> pymysql.Connection:
        """Connect when there is room; a broker that was quicker loses what it got."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                return pymysql.connect(host=self._server.host, port=self._server.port, user=USER, password=PASSWORD)
            except pymysql.err.OperationalError:
                assert time.monotonic() < end, "the connections cannot be taken"
                with suppress(ServerFailed):
                    self.kill_connections()

    def _insist(self, statement: str) -> None:
        """Run a statement; the connection kept for administrators may be taken by whoever is just being refused."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                self._server.sql(statement)
            except ServerFailed:
                if time.monotonic() > end:
                    raise
            else:
                return

    @contextmanager
    def another_password(self) -> Iterator[None]:
        """Give the broker's user another password for a while, and end the broker's connections."""
        self._set_password("another")
        try:
            self.kill_connections()
            yield
        finally:
            self._set_password(PASSWORD)

    def change_password(self, seconds: float) -> float:
        with self.another_password():
            time.sleep(seconds)
        return time.monotonic()

    def _set_password(self, password: str) -> None:
        if self._is_mariadb:
            for host in ("%", "localhost"):
                self._server.sql(f"ALTER USER {USER}@'{host}' IDENTIFIED BY '{password}'")
        else:
            self._server.sql(f"ALTER ROLE {USER} PASSWORD '{password}'")

    def hold_a_row(self, seconds: float) -> float:
        """Keep the row locked that every batch of the broker changes."""
        hold = HOLD_ON_MARIADB if self._is_mariadb else HOLD_ON_POSTGRESQL
        self._server.sql(hold.format(seconds), self._database)
        return time.monotonic()

    def cross(self, log: Callable[[], str], conflicts: int) -> float:
        """Lock messages and node the other way round until the broker has lost `conflicts` times."""
        wanted = log().count(CONFLICT) + conflicts
        cross = CROSS_ON_MARIADB if self._is_mariadb else CROSS_ON_POSTGRESQL
        end = time.monotonic() + DEADLINE
        while log().count(CONFLICT) < wanted:
            assert time.monotonic() < end, f"{conflicts} conflicts have not come about"
            with suppress(ServerFailed):  # then it was the other one that lost
                self._server.sql(cross, self._database)
        return time.monotonic()


def fault(it: Storm, administrator: Administrator, name: str, seconds: float) -> Callable[[], float]:
    faults: dict[str, Callable[[], float]] = {
        "read-only": partial(administrator.make_read_only, seconds),
        "connections killed": partial(administrator.kill_connections_again_and_again, seconds),
        "no connections": partial(administrator.give_no_connections, seconds),
        "password changed": partial(administrator.change_password, seconds),
        "row held": partial(administrator.hold_a_row, seconds),
        "deadlocks": partial(administrator.cross, lambda: it.broker.log, int(seconds)),
    }
    return faults[name]


FAULTS = ("read-only", "connections killed", "no connections", "row held", "deadlocks")
BRIEFLY = {"mariadb": ("read-only", "row held", "deadlocks"), "postgresql": FAULTS}


def test_a_database_that_does_not_serve_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], database_server: DatabaseServer, database: str
) -> None:
    administrator, faults = Administrator(database_server, database), BRIEFLY[database_server.kind]
    with storm(tmp_path, database_server, database, seed=6) as it:
        for name in faults:
            it.rounds(fault(it, administrator, name, 1.0), rounds=1, confirms=200)
        line = judge(it, tmp_path)
    with capsys.disabled():
        print(f"\n{database_server.kind} {', '.join(faults)}: {line}")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*FAULTS, "password changed"])
def test_a_database_that_does_not_serve_for_longer_is_waited_for_again_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], database_server: DatabaseServer, database: str, name: str
) -> None:
    administrator = Administrator(database_server, database)
    with storm(tmp_path, database_server, database, seed=21) as it:
        it.rounds(fault(it, administrator, name, 8.0), rounds=5, confirms=2_000)
        line = judge(it, tmp_path)
    with capsys.disabled():
        print(f"\n{database_server.kind} {name}: {line}")


def test_a_queue_declared_while_the_password_is_another_is_there_when_it_is_right_again(
    tmp_path: Path, database_server: DatabaseServer, database: str
) -> None:
    broker = BrokerProcess(tmp_path / "broker", NodeConfiguration(database_server.jdbc_url(database)))
    broker.start()
    wire = Wire(broker.host, broker.port)
    try:
        with Administrator(database_server, database).another_password():
            wire.send(commands.Queue.Declare(queue="orders", durable=True))
            early = wire.receive(2.0)
        declared = wire.call(commands.Queue.Declare(queue="orders", passive=True), commands.Queue.DeclareOk)
    finally:
        wire.cut()
        code = broker.stop()

    assert early == []
    assert declared.queue == "orders"
    assert code == 0


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """A small disk that the servers' users can get at."""
    directory = Path("/var/tmp") / f"cordillera-disk-{os.getpid()}"
    try:
        with small_disk(directory, 512 * MIB) as mounted:
            yield mounted
    except CannotMount as error:
        pytest.skip(f"a small disk cannot be mounted: {error}")
    finally:
        directory.rmdir()


def fill_for_a_while(it: Storm, disk: SmallDisk, seconds: float) -> float:
    """Leave no room until the broker says so, and `seconds` more."""
    told = it.broker.log.count(NO_ROOM)
    disk.fill()
    end = time.monotonic() + DEADLINE
    while it.broker.log.count(NO_ROOM) == told:
        assert time.monotonic() < end, it.broker.log
        time.sleep(0.05)
    time.sleep(seconds)
    disk.empty()
    return time.monotonic()


@contextmanager
def database_on(disk: SmallDisk, postgresql: DatabaseServer) -> Iterator[str]:
    """A database whose tables lie on `disk`; the server's log lies elsewhere."""
    tables = disk.directory / "tables"
    tables.mkdir()
    if user := unprivileged("postgres"):
        shutil.chown(tables, user)
    postgresql.sql(f"CREATE TABLESPACE small LOCATION '{tables}'")
    postgresql.sql(f"CREATE DATABASE small OWNER {USER} TABLESPACE small")
    yield "small"
    postgresql.drop_database("small")
    postgresql.sql("DROP TABLESPACE small")


@pytest.mark.slow
def test_a_postgresql_without_room_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], postgresql: DatabaseServer, disk: SmallDisk
) -> None:
    with database_on(disk, postgresql) as database, storm(tmp_path, postgresql, database, seed=7) as it:
        it.rounds(partial(fill_for_a_while, it, disk, 3.0), rounds=2, confirms=1_000)
        line = judge(it, tmp_path)
    with capsys.disabled():
        print(f"\npostgresql, no room: {line}")


@pytest.mark.slow
def test_a_mariadb_without_room_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], disk: SmallDisk
) -> None:
    for server in serving(MariaDB, disk.directory):
        database = server.create_database()
        with storm(tmp_path, server, database, seed=7) as it:
            it.rounds(partial(fill_for_a_while, it, disk, 3.0), rounds=2, confirms=1_000)
            line = judge(it, tmp_path)
    with capsys.disabled():
        print(f"\nmariadb, no room: {line}")


def fill_and_consume(directory: Path, server: DatabaseServer, database: str, disk: SmallDisk) -> str:
    """Let the broker's own backlog fill the disk, then consume it; the disk stays as small as it is."""
    broker = BrokerProcess(directory / "broker", NodeConfiguration(server.jdbc_url(database)))
    broker.start()
    try:
        with closing(Publishing(broker, "backlog")) as publisher:
            publisher.publish(WINDOW)
            publisher.note_until(lambda: not publisher.open, 10.0)
            disk.leave(24 * MIB)
            publisher.publish_until(lambda: NO_ROOM in broker.log, 60.0)
            publisher.note(1.0)
            waiting = len(publisher.open)
            consume_all(broker, "backlog", publisher)
            return f"{publisher.published} messages, {waiting} of them waited for room"
    finally:
        broker.kill9()


@pytest.mark.slow
def test_consuming_makes_room_on_a_disk_that_a_backlog_in_mariadb_fills(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], disk: SmallDisk
) -> None:
    for server in serving(MariaDB, disk.directory):
        line = fill_and_consume(tmp_path, server, server.create_database(), disk)
    with capsys.disabled():
        print(f"\nmariadb, full of a backlog: {line}")


@pytest.mark.slow
def test_consuming_makes_room_on_a_disk_that_a_backlog_in_postgresql_fills(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], postgresql: DatabaseServer, disk: SmallDisk
) -> None:
    with database_on(disk, postgresql) as database:
        line = fill_and_consume(tmp_path, postgresql, database, disk)
    with capsys.disabled():
        print(f"\npostgresql, full of a backlog: {line}")
