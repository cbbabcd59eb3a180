"""A database server and its standby, which change places when the first one fails.

Knows both servers and how one becomes the primary; must not know the broker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.support.database_products import Kind, ReplicatedMariaDB
from tests.support.databases import PASSWORD, USER, DatabaseServer, PostgreSQL
from tests.support.network import Host
from tests.support.proxy import Proxy
from tests.support.server_process import ServerFailed, wait_until

DEADLINE = 30.0
APPLIED_WITHIN = 25.0
_MAY_REPLICATE = f"GRANT REPLICATION SLAVE ON *.* TO {USER}@'%'"
_BEAT = "MASTER_HEARTBEAT_PERIOD=1"  # seconds, within which a primary sees that its replica has gone
NAMES = "synchronous_standby_names"


class OneServer:
    """Two servers as the one that a cluster of brokers knows."""

    primary: DatabaseServer
    database: str

    @property
    @abstractmethod
    def url(self) -> str:
        """The address of the database on whichever server is the primary."""

    @property
    def port(self) -> int:
        return self.primary.port

    def jdbc_url(self, database: str, *, port: int | None = None) -> str:
        return self.url

    def create_database(self) -> str:
        return self.database

    def drop_database(self, name: str) -> None:
        """It goes with the servers."""

    def sql(self, statement: str, database: str = "") -> str:
        return self.primary.sql(statement, database)

    def kill9(self) -> None:
        self.primary.kill9()

    def start(self) -> None:
        """Servers are made again by `rebuild`."""

    def heal(self) -> None:
        """Servers are made again by `rebuild`."""


class Pair(OneServer, ABC):
    """A primary and a standby: on two hosts, or each behind a proxy of its own, so that clients can lose the one and
    reach the other.
    """

    kind: Kind

    def __init__(self, hosts: Sequence[Host] = ()) -> None:
        on_primary, on_standby = hosts or (None, None)
        self.primary = self._new_primary(on_primary)
        self.database = self.primary.create_database()
        self.standby = self._new_standby(on_standby, 0)
        servers = (self.primary, self.standby)
        self._proxies = {} if hosts else {each: Proxy(each.port) for each in servers}
        self._places = ",".join(f"{each.host}:{self._proxies.get(each, each).port}" for each in servers)
        self._connect_standby()

    @abstractmethod
    def _new_primary(self, on: Host | None) -> DatabaseServer:
        """Return a server with nothing."""

    @abstractmethod
    def _new_standby(self, on: Host | None, port: int) -> DatabaseServer:
        """Return a server that has what the primary has."""

    @abstractmethod
    def _connect_standby(self) -> None:
        """Let the primary wait for the standby, if it is to; return when that follows."""

    @abstractmethod
    def promote(self) -> None:
        """Let the standby be the primary; return when it takes writes."""

    def kill(self) -> None:
        """The primary dies."""
        self.primary.kill9()

    def cut_off(self) -> None:
        """No client reaches the primary any more, and it reaches no standby: it answers nothing."""
        self._proxies[self.primary].hang()
        self.primary.suspend()

    def kill_former(self) -> None:
        """Kill what was the primary before the last fail-over, if it runs still."""
        if self.standby.is_running():
            self.standby.kill9()

    def rebuild(self) -> None:
        """Make a standby again of the server that has failed, at the address that it had."""
        failed = self.standby
        failed.close()
        self.standby = self._new_standby(failed.on, failed.port if failed.on is not None else 0)
        if failed in self._proxies:
            proxy = self._proxies.pop(failed)
            proxy.cut()
            proxy.resume()
            proxy.lead_to(self.standby.port)
            self._proxies[self.standby] = proxy
        self._connect_standby()

    def close(self) -> None:
        for proxy in self._proxies.values():
            proxy.close()
        for server in (self.standby, self.primary):
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class PostgreSQLPair(Pair):
    """Streaming replication, for which a commit waits if it `is_synchronous`."""

    kind: Kind = "postgresql"

    def __init__(self, *, is_synchronous: bool, hosts: Sequence[Host] = ()) -> None:
        self._is_synchronous = is_synchronous
        super().__init__(hosts)

    @property
    def url(self) -> str:
        login = f"user={USER}&password={PASSWORD}"
        return f"jdbc:postgresql://{self._places}/{self.database}?{login}&targetServerType=primary"

    def _new_primary(self, on: Host | None) -> DatabaseServer:
        return DatabaseServer(PostgreSQL(), on=on)

    def _new_standby(self, on: Host | None, port: int) -> DatabaseServer:
        return DatabaseServer(PostgreSQL(), standby_of=self.primary, on=on, port=port)

    def _connect_standby(self) -> None:
        if self._is_synchronous:
            self.primary.sql(f"ALTER SYSTEM SET {NAMES} = 'standby1'; SELECT pg_reload_conf()")
        wanted = "sync" if self._is_synchronous else "async"
        states = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
        wait_until(lambda: self.primary.sql(states) == wanted, DEADLINE, f"a standby that is {wanted}")

    def fall_behind(self) -> None:
        """The standby gets nothing from now on, nor what is on its way."""
        self.standby.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.sql("SELECT pg_reload_conf()")
        receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
        wait_until(lambda: self.standby.sql(receivers) == "0", DEADLINE, "the standby receives nothing")

    def promote(self) -> None:
        self.standby.sql(f"ALTER SYSTEM RESET {NAMES}")
        self.standby.sql("SELECT pg_promote()")
        wait_until(lambda: self.standby.sql("SELECT pg_is_in_recovery()") == "f", DEADLINE, "the standby is promoted")
        self.primary, self.standby = self.standby, self.primary


class MariaDBPair(Pair):
    """Semi-synchronous replication: a commit waits until the replica has it."""

    kind: Kind = "mariadb"

    def __init__(self, hosts: Sequence[Host] = ()) -> None:
        self._made = 0
        super().__init__(hosts)

    @property
    def url(self) -> str:
        return f"jdbc:mariadb://{self._places}/{self.database}?user={USER}&password={PASSWORD}"

    def _new_primary(self, on: Host | None) -> DatabaseServer:
        self._made += 1
        server = DatabaseServer(ReplicatedMariaDB(self._made), on=on)
        server.sql(_MAY_REPLICATE)
        return server

    def _new_standby(self, on: Host | None, port: int) -> DatabaseServer:
        self._made += 1
        product = ReplicatedMariaDB(self._made)
        server = DatabaseServer(product, on=on, port=port)
        server.sql(f"RESET MASTER; SET GLOBAL read_only = ON; SET sql_log_bin = OFF; {_MAY_REPLICATE}")
        server.sql(f"SET sql_log_bin = OFF; {product.create(self.database, None)}")
        server.sql(f"SET sql_log_bin = OFF; {self.primary.dump(self.database)}", self.database)
        place = f"MASTER_HOST='{self.primary.host}', MASTER_PORT={self.primary.port}"
        login = f"MASTER_USER='{USER}', MASTER_PASSWORD='{PASSWORD}'"
        server.sql(f"CHANGE MASTER TO {place}, {login}, MASTER_USE_GTID=slave_pos, {_BEAT}; START SLAVE")
        return server

    def follow_again(self) -> None:
        """Let a replica that was killed follow where it was."""
        self.standby.start()
        self.standby.sql("SET GLOBAL read_only = ON")

    def _connect_standby(self) -> None:
        wait_until(lambda: self.status("Rpl_semi_sync_master_clients") == "1", DEADLINE, "a replica that answers")
        self.primary.sql("SET GLOBAL rpl_semi_sync_master_enabled = ON")

    def status(self, name: str) -> str:
        """Return a part of the primary's status."""
        return self.primary.sql(f"SHOW GLOBAL STATUS LIKE '{name}'").partition("\t")[2]

    def promote(self) -> None:
        self.standby.sql("STOP SLAVE IO_THREAD")
        words = self.standby.sql("SHOW SLAVE STATUS").split("\t")
        received = words[words.index("Slave_Pos") + 1]
        if self.standby.sql(f"SELECT MASTER_GTID_WAIT('{received}', {APPLIED_WITHIN})") != "0":
            raise ServerFailed(f"a replica does not apply changes\n{self.standby.sql('SHOW SLAVE STATUS')}")
        self.standby.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = OFF")
        self.primary, self.standby = self.standby, self.primary
