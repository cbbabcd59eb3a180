"""Makes the store for the database server that a datasource names.

A driver is imported only when its server is named: an import takes a tenth of a second.
"""

from __future__ import annotations

from broker.config.connection_options import connection_options
from broker.config.datasources import PoolConfiguration
from broker.errors import ConfigError
from broker.store.server.dialect import Dialect
from broker.store.server.engine import PoolLimits
from broker.store.server.store import CLUSTER_DEADLINE, ServerStore


def server_store(
    datasource: PoolConfiguration, *, cluster_deadline: float = CLUSTER_DEADLINE, is_shared: bool = False
) -> ServerStore:
    """Return a store, not open yet; `is_shared` makes it that of a node of a cluster.

    A call of `cluster` may take `cluster_deadline` seconds. Raises `ConfigError` when the driver is not installed.
    """
    url = datasource.store_url
    options, _ = connection_options(url)
    dialect: Dialect
    if url.engine == "mysql":
        try:
            from broker.store.server.mysql import MySql
        except ImportError as error:
            raise ConfigError(f"MariaDB and MySQL need the package aiomysql ({error}): pip install aiomysql") from error
        dialect = MySql(url, options)
    else:
        try:
            from broker.store.server.postgresql import PostgreSql
        except ImportError as error:
            raise ConfigError(
                f"PostgreSQL needs the package asyncpg ({error}): pip install 'cordillera[postgres]'"
            ) from error
        dialect = PostgreSql(url, options)
    limits = PoolLimits(
        max_active=datasource.max_active,
        max_wait=datasource.max_wait_ms / 1000,
        connect_timeout=options.connect_timeout,
        socket_timeout=options.socket_timeout,
        ping_after=datasource.validation_interval_ms / 1000 if datasource.test_on_borrow else None,
    )
    return ServerStore(dialect, limits, cluster_deadline=cluster_deadline, is_shared=is_shared)
