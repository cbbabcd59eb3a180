"""PgBouncer before a PostgreSQL server, in any of its modes."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.nodes.ports import quiet_port
from tests.support.database_products import program, unprivileged
from tests.support.databases import PASSWORD, USER, DatabaseServer
from tests.support.server_process import ServerProcess, wait_until

_INI = """\
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = 20
{more}
"""


@contextmanager
def pgbouncer(server: DatabaseServer, mode: str, more: str = "") -> Iterator[int]:
    """Run PgBouncer with `more` settings; yield its port. Raises `DatabaseMissing` where it is not installed."""
    command = program(["pgbouncer"], ["/usr/sbin"], "no PgBouncer on this machine: apt install pgbouncer")
    user, port = unprivileged("postgres"), quiet_port()
    folder = Path(tempfile.mkdtemp(prefix="cordillera-pgbouncer-"))
    (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
    settings = _INI.format(server_port=server.port, port=port, folder=folder, mode=mode, more=more)
    (folder / "pgbouncer.ini").write_text(settings)
    (folder / "watched").mkdir()
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, user)
    process = ServerProcess([command, str(folder / "pgbouncer.ini")], folder / "watched", user=user)
    process.spawn(folder / "log")
    try:
        wait_until(lambda: _listens(port), 20.0, "PgBouncer listens")
        yield port
    finally:
        process.close()
        shutil.rmtree(folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False
