"""The command line about the configured database: `python -m broker database sql` and `backup`.

It knows the databases' own tools. It opens no store: a node may run meanwhile, but for the embedded one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which
from typing import BinaryIO, Final

from broker.config.configuration import Configuration
from broker.config.connection_options import ConnectionOptions, connection_options
from broker.config.store_url import StoreUrl
from broker.errors import ConfigError, StoreLocked
from broker.node.printable import printable
from broker.store.sql.migrate import script
from broker.store.sqlite.lock import FileLock

EX_OK: Final = 0
EX_UNAVAILABLE: Final = 69
EX_CANTCREAT: Final = 73
EX_CONFIG: Final = 78

_BESIDE: Final = ("", "-wal", ".content")
"""What belongs to an embedded database: the file, its log, and the folder of large bodies (ADR 12, ADR 27)."""
_MYSQL_TLS: Final = {"disable": "DISABLED", "prefer": "PREFERRED", "require": "REQUIRED", "verify-ca": "VERIFY_CA"}

Dump = tuple[Sequence[str], Mapping[str, str]]
"""A command that writes a database to its output, and what its environment has beside."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line behind `database`."""
    whole = argparse.ArgumentParser(
        prog="python -m broker database", description="Print the SQL of the configured database, or back it up."
    )
    commands = whole.add_subparsers(dest="command", required=True)
    sql = commands.add_parser("sql", help="print the statements that make the tables in an empty database")
    backup = commands.add_parser("backup", help="write everything to a file that only its owner may read")
    backup.add_argument("file", type=Path, help="a file that is not there yet")
    for each in (sql, backup):
        each.add_argument("--config", metavar="PATH", help="broker.xml of a node, or the folder it is in")
    return whole


def run(options: argparse.Namespace, config: Configuration) -> int:
    """Carry the command out and return the exit code."""
    url = config.store_url
    try:
        if options.command == "sql":
            print(script("sqlite" if url.engine == "memory" else url.engine), end="", flush=True)
            return EX_OK
        _back_up(url, options.file)
    except (ConfigError, StoreLocked) as error:
        return _stopped(str(error), EX_CONFIG)
    except FileExistsError:
        return _stopped(f"{options.file} is there already: choose another name", EX_CANTCREAT)
    except _DumpFailed as error:
        return _stopped(str(error), EX_UNAVAILABLE)
    except OSError as error:
        return _stopped(f"{error.filename or options.file}: {error.strerror}", EX_CANTCREAT)
    print(printable(f"the database is in {options.file}, {options.file.stat().st_size} octets"), flush=True)
    return EX_OK


class _DumpFailed(Exception):
    """The tool of a database server has failed. The text is one line."""


def _back_up(url: StoreUrl, path: Path) -> None:
    """Write the database to a new file, which appears when it is whole. Raises `ConfigError`, `StoreLocked`, OSError
    and `_DumpFailed`.
    """
    if path.exists():
        raise FileExistsError(path)
    write: Callable[[BinaryIO], None]
    if url.engine == "sqlite" and url.path is not None:
        source = url.path.resolve()
        if not source.is_file():
            raise ConfigError(f"there is no database {source}: nothing to back up")
        write = _archive_of(source)
    elif url.engine == "memory":
        raise ConfigError("the database is in memory only: a backup needs another dataSource")
    else:
        write = _dump_of(url)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a renaming it replaces nothing
    finally:
        part.unlink(missing_ok=True)


# An embedded database


def _archive_of(source: Path) -> Callable[[BinaryIO], None]:
    """Return what writes a tar file of a database that nobody uses."""

    def write(file: BinaryIO) -> None:
        lock = FileLock(source.with_name(f"{source.name}.lock"))
        lock.acquire(source)
        try:
            lock.acquire_file(source)
            with tarfile.open(fileobj=file, mode="w|") as archive:
                for ending in _BESIDE:
                    part = source.with_name(source.name + ending)
                    if part.exists():
                        archive.add(part, part.name)
        finally:
            lock.release()

    return write


# A database server


def _dump_of(url: StoreUrl) -> Callable[[BinaryIO], None]:
    """Return what lets the server's own tool write a dump of one moment, beside whoever uses the database."""
    options, _ = connection_options(url)

    def write(file: BinaryIO) -> None:
        with _command(url, options) as (command, environ):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, env={**os.environ, **environ}
            )
        if done.returncode:
            told = " ".join(done.stderr.decode("utf-8", "replace").split()) or f"it ended with {done.returncode}"
            raise _DumpFailed(f"{Path(command[0]).name}: {told}")

    return write


@contextmanager
def _command(url: StoreUrl, options: ConnectionOptions) -> Iterator[Dump]:
    """Return the command of a dump. The password is in no argument, which others on the machine could see."""
    if url.engine == "postgresql":
        yield postgresql_dump(url, options)
        return
    with tempfile.NamedTemporaryFile("w", prefix="cordillera-", suffix=".cnf", encoding="utf-8") as settings:
        settings.write(mysql_settings(url, options))
        settings.flush()
        program = _tool("MariaDB or MySQL", "mariadb-dump", "mysqldump")
        yield (
            (
                *(program, f"--defaults-file={settings.name}", "--single-transaction", "--quick", "--hex-blob"),
                *("--no-tablespaces", "--default-character-set=utf8mb4", "--", url.database),
            ),
            {},
        )


def mysql_settings(url: StoreUrl, options: ConnectionOptions) -> str:
    """Return the file of settings by which MariaDB's and MySQL's tools connect as the broker does."""
    lines = {"user": url.user_name, "password": url.password.get_secret_value()}
    if options.unix_socket is not None:
        lines["socket"] = str(options.unix_socket)
    else:
        lines |= {"protocol": "tcp", "host": url.host, "port": str(url.port)}
    lines["loose-ssl-mode"] = _MYSQL_TLS.get(options.tls, "VERIFY_IDENTITY")  # MySQL's tool
    if options.tls != "disable":
        lines |= {"ssl-ca": str(options.tls_ca or ""), "ssl-cert": str(options.tls_cert or "")}
        lines["ssl-key"] = str(options.tls_key or options.tls_cert or "")
        lines["loose-ssl-verify-server-cert"] = "1" if options.tls.startswith("verify") else "0"  # MariaDB's
    quoted = (f'{name}="{_escaped(value)}"\n' for name, value in lines.items() if value)
    return "[client]\n" + "".join(quoted)


def _escaped(value: str) -> str:
    """Return a value between quotes of a file of settings."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def postgresql_dump(url: StoreUrl, options: ConnectionOptions) -> Dump:
    """Return the command and the environment by which PostgreSQL's tool connects as the broker does."""
    given = {
        "PGHOST": url.host,
        "PGPORT": str(url.port),
        "PGUSER": url.user_name,
        "PGPASSWORD": url.password.get_secret_value(),
        "PGDATABASE": url.database,
        "PGSSLMODE": options.tls,
        "PGSSLROOTCERT": str(options.tls_ca or ("system" if options.tls.startswith("verify") else "")),
        "PGSSLCERT": str(options.tls_cert or ""),
        "PGSSLKEY": str(options.tls_key or options.tls_cert or ""),
    }
    schema = (f"--schema={options.schema}",) if options.schema else ()
    environ = {name: value for name, value in given.items() if value}
    return (_tool("PostgreSQL", "pg_dump"), *schema), environ


def _tool(product: str, *names: str) -> str:
    """Return the path of the first of these programs that is here. Raises `ConfigError`."""
    for name in names:
        with suppress(OSError):
            if found := which(name):
                return found
    raise ConfigError(f"a backup needs {' or '.join(names)} of {product} on this machine: install its client tools")


def _stopped(text: str, code: int) -> int:
    print(printable(text), file=sys.stderr, flush=True)
    return code
