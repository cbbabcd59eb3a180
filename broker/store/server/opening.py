"""Makes the store for the database server that a datasource names.

A driver is imported only when its server is named: an import takes a tenth of a second.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from broker.config.connection_options import connection_options
from broker.config.datasources import PoolConfiguration
from broker.config.server_hosts import Address
from broker.config.store_url import StoreUrl
from broker.errors import ConfigError
from broker.store.server.addresses import Servers
from broker.store.server.choosing import DatabaseChoice
from broker.store.server.dialect import Dialect
from broker.store.server.engine import PoolLimits, SessionTimeouts
from broker.store.server.own_connection import OwnConnection
from broker.store.server.store import CLUSTER_DEADLINE, ServerStore
from broker.store.sql.migrate import MakeWay
from broker.store.wso2.survey import make_way

_SHORTEST_IDLE: Final = 3.0
"""Seconds that a node of a cluster may leave a transaction open at least, however fast the cluster beats."""


def server_store(
    datasource: PoolConfiguration,
    *,
    cluster_deadline: float = CLUSTER_DEADLINE,
    is_shared: bool = False,
    demands_safety: bool = False,
    make_way: MakeWay = make_way,
) -> ServerStore:
    """Return a store, not open yet; `is_shared` makes it that of a node of a cluster.

    A call of `cluster` may take `cluster_deadline` seconds; `demands_safety` and `make_way` are those of `ServerStore`.
    Raises `ConfigError` when the driver is not installed.
    """
    url = datasource.store_url
    options, _ = connection_options(url)
    timeouts = SessionTimeouts()
    if is_shared:
        timeouts = replace(timeouts, idle=min(timeouts.idle, max(_SHORTEST_IDLE, 5 * cluster_deadline)))
    limits = PoolLimits(
        max_active=datasource.max_active,
        max_wait=datasource.max_wait_ms / 1000,
        connect_timeout=options.connect_timeout,
        socket_timeout=options.socket_timeout,
        ping_after=datasource.validation_interval_ms / 1000 if datasource.test_on_borrow else None,
    )
    urgent = SessionTimeouts(cluster_deadline, cluster_deadline, cluster_deadline)
    servers = Servers(url)
    return ServerStore(
        dialect_of(url, timeouts, servers=servers),
        limits,
        lambda: OwnConnection(dialect_of(url, urgent, servers=servers), cluster_deadline),
        is_shared=is_shared,
        choice=DatabaseChoice(servers, _readers(url, timeouts), limits),
        demands_safety=demands_safety,
        make_way=make_way,
    )


def _readers(url: StoreUrl, timeouts: SessionTimeouts) -> dict[Address, Dialect]:
    """Return a dialect for each server by itself, which may be one that takes no writes."""
    return {
        (host, port): dialect_of(replace(url, host=host, port=port, others=()), timeouts, needs_writes=False)
        for host, port in url.addresses
    }


def dialect_of(
    url: StoreUrl, timeouts: SessionTimeouts, *, servers: Servers | None = None, needs_writes: bool = True
) -> Dialect:
    """Return the dialect for a database; connections that share `servers` share what is known of them. Unless it
    `needs_writes`, a server that takes none will do.

    Raises `ConfigError` when its driver is not installed.
    """
    options, _ = connection_options(url)
    if url.engine == "mysql":
        try:
            from broker.store.server.mysql import MySql
        except ImportError as error:
            raise ConfigError(f"MariaDB and MySQL need the package aiomysql ({error}): pip install aiomysql") from error
        return MySql(url, options, timeouts, servers=servers, needs_writes=needs_writes)
    try:
        from broker.store.server.postgresql import PostgreSql
    except ImportError as error:
        raise ConfigError(
            f"PostgreSQL needs the package asyncpg ({error}): pip install 'cordillera[postgres]'"
        ) from error
    return PostgreSql(url, options, timeouts, servers=servers, needs_writes=needs_writes)
