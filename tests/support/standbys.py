"""A PostgreSQL server and its standby, which change places when the first one fails.

Knows both servers and how one becomes the primary; must not know the broker.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tests.support.database_products import Kind
from tests.support.databases import PASSWORD, USER, DatabaseServer, PostgreSQL
from tests.support.proxy import Proxy
from tests.support.server_process import wait_until

DEADLINE = 30.0
NAMES = "synchronous_standby_names"


class PostgreSQLPair:
    """A primary and a standby, each behind a proxy of its own, so that clients can lose the one and reach the other."""

    kind: Kind = "postgresql"

    def __init__(self, *, is_synchronous: bool) -> None:
        self._is_synchronous = is_synchronous
        self.primary = DatabaseServer(PostgreSQL())
        self.database = self.primary.create_database()
        self.standby = DatabaseServer(PostgreSQL(), standby_of=self.primary)
        self._proxies = {self.primary: Proxy(self.primary.port), self.standby: Proxy(self.standby.port)}
        self.url = self._url()
        self._connect_standby()

    def _url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{proxy.port}" for proxy in self._proxies.values())
        return f"jdbc:postgresql://{hosts}/{self.database}?user={USER}&password={PASSWORD}&targetServerType=primary"

    def _connect_standby(self) -> None:
        if self._is_synchronous:
            self.primary.sql(f"ALTER SYSTEM SET {NAMES} = 'standby1'; SELECT pg_reload_conf()")
        wanted = "sync" if self._is_synchronous else "async"
        states = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
        wait_until(lambda: self.primary.sql(states) == wanted, DEADLINE, f"a standby that is {wanted}")

    def kill(self) -> None:
        """The primary dies."""
        self.primary.kill9()

    def cut_off(self) -> None:
        """No client reaches the primary any more, and it reaches no standby: it answers nothing."""
        self._proxies[self.primary].hang()
        self.primary.suspend()

    def fall_behind(self) -> None:
        """The standby gets nothing from now on."""
        self.standby.suspend()

    def promote(self) -> None:
        """Let the standby be the primary; return when it takes writes."""
        self.standby.resume()
        self.standby.sql(f"ALTER SYSTEM RESET {NAMES}")
        self.standby.sql("SELECT pg_promote()")
        wait_until(lambda: self.standby.sql("SELECT pg_is_in_recovery()") == "f", DEADLINE, "the standby is promoted")
        self.primary, self.standby = self.standby, self.primary

    def rebuild(self) -> None:
        """Make a standby again of the server that has failed, at the address that it had."""
        proxy = self._proxies.pop(self.standby)
        self.standby.close()
        self.standby = DatabaseServer(PostgreSQL(), standby_of=self.primary)
        proxy.cut()
        proxy.resume()
        proxy.lead_to(self.standby.port)
        self._proxies[self.standby] = proxy
        self._connect_standby()

    # As one server, for a cluster

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

    def close(self) -> None:
        for proxy in self._proxies.values():
            proxy.close()
        for server in (self.standby, self.primary):
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
