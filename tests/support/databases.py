"""Private MariaDB and PostgreSQL servers in temporary directories, from the binaries of this machine.

Knows how a server is made, ended and asked; must not touch one that it has not started, nor know the broker's schema.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.nodes.ports import quiet_port
from tests.support.database_products import PASSWORD, USER, DatabaseMissing, Kind, MariaDB, PostgreSQL, Product
from tests.support.network import Host
from tests.support.server_process import ServerFailed, ServerProcess, as_user

__all__ = ["PASSWORD", "USER", "DatabaseMissing", "DatabaseServer", "MariaDB", "PostgreSQL", "ServerFailed"]

START_DEADLINE = 60.0  # recovery may be long after a kill under load
STOP_DEADLINE = 30.0
STATEMENT_DEADLINE = 30.0
ATTEMPTS = 5
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 4 << 30


lent: dict[Callable[[], Product], DatabaseServer] = {}
"""Servers of the process that this one was forked from: tests use them and leave them running."""


class DatabaseServer:
    """One private server: its data outlive any number of kills and starts, until it is closed.

    The user `broker` has all rights on the databases made here and none on the server, so that read-only binds it.
    """

    def __init__(
        self,
        product: Product,
        parent: Path | None = None,
        *,
        standby_of: DatabaseServer | None = None,
        on: Host | None = None,
        port: int = 0,
    ) -> None:
        """Its directory is made in `parent`, in memory without one: kills lose nothing there, and a sync costs nothing.
        A standby has the data of the server that it follows. A server `on` a host is there, and its files are here.
        Without a `port` it gets any that is free.

        The server syncs all the same, as in production; what a lost power costs is for tests that record the calls.
        """
        self._product = product
        self.kind: Kind = product.kind
        self.host = "127.0.0.1" if on is None else on.address
        self.port = port or quiet_port()
        self.on = on
        self._made = 0
        self._directory = Path(tempfile.mkdtemp(prefix=f"cordillera-{product.kind}-", dir=parent or in_memory()))
        self._log = self._directory / "server.log"
        if product.runs_as is not None:
            shutil.chown(self._directory, product.runs_as)
        command, user = product.server(self._directory, self.port), product.runs_as
        if on is not None:
            command, user = on.inside([*command, *product.listening(self.host)], user), None
        self._process = ServerProcess(command, self._directory, user=user)
        try:
            run(self._made_of(standby_of), cwd=self._directory, user=product.runs_as)
            if on is not None:
                product.admit(self._directory, "" if standby_of is None else standby_of.host)
            self.start()
            if standby_of is None:
                self.sql(product.add_user())
        except ServerFailed:
            self.close()
            raise

    def _made_of(self, source: DatabaseServer | None) -> list[str]:
        if source is None:
            return self._product.initialise(self._directory)
        assert isinstance(self._product, PostgreSQL), "only PostgreSQL is copied while it runs"
        return self._product.follow(self._directory, source._directory, source.port)

    @property
    def socket(self) -> Path:
        """The server's socket in the file system."""
        return self._product.socket(self._directory, self.port)

    @property
    def pid(self) -> int:
        """The process id of the present life."""
        return self._process.pid

    @property
    def log(self) -> str:
        """The last lines the server wrote, over all of its lives."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-40:]) if self._log.exists() else ""

    def is_running(self) -> bool:
        return self._process.is_running()

    def start(self) -> None:
        """Start the server and return when it answers statements, after whatever recovery it needs."""
        for _ in range(ATTEMPTS):  # what a killed life has left, such as a port or shared memory, may go a little later
            self._process.spawn(self._log)
            if self._answers_in_time():
                return
            time.sleep(0.5)
        raise ServerFailed(f"{self.kind} does not start\n{self.log}")

    def _answers_in_time(self) -> bool:
        end = time.monotonic() + START_DEADLINE
        while self._process.is_running():
            try:
                self.sql("SELECT 1")
            except ServerFailed:
                if time.monotonic() > end:
                    self.kill9()
                    raise ServerFailed(f"{self.kind} does not answer after {START_DEADLINE} s\n{self.log}") from None
                time.sleep(0.05)
            else:
                return True
        return False

    def stop(self) -> None:
        """Stop the server in an orderly way, without waiting for its clients to leave."""
        self._process.end(self._product.stop_signal, STOP_DEADLINE)

    def kill9(self) -> None:
        """Kill all processes of the server without warning; when this returns they are dead."""
        self._process.kill9()

    def suspend(self) -> None:
        """Make the server hang: it holds its connections and answers nothing."""
        self._process.suspend()

    def resume(self) -> None:
        """Let a server that hangs go on."""
        self._process.resume()

    def heal(self) -> None:
        """Resume or start the server if a test has left it otherwise."""
        if self.is_running():
            self.resume()
        else:
            self.start()

    def close(self) -> None:
        """End the server and remove all of its data."""
        self._process.close()

    def create_database(self, charset: str | None = None) -> str:
        """Make an empty database under a new name; `charset` in the product's spelling, UTF-8 without one."""
        self._made += 1
        name = f"broker{os.getpid()}_{self._made}"  # processes that were forked share the server
        self.create_again(name, charset)
        return name

    def create_again(self, name: str, charset: str | None = None) -> None:
        """Make an empty database under a name that is free."""
        self.sql(self._product.create(name, charset))

    def drop_database(self, name: str) -> None:
        """Remove a database; connections to it are ended."""
        self.sql(self._product.drop(name))

    def jdbc_url(self, database: str, *, port: int | None = None) -> str:
        """The address of a database as a datasource file has it; `port` is that of a proxy before the server."""
        return f"jdbc:{self.kind}://{self.host}:{port or self.port}/{database}?user={USER}&password={PASSWORD}"

    def sql(self, statement: str, database: str = "") -> str:
        """Run statements as the administrator, who owns what they make; rows are lines, values apart by tabs."""
        return run(self._product.client(self._directory, self.port, database), stdin=statement).strip("\n")

    def dump(self, database: str) -> str:
        """The database as statements, as the product's own tool writes them; `sql` can restore them elsewhere."""
        return run(self._product.dump(self._directory, self.port, database))


def in_memory() -> Path | None:
    """Return a folder of a file system in memory that has room for servers, if the machine has one."""
    try:
        room = shutil.disk_usage(MEMORY).free
    except OSError:
        return None
    return MEMORY if room >= MEMORY_NEEDED else None


def run(command: Sequence[str], *, stdin: str = "", cwd: Path | None = None, user: str | None = None) -> str:
    """Run a program to its end and return what it wrote; raise `ServerFailed` with its complaint if it failed."""
    name = Path(command[0]).name
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [part for part in command if part],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=cwd,
            timeout=STATEMENT_DEADLINE,
            check=False,
            **as_user(user),
        )
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"{name}: no answer within {STATEMENT_DEADLINE} s: {stdin[:200]}") from None
    if done.returncode != 0:
        raise ServerFailed(f"{name}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
