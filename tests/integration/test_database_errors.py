"""What the command line says about a database that cannot be used: one line that says what is wrong and what to do.

What only a human can mend ends the broker with exit code 78; what time can mend it waits for, without an AMQP port.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import READY, BrokerProcess
from broker.store.sql.migrate import HEAD
from tests.conftest import serving
from tests.support import forked
from tests.support.database_products import Kind, MariaDB, Product, unprivileged
from tests.support.databases import DatabaseServer

CONFIG = 78
UNAVAILABLE = 69
DEADLINE = 30.0
PROJECT = Path(__file__).parents[2]
WAITING = "waiting for the store"
HIDING = """\
import runpy, sys
sys.modules[sys.argv.pop(1)] = None
runpy.run_module("broker", run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of the command ended, and the lines that it wrote."""

    code: int
    lines: list[str]

    def only_error(self) -> str:
        """Return the reason in the only line of a higher level than info."""
        told = [json.loads(line) for line in self.lines]
        [error] = [line for line in told if line["level"] in ("warning", "error", "critical")]
        assert error["level"] == "error"
        assert "exception" not in error
        assert "\n" not in error["reason"]
        assert len(error["reason"]) < 400
        return str(error["reason"])


def run(directory: Path, url: str, *options: str, hidden: str = "") -> Ended:
    """Run the broker on a database until it ends by itself."""
    config = BrokerProcess(directory / "broker", NodeConfiguration(url)).config
    # What is to be hidden must not have been imported: that start is no fork.
    done = (
        subprocess.run(
            [sys.executable, "-c", HIDING, hidden, "--config", str(config), *options],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        if hidden
        else forked.run("-m", "broker", "--config", str(config), *options)
    )
    return Ended(done.returncode, (done.stdout + done.stderr).splitlines())


@contextmanager
def running(directory: Path, url: str) -> Iterator[BrokerProcess]:
    """A broker that may or may not get as far as to serve."""
    broker = BrokerProcess(directory / "broker", NodeConfiguration(url))
    broker.spawn()
    try:
        yield broker
    finally:
        broker.close()


def is_listening(broker: BrokerProcess) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((broker.host, broker.port)) == 0


def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path, database_server: DatabaseServer, database: str) -> None:
    url = database_server.jdbc_url(database).replace("password=secret", "password=Tr0ub4dor")

    ended = run(tmp_path, url)

    reason = ended.only_error()
    assert ended.code == CONFIG
    assert "correct the datasource" in reason
    assert "broker" in reason
    assert "Tr0ub4dor" not in "".join(ended.lines)


def test_a_database_that_does_not_exist_is_named(tmp_path: Path, database_server: DatabaseServer) -> None:
    ended = run(tmp_path, database_server.jdbc_url("nowhere"))

    assert ended.code == CONFIG
    assert "correct the datasource or the database" in ended.only_error()
    assert "nowhere" in ended.only_error()


def test_a_driver_that_is_not_installed_is_named(tmp_path: Path, database_server: DatabaseServer) -> None:
    driver, package = {
        "mariadb": ("aiomysql", "aiomysql"),
        "postgresql": ("asyncpg", "cordillera[postgres]"),
    }[database_server.kind]

    ended = run(tmp_path, database_server.jdbc_url("unused"), hidden=driver)

    assert ended.code == CONFIG
    assert package in ended.only_error()
    assert "pip install" in ended.only_error()


def test_a_schema_of_a_newer_program_is_refused(tmp_path: Path, postgresql: DatabaseServer) -> None:
    database = postgresql.create_database()
    url = postgresql.jdbc_url(database)
    assert run(tmp_path / "setup", url, "--setup").code == 0
    postgresql.sql("UPDATE alembic_version SET version_num = '9999'", database)

    ended = run(tmp_path, url)
    postgresql.drop_database(database)

    assert ended.code == CONFIG
    assert ended.only_error() == (
        f"the database has schema revision '9999', this program knows up to '{HEAD}': "
        "start the version that wrote it, or choose another dataSource"
    )


def test_a_user_who_may_not_create_tables_is_refused(
    tmp_path: Path, database_server: DatabaseServer, database: str, reader: str
) -> None:
    url = database_server.jdbc_url(database).replace("user=broker", f"user={reader}")

    ended = run(tmp_path, url)

    assert ended.code == CONFIG
    assert "correct the datasource or the database" in ended.only_error()
    assert "denied" in ended.only_error()


@pytest.fixture
def reader(database_server: DatabaseServer, database: str) -> Iterator[str]:
    """A user who may look at the database but not change it."""
    if database_server.kind == "mariadb":
        made = f"CREATE USER reader IDENTIFIED BY 'secret'; GRANT SELECT ON {database}.* TO reader"
    else:
        made = "CREATE ROLE reader LOGIN PASSWORD 'secret'"
    database_server.sql(made)
    yield "reader"
    database_server.sql("DROP USER reader")


def test_a_datasource_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = BrokerProcess(tmp_path / "broker").config
    wrong = '<messageStore><property name="dataSource">WSO2MBStoreDb</property></messageStore>'
    broker_xml = config / "broker.xml"
    broker_xml.write_text(broker_xml.read_text().replace("</broker>", f"<persistence>{wrong}</persistence></broker>"))

    done = forked.run("-m", "broker", "--config", str(config))

    assert done.returncode == CONFIG
    [line] = (done.stdout + done.stderr).splitlines()
    assert "no datasource has the JNDI name 'WSO2MBStoreDb'; known are WSO2MBStoreDB" in line
    assert "broker.xml" in line


def test_an_unknown_host_is_waited_for_without_an_amqp_port(tmp_path: Path, database_server: DatabaseServer) -> None:
    url = database_server.jdbc_url("unused").replace("127.0.0.1", "nowhere.invalid")
    with running(tmp_path, url) as broker:
        broker.output.wait_for(WAITING)

        assert not is_listening(broker)
        assert broker.stop() == 0
        told = [json.loads(line) for line in broker.log.splitlines()]
        [warning] = [line for line in told if line["level"] not in ("debug", "info")]
        assert (warning["level"], warning["event"]) == ("warning", WAITING)
        assert "nowhere.invalid" in warning["reason"]


def test_a_broker_starts_by_itself_when_its_database_comes(
    tmp_path: Path, database_server: DatabaseServer, database: str
) -> None:
    database_server.stop()
    with running(tmp_path, database_server.jdbc_url(database)) as broker:
        broker.output.wait_for(WAITING)
        assert not is_listening(broker)

        database_server.start()

        broker.output.wait_for(READY)
        assert is_listening(broker)
        assert broker.stop() == 0
        assert broker.log.count(WAITING) == 1
        assert '"error"' not in broker.log


def test_a_database_that_is_away_is_not_waited_for_by_setup(tmp_path: Path, mariadb: DatabaseServer) -> None:
    ended = run(tmp_path, mariadb.jdbc_url("unused", port=quiet_port()), "--setup")

    assert ended.code == UNAVAILABLE
    assert "127.0.0.1" in ended.only_error()


def test_two_setups_at_once_make_one_schema_and_a_third_leaves_it(
    tmp_path: Path, database_server: DatabaseServer, database: str
) -> None:
    url = database_server.jdbc_url(database)

    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda name: run(tmp_path / name, url, "--setup"), ("one", "two")))
    third = run(tmp_path / "third", url, "--setup")

    assert [*both, third] == [Ended(0, third.lines)] * 3
    [line] = third.lines
    assert line.startswith("the schema of ")
    assert line.endswith(f"/{database} is up to date")
    assert database_server.sql("SELECT version_num FROM alembic_version", database) == HEAD


# TLS


class TlsMariaDB(MariaDB):
    """MariaDB with a certificate."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._certificates = directory

    def server(self, directory: Path, port: int) -> list[str]:
        plain = [part for part in super().server(directory, port) if part != "--skip-ssl"]
        return [*plain, f"--ssl-cert={self._certificates}/server.pem", f"--ssl-key={self._certificates}/server.key"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificates(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that both servers can read, with a certificate for 127.0.0.1 and two authorities, one of them wrong."""
    directory = Path("/var/tmp") / f"cordillera-tls-{os.getpid()}"
    directory.mkdir()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(directory / "server.pem")
    issued.private_key_pem.write_to_path(directory / "server.key")
    authority.cert_pem.write_to_path(directory / "authority.pem")
    trustme.CA().cert_pem.write_to_path(directory / "stranger.pem")
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=[pytest.param("mariadb", marks=pytest.mark.slow), "postgresql"])
def tls_server(request: pytest.FixtureRequest, certificates: Path) -> Iterator[DatabaseServer]:
    if request.param == "mariadb":
        yield from tls_mariadb(certificates)
    else:
        yield from tls_postgresql(request.getfixturevalue("postgresql"), certificates)


def tls_mariadb(certificates: Path) -> Iterator[DatabaseServer]:
    def product() -> Product:
        made = TlsMariaDB(certificates)
        own_key(certificates, made.runs_as)
        return made

    yield from serving(product)


def tls_postgresql(server: DatabaseServer, certificates: Path) -> Iterator[DatabaseServer]:
    own_key(certificates, unprivileged("postgres"))
    for setting in (
        f"ssl_cert_file = '{certificates}/server.pem'",
        f"ssl_key_file = '{certificates}/server.key'",
        "ssl = on",
    ):
        server.sql(f"ALTER SYSTEM SET {setting}")
    server.sql("SELECT pg_reload_conf()")
    yield server
    server.sql("ALTER SYSTEM RESET ALL")
    server.sql("SELECT pg_reload_conf()")


def own_key(certificates: Path, user: str | None) -> None:
    key = certificates / "server.key"
    key.chmod(0o600)
    if user is not None:
        shutil.chown(key, user)


VERIFYING: dict[Kind, str] = {
    "mariadb": "&sslMode=VERIFY_IDENTITY&serverSslCert={}",
    "postgresql": "&sslmode=verify-full&sslrootcert={}",
}
REQUIRING: dict[Kind, str] = {"mariadb": "&sslMode=REQUIRED", "postgresql": "&sslmode=require"}


def test_a_server_is_verified_by_its_certificate(
    tmp_path: Path, tls_server: DatabaseServer, certificates: Path
) -> None:
    database = tls_server.create_database()
    url = tls_server.jdbc_url(database) + VERIFYING[tls_server.kind]

    right = run(tmp_path / "right", url.format(certificates / "authority.pem"), "--setup")
    wrong = run(tmp_path / "wrong", url.format(certificates / "stranger.pem"))
    any_one = run(tmp_path / "any", tls_server.jdbc_url(database) + REQUIRING[tls_server.kind], "--setup")
    tls_server.drop_database(database)

    assert right.code == 0, right.lines
    assert any_one.code == 0, any_one.lines
    assert wrong.code == CONFIG
    assert "correct the datasource" in wrong.only_error()
    assert "certificate verify failed" in wrong.only_error()


def test_tls_that_is_demanded_but_not_offered_is_refused_before_the_log_in(
    tmp_path: Path, database_server: DatabaseServer
) -> None:
    ended = run(tmp_path, database_server.jdbc_url("nowhere") + REQUIRING[database_server.kind])

    assert ended.code == CONFIG
    assert "TLS" in ended.only_error() or "SSL" in ended.only_error()
