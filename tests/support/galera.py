"""A Galera cluster of three MariaDB servers on this machine: killed, isolated, and joined again.

Knows how Galera's servers are started; must not know the broker.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.nodes.ports import quiet_port
from tests.support.database_products import Kind
from tests.support.databases import PASSWORD, USER, DatabaseMissing, MariaDB, ServerFailed, in_memory, run
from tests.support.network import Host
from tests.support.server_process import ServerProcess, wait_until

PROVIDERS = (Path("/usr/lib/galera/libgalera_smm.so"), Path("/usr/lib64/galera-4/libgalera_smm.so"))
DEADLINE = 60.0
_RECOVERED = re.compile(r"Recovered position: ?([0-9a-f-]{36}:-?\d+)")
_STATUS = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = '{}'"


def provider() -> Path:
    """Return Galera's library; raise when it is not there."""
    for path in PROVIDERS:
        if path.exists():
            return path
    raise DatabaseMissing("no Galera on this machine: apt install galera-4")


class GaleraServer:
    """One server of the cluster, over any number of lives."""

    def __init__(self, cluster: Galera, number: int, host: Host | None = None) -> None:
        self._cluster = cluster
        self.on = host
        self.address = "127.0.0.1" if host is None else host.address
        self._product = cluster.product
        self.directory = cluster.directory / f"server{number}"
        self.port = quiet_port()
        self.group_port = quiet_port(3)
        self._process: ServerProcess | None = None
        self._is_empty = False

    def start(self, *, is_first: bool = False) -> None:
        """Start it and return when it is in the cluster and in step."""
        address = "gcomm://" if is_first else self._cluster.address
        options = [*self._options(), f"--wsrep-cluster-address={address}"]
        if not self._is_empty:
            options.append(f"--wsrep-start-position={self._position()}")
        self._is_empty = False
        command, user = [*self._product.server(self.directory, self.port), *options], self._product.runs_as
        if self._process is not None:
            self._process.close()
        place = self.directory / "life"  # which goes with it
        place.mkdir()
        shutil.chown(place, user)
        if self.on is not None:
            command, user = self.on.inside(command, user), None
        self._process = ServerProcess(command, place, user=user)
        self._process.spawn(self.directory / "server.log")
        self.wait_until_ready()

    def _options(self) -> list[str]:
        here = f"{self.address}:{self.group_port}"
        provider_options = (  # shorter than shipped, and long enough for a machine that is busy
            f"gmcast.listen_addr=tcp://{here}",
            f"ist.recv_addr={self.address}:{self.group_port + 1}",
            "gcache.size=128M",
            "evs.inactive_check_period=PT0.2S",
            "evs.keepalive_period=PT0.3S",
            "evs.suspect_timeout=PT3S",
            "evs.inactive_timeout=PT6S",
            "evs.install_timeout=PT6S",
        )
        return [
            f"--bind-address={self.address}",
            "--wsrep-on=ON",
            f"--wsrep-provider={provider()}",
            f"--wsrep-provider-options={';'.join(provider_options)}",
            f"--wsrep-node-address={here}",
            "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address={self.address}:{self.group_port + 2}",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
        ]

    def _position(self) -> str:
        """Return how far a server that has ended, in whatever way, is."""
        server = self._product.server(self.directory, self.port)
        command = [*server, *self._options(), f"--wsrep-cluster-address={self._cluster.address}", "--wsrep-recover"]
        log = self.directory / "recovery.log"
        log.unlink(missing_ok=True)
        run([*command, f"--log-error={log}"], cwd=self.directory, user=self._product.runs_as)
        found = _RECOVERED.search(log.read_text(errors="replace"))
        if found is None:
            raise ServerFailed(f"no position recovered\n{log.read_text(errors='replace')[-2000:]}")
        return found[1]

    def wait_until_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + DEADLINE
        while not self.is_ready():
            if not self._process.is_running() or time.monotonic() > end:
                raise ServerFailed(f"a server of Galera does not start\n{self.log}")
            time.sleep(0.1)

    def is_ready(self) -> bool:
        try:
            return self.status("wsrep_local_state_comment") == "Synced" and self.status("wsrep_ready") == "ON"
        except ServerFailed:
            return False

    def status(self, name: str) -> str:
        return self.sql(f"SHOW STATUS LIKE '{name}'").partition("\t")[2]

    def sql(self, statement: str, database: str = "") -> str:
        """Run statements as the administrator; rows are lines, values apart by tabs."""
        return run(self._product.client(self.directory, self.port, database), stdin=statement).strip("\n")

    @property
    def log(self) -> str:
        return "\n".join((self.directory / "server.log").read_text(errors="replace").splitlines()[-40:])

    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running()

    def kill9(self) -> None:
        assert self._process is not None
        self._process.kill9()

    def stop(self) -> None:
        assert self._process is not None
        self._process.end(self._product.stop_signal, DEADLINE)

    def suspend(self) -> None:
        assert self._process is not None
        self._process.suspend()

    def resume(self) -> None:
        assert self._process is not None
        self._process.resume()

    def lose_data(self) -> None:
        """Leave a server that has ended with nothing: when it is started it gets everything from another one."""
        shutil.rmtree(self.directory / "data")
        (self.directory / "data").mkdir()
        shutil.chown(self.directory / "data", self._product.runs_as)
        self._is_empty = True

    def isolate(self, *, is_isolated: bool) -> None:
        """Cut it off from the other servers, and not from its clients; or undo that."""
        self.sql(f"SET GLOBAL wsrep_provider_options = 'gmcast.isolate={int(is_isolated)}'")

    def close(self) -> None:
        if self._process is not None:
            self._process.close()


class Galera:
    """Three servers with one database."""

    kind: Kind = "mariadb"

    def __init__(self, size: int = 3, hosts: Sequence[Host] = ()) -> None:
        """Each server runs on one of the hosts, if there are any."""
        provider()
        self.product = MariaDB()
        self.directory = Path(tempfile.mkdtemp(prefix="cordillera-galera-", dir=in_memory()))
        shutil.chown(self.directory, self.product.runs_as)
        self.servers = [GaleraServer(self, number, hosts[number] if hosts else None) for number in range(size)]
        self.database = "broker"
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        return "gcomm://" + ",".join(f"{server.address}:{server.group_port}" for server in self.servers)

    def _make(self) -> None:
        """Initialise the first server and copy it: a server that is in step needs no transfer when it joins."""
        user, first = self.product.runs_as, self.servers[0]
        for server in self.servers:
            server.directory.mkdir()
            shutil.chown(server.directory, user)
        run(self.product.initialise(first.directory), cwd=first.directory, user=user)
        first.start(is_first=True)
        first.sql(self.product.add_user())
        first.sql(self.product.create(self.database, None))
        first.stop()
        for server in self.servers[1:]:
            run(["cp", "-a", f"{first.directory}/data", f"{server.directory}/data"])
        first.start(is_first=True)
        for server in self.servers[1:]:
            server.start()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return when all servers are in step."""
        size = str(len(self.servers))
        wait_until(
            lambda: all(server.is_ready() and server.status("wsrep_cluster_size") == size for server in self.servers),
            DEADLINE,
            "all servers of Galera are in step",
        )

    def url(self, *numbers: int) -> str:
        """Return the address of the database on these servers, or on all, in this order."""
        servers = [self.servers[number] for number in numbers] or self.servers
        hosts = ",".join(f"{server.address}:{server.port}" for server in servers)
        return f"jdbc:mariadb://{hosts}/{self.database}?user={USER}&password={PASSWORD}"

    @property
    def living(self) -> GaleraServer:
        """A server that is in step."""
        return next(server for server in self.servers if server.is_running() and server.is_ready())

    # As one server, for a cluster

    @property
    def port(self) -> int:
        return self.living.port

    def jdbc_url(self, database: str, *, port: int | None = None) -> str:
        return self.url()

    def create_database(self) -> str:
        return self.database

    def drop_database(self, name: str) -> None:
        """It goes with the servers."""

    def sql(self, statement: str, database: str = "") -> str:
        return self.living.sql(statement, database)

    def kill9(self) -> None:
        self.living.kill9()

    def start(self) -> None:
        """Servers are made again by `GaleraServer.start`."""

    def heal(self) -> None:
        """Servers are made again by `GaleraServer.start`."""

    def close(self) -> None:
        for server in self.servers:
            server.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
