"""Finds what a start would find wrong with a configuration, without a start: nothing is changed, and nobody is served.

In the order of a start: stores of keys, tokens, exchange types, the database, WSO2's databases, the node's own files,
listeners, definitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from broker.config.configuration import Configuration
from broker.errors import AdministrationError, ConfigError, StoreUnavailable
from broker.machine.listener import trying
from broker.node.amqp_listeners import cannot_listen
from broker.node.control import is_listened_on
from broker.node.control_path import control_path
from broker.node.definitions_file import read_definitions
from broker.node.definitions_trial import try_definitions
from broker.node.logins import carbon_databases
from broker.node.member_port import open_member_port
from broker.node.own_exchange_types import installed_exchange_types
from broker.node.process import open_store, require_safe
from broker.node.tls_listeners import TlsListeners
from broker.node.token_logins import token_logins
from broker.ports.store import Store
from broker.topology.exchange import NewOwnRouter


def check(config: Configuration) -> list[str]:
    """Look at everything that a start opens; return what is there, and what could not be looked at, a line each.

    Raises `ConfigError`, or `StoreError` for a store that cannot be opened.
    """
    store = open_store(config)
    token_logins(config.authentication.oauth2)
    types = installed_exchange_types()
    TlsListeners(config)
    if config.meets_among_peers:
        open_member_port(config).close()
    return asyncio.run(_look(config, store, types))


async def _look(config: Configuration, store: Store, types: Mapping[str, NewOwnRouter]) -> list[str]:
    lines, is_new = await _look_at_store(config, store)
    carbon = carbon_databases(config)
    lines += [] if carbon is None else await carbon.look()
    if is_listened_on(control_path(config.node_place)):
        lines.append("a node runs with this configuration: its ports were not looked at")
    else:
        await _try_listeners(config)
    await _look_at_definitions(config, types, lines, is_new=is_new)
    return lines


async def _look_at_store(config: Configuration, store: Store) -> tuple[list[str], bool]:
    """Return what there is, and whether nothing of this broker is there yet."""
    try:
        found = await store.look()
    except StoreUnavailable as error:
        return [f"the database was not looked at: {error}"], False
    require_safe(config, found.unsafe)
    return [*found.remarks, *found.unsafe], found.is_new


async def _try_listeners(config: Configuration) -> None:
    """Open every listener for a moment. Raises `ConfigError` as the start does."""
    amqp = config.transports.amqp
    async with AsyncExitStack() as opened:
        if config.is_clustered:
            await _try_thrift(config, opened)
        await _try_http(config, opened)
        for element, connection, port in (
            ("sslConnection", amqp.ssl_connection, config.amqps_port),
            ("defaultConnection", amqp.default_connection, config.amqp_port),
        ):
            if amqp.enabled and connection.enabled:
                try:
                    await opened.enter_async_context(trying(amqp.bind_address, port))
                except OSError as error:
                    raise cannot_listen(amqp.bind_address, port, element, error) from error


async def _try_thrift(config: Configuration, opened: AsyncExitStack) -> None:
    from broker.thrift.server import cannot_listen, require_reachable

    coordination = config.coordination
    host, is_authenticated = coordination.thrift_server_host, bool(coordination.cluster_secret.get_secret_value())
    try:
        names = await opened.enter_async_context(trying(host, config.thrift_port))
    except OSError as error:
        raise cannot_listen(host, config.thrift_port, error) from error
    require_reachable(host, names, is_authenticated=is_authenticated)


async def _try_http(config: Configuration, opened: AsyncExitStack) -> None:
    from broker.management.http.server import API, METRICS, cannot_listen
    from broker.node.console_certificate import certificate_path, check_certificate

    management, everywhere = config.management, config.transports.amqp.bind_address
    host = management.http.bind_address or everywhere
    http, metrics = management.http, management.metrics
    has_console = http.enabled and management.console.enabled
    if has_console and not http.ssl_connection.enabled:
        check_certificate(certificate_path(config))
    beside = metrics.bind_address or everywhere
    wanted = [
        (http.enabled and http.plain, "http", host, config.http_port, API),
        (http.enabled and http.ssl_connection.enabled, "http/sslConnection", host, config.https_port, API),
        (has_console, "console", host, config.console_port, API),
        (metrics.enabled and metrics.plain, "metrics", beside, config.metrics_port, METRICS),
        (
            metrics.enabled and metrics.ssl_connection.enabled,
            "metrics/sslConnection",
            beside,
            config.metrics_tls_port,
            METRICS,
        ),
    ]
    for element, host, port, what in [each[1:] for each in wanted if each[0]]:
        try:
            await opened.enter_async_context(trying(host, port))
        except OSError as error:
            raise cannot_listen(host, port, element, error, what) from error


async def _look_at_definitions(
    config: Configuration, types: Mapping[str, NewOwnRouter], lines: list[str], *, is_new: bool
) -> None:
    """Read the definitions that the start would import; when nothing is in the database, import them into memory."""
    path = config.management.load_definitions
    if not path:
        return
    try:
        await asyncio.to_thread(partial(read_definitions, path))
    except AdministrationError as error:
        raise ConfigError(f"the definitions to load at the start: {path}: {error}") from error
    try:
        await try_definitions(config, types)
    except ConfigError as error:
        if is_new:
            raise
        lines.append(f"with an empty database the start would refuse {error}")
