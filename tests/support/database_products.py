"""The command lines and statements of MariaDB and of PostgreSQL, for private servers.

Knows the two products and where Debian puts them; must not know processes.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

Kind = Literal["mariadb", "postgresql"]
USER = "broker"
PASSWORD = "secret"
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec")


class DatabaseMissing(Exception):
    """The machine has no such server; the text is one line that names the Debian package."""


class Product(Protocol):
    """What differs between the two; commands are those of the server in `directory` that listens on `port`."""

    kind: Kind
    runs_as: str | None  # the user of the server's processes, when it is not ours
    stop_signal: signal.Signals

    def initialise(self, directory: Path) -> list[str]: ...
    def server(self, directory: Path, port: int) -> list[str]: ...
    def listening(self, address: str) -> list[str]: ...  # further options: where it does, other hosts included
    def admit(self, directory: Path, source: str) -> None: ...  # other hosts; a standby follows `source`
    def client(self, directory: Path, port: int, database: str) -> list[str]: ...
    def dump(self, directory: Path, port: int, database: str) -> list[str]: ...
    def socket(self, directory: Path, port: int) -> Path: ...
    def add_user(self) -> str: ...
    def create(self, database: str, charset: str | None) -> str: ...
    def drop(self, database: str) -> str: ...  # ends connections first


class MariaDB:
    """MariaDB with the durability of production and the memory of a test."""

    kind: Kind = "mariadb"
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        missing = "no MariaDB server on this machine: apt install mariadb-server"
        self._server = program(["mariadbd", "mysqld"], SYSTEM_FOLDERS, missing)
        self._install = program(["mariadb-install-db", "mysql_install_db"], SYSTEM_FOLDERS, missing)
        self._client = program(["mariadb", "mysql"], (), missing)
        self._dump = program(["mariadb-dump", "mysqldump"], (), missing)
        self.runs_as = unprivileged("mysql")

    def initialise(self, directory: Path) -> list[str]:
        return [
            self._install,
            "--no-defaults",
            f"--datadir={directory}/data",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={getpass.getuser()}",
            "--skip-test-db",
            "--skip-name-resolve",
        ]

    def server(self, directory: Path, port: int) -> list[str]:
        return [
            self._server,
            "--no-defaults",
            f"--datadir={directory}/data",
            f"--tmpdir={directory}",
            f"--socket={self.socket(directory, port)}",
            f"--pid-file={directory}/server.pid",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            "--innodb-buffer-pool-size=128M",
            "--innodb-flush-log-at-trx-commit=1",
            "--max-connections=100",
            "--performance-schema=OFF",
            "--skip-name-resolve",
            "--skip-ssl",
        ]

    def listening(self, address: str) -> list[str]:
        return [f"--bind-address={address}"]

    def admit(self, directory: Path, source: str) -> None:
        """Do nothing: its users may come from everywhere."""

    def client(self, directory: Path, port: int, database: str) -> list[str]:
        return [self._client, *self._login(directory, port), "--batch", "--skip-column-names", database]

    def dump(self, directory: Path, port: int, database: str) -> list[str]:
        return [self._dump, *self._login(directory, port), "--single-transaction", "--hex-blob", database]

    def _login(self, directory: Path, port: int) -> list[str]:
        return [
            "--no-defaults",
            f"--socket={self.socket(directory, port)}",
            f"--user={getpass.getuser()}",
            "--default-character-set=utf8mb4",
        ]

    def socket(self, directory: Path, port: int) -> Path:
        """The file to give to a client as its local socket."""
        return directory / "mysql.sock"

    def add_user(self) -> str:
        hosts = ("%", "localhost")
        anonymous = "DELETE FROM mysql.global_priv WHERE user = ''; FLUSH PRIVILEGES;"
        return anonymous + "".join(f"CREATE USER {USER}@'{host}' IDENTIFIED BY '{PASSWORD}';" for host in hosts)

    def create(self, database: str, charset: str | None) -> str:
        return (
            f"CREATE DATABASE {database} CHARACTER SET {charset or 'utf8mb4'};"
            f"GRANT ALL ON {database}.* TO {USER}@'%'; GRANT ALL ON {database}.* TO {USER}@localhost"
        )

    def drop(self, database: str) -> str:
        connections = f"SELECT id FROM information_schema.processlist WHERE db = '{database}'"
        return f"""DELIMITER //
BEGIN NOT ATOMIC
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; -- the connection has ended meanwhile
  FOR connection IN ({connections}) DO KILL connection.id; END FOR;
END //
DROP DATABASE {database} //
"""


class ReplicatedMariaDB(MariaDB):
    """MariaDB as the primary or the replica of semi-synchronous replication: a primary waits as long as it takes."""

    def __init__(self, number: int) -> None:
        """Each server of a pair has another number."""
        super().__init__()
        self._number = number

    def server(self, directory: Path, port: int) -> list[str]:
        return [
            *super().server(directory, port),
            f"--server-id={self._number}",
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--sync-binlog=1",
            "--log-slave-updates=ON",
            "--gtid-strict-mode=ON",
            "--slave-parallel-threads=4",
            "--rpl-semi-sync-slave-enabled=ON",
            "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
            "--rpl-semi-sync-master-timeout=3600000",
        ]

    def dump(self, directory: Path, port: int, database: str) -> list[str]:
        """With the position in the primary's log that it is of."""
        return [*super().dump(directory, port, database), "--master-data=1", "--gtid"]


class PostgreSQL:
    """PostgreSQL with the durability of production and the memory of a test."""

    kind: Kind = "postgresql"
    stop_signal = signal.SIGINT  # the fast shutdown, which does not wait for clients

    def __init__(self) -> None:
        missing = "no PostgreSQL server on this machine: apt install postgresql"
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(4))
        folders = [str(path) for path in reversed(versions)]
        self._bin = Path(program(["postgres"], folders, missing)).resolve().parent
        self.runs_as = unprivileged("postgres")

    def initialise(self, directory: Path) -> list[str]:
        return [
            str(self._bin / "initdb"),
            f"--pgdata={directory}/data",
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]

    def follow(self, directory: Path, source: Path, source_port: int) -> list[str]:
        """Return the command that copies a running server, for one that follows it as `standby1` from then on."""
        how = ["--wal-method=stream", "--checkpoint=fast", "--no-sync", "--write-recovery-conf"]
        place = f"host={source} port={source_port} user=postgres application_name=standby1"
        return [str(self._bin / "pg_basebackup"), f"--dbname={place}", f"--pgdata={directory}/data", *how]

    def server(self, directory: Path, port: int) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(directory),
            "shared_buffers": "64MB",
            "dynamic_shared_memory_type": "mmap",  # in its directory, which goes with a server that was killed
            "max_connections": "100",
            "fsync": "on",
            "synchronous_commit": "on",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", f"{directory}/data", *options]

    def listening(self, address: str) -> list[str]:
        return ["-c", f"listen_addresses={address}"]

    def admit(self, directory: Path, source: str) -> None:
        """Let other hosts in; a standby follows over the network, not through a file."""
        access = directory / "data" / "pg_hba.conf"
        if not source:
            lines = ("host all all samenet scram-sha-256", "host replication postgres samenet trust")
            access.write_text(access.read_text() + "\n".join(lines) + "\n")
            return
        settings = directory / "data" / "postgresql.auto.conf"
        text = settings.read_text()
        settings.write_text(re.sub(r"host=/\S+", f"host={source}", text))

    def client(self, directory: Path, port: int, database: str) -> list[str]:
        form = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--field-separator=\t"]
        return [
            str(self._bin / "psql"),
            *self._login(directory, port),
            *form,
            "--set=ON_ERROR_STOP=1",
            database or "postgres",
        ]

    def dump(self, directory: Path, port: int, database: str) -> list[str]:
        return [str(self._bin / "pg_dump"), *self._login(directory, port), database]

    def _login(self, directory: Path, port: int) -> list[str]:
        return [f"--host={directory}", f"--port={port}", "--username=postgres", "--no-password"]

    def socket(self, directory: Path, port: int) -> Path:
        """The file the server listens on; clients are given its folder."""
        return directory / f".s.PGSQL.{port}"

    def add_user(self) -> str:
        return f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"

    def create(self, database: str, charset: str | None) -> str:
        encoding = f"TEMPLATE template0 ENCODING '{charset or 'UTF8'}'"
        return f"CREATE DATABASE {database} OWNER {USER} {encoding}"

    def drop(self, database: str) -> str:
        return f"DROP DATABASE {database} WITH (FORCE)"


def program(names: Iterable[str], folders: Iterable[str], missing: str) -> str:
    """Return the path of the first program found, `folders` before PATH; raise with the line `missing` when none is."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise DatabaseMissing(missing)


def unprivileged(preferred: str) -> str | None:
    """Return whom a server runs as when we are root, which both products refuse to be, or none."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(preferred).pw_name
    except KeyError:
        return "nobody"
