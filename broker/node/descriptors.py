"""How file descriptors are shared out: the store's come first, then other nodes', then clients' (ADR 25)."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from broker.config.configuration import Configuration
from broker.machine.listener import Room

_log = structlog.get_logger(__name__)

_MOST: Final = 1 << 20
"""The kernel's own bound (fs.nr_open) unless an administrator has raised it; some systems name none, or 2^30."""
_OWN: Final = 64
"""For the embedded store's files, listeners, the log, and what is opened for a moment."""
_MOST_STRANGERS: Final = 512
_CROWD_TIMEOUT: Final = 0.25
"""Of strangers where nodes call: a call among peers may take a quarter of the silence that ends a membership."""


class Rooms(NamedTuple):
    """What connections of clients and of other nodes may use up."""

    clients: Room
    nodes: Room


def raise_limit() -> None:
    """Raise the soft RLIMIT_NOFILE to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def rooms(config: Configuration) -> Rooms:
    """Share the descriptors out that this process may have.

    The system gives the lowest number that is free. So the numbers that connections may not have stay for those who
    may have all.
    """
    limit = _limit()
    for_store = min(_OWN + _pool_size(config), limit // 4)
    for_nodes = min(_for_nodes(config), limit // 4)
    clients = limit - for_store - for_nodes
    return Rooms(
        Room(clients, strangers=max(min(_MOST_STRANGERS, clients // 2), 1)),
        # Strangers must not take all the connections that other nodes may have.
        Room(
            limit - for_store,
            strangers=max(min(config.coordination.thrift_server_max_worker_threads // 2, for_nodes), 1),
            crowd_timeout=_CROWD_TIMEOUT,
        ),
    )


def warn_of_few(config: Configuration) -> None:
    """Log it when the descriptors do not suffice for as many clients as are allowed."""
    clients, wanted = rooms(config).clients.descriptors, config.limits.max_connections
    if clients < wanted:
        _log.warning(
            "too few file descriptors for limits/maxConnections; raise the hard limit (ulimit -Hn, LimitNOFILE)",
            clients=clients,
            max_connections=wanted,
        )


def _limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if soft == resource.RLIM_INFINITY else soft


def _pool_size(config: Configuration) -> int:
    return 0 if config.store_url.engine in ("sqlite", "memory") else config.datasource.max_active


def _for_nodes(config: Configuration) -> int:
    if not config.is_clustered:
        return 0
    served, called = config.coordination.thrift_server_max_worker_threads, config.performance_tuning.slots
    return served + called.thrift_client_pool_size
