"""A node's side towards WSO2's databases: users, their roles, and the registry (ADR 52, ADR 53)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Final

import structlog
from sqlalchemy import Connection, inspect

from broker.amqp.context import Waiting
from broker.auth.carbon.names import QUEUES, TOPICS
from broker.broker import Broker
from broker.config.configuration import Configuration
from broker.config.datasources import PoolConfiguration
from broker.errors import BrokerError, ConfigError, StoreError
from broker.node.carbon_admin import CarbonCommands, Command
from broker.node.carbon_registry import CarbonRegistry, RegistryPart
from broker.node.carbon_users import CarbonUserStore, store_rules
from broker.node.registry_places import RegistryPlace, place_of
from broker.ports.records import Change
from broker.store.carbon.connections import Connections, connections_to
from broker.store.carbon.tables import REGISTRY_TABLES
from broker.store.carbon.writer import CarbonWriter
from broker.topology.administration import Administration
from broker.topology.commands import Commands
from broker.topology.vhost import VirtualHost

_log = structlog.get_logger(__name__)

_LAST_WRITES: Final = 2.0
"""Seconds for which a stopping node goes on writing there."""


class CarbonDatabases:
    """Everything of one incarnation that knows WSO2's databases. Those that are one database share its connections."""

    def __init__(self, config: Configuration) -> None:
        self._config = config
        self._opened: list[tuple[PoolConfiguration, Connections, CarbonWriter]] = []
        self.users: CarbonUserStore | None = None
        grants = None
        if config.user_database is not None:
            connections, writer = self._at(config.user_database)
            self.users = CarbonUserStore(connections, store_rules(config), config)
            grants = None if self.users.rules.read_only else writer
        self._grants = grants
        self._queues, self._topics = self._part(QUEUES), self._part(TOPICS)
        self.registry: CarbonRegistry | None = None
        self._broker: Broker | None = None

    def attach(self, find_vhost: Callable[[str], VirtualHost | None], broker: Broker) -> None:
        """Serve this incarnation's virtual hosts and clients."""
        self._broker = broker
        self.registry = CarbonRegistry(
            find_vhost,
            broker.on_user_changed,
            users=self.users,
            grants=self._grants,
            queues=self._queues,
            topics=self._topics,
            admin=self._config.user_mgt.admin_user_name,
        )

    def on_change(self, change: Change, client: Hashable) -> None:
        """This node has decided a change of topology, which `client` has asked for."""
        if self.registry is not None:
            self.registry.on_change(change, client)

    def settled(self, vhost: str) -> Waiting | None:
        """Return what an answer to a client of this virtual host waits for."""
        return None if self.registry is None else self.registry.settled(vhost)

    def commands(self, administration: Administration, commands: Commands) -> Mapping[str, Command] | None:
        """Return the commands of an administrator, where users are in a database; None where they are not."""
        if self.users is None or self._broker is None:
            return None
        return CarbonCommands(self.users, administration, commands, self._broker).by_name

    async def open(self) -> None:
        """Look whether the databases can be used. One that is away is waited for later.

        Raises `ConfigError` when one is there and cannot be used.
        """
        for _, connections, _ in self._opened:
            await connections.open()
        if self.users is not None:
            await self.users.open()
        for part in (self._queues, self._topics):
            if part is not None:
                await self._check(part)

    async def look(self) -> list[str]:
        """Look at the databases as `open` does, change nothing, and let go of them; return what there is, a line each.

        Raises `ConfigError` when one cannot be used.
        """
        lines: list[str] = []
        for _, connections, _ in self._opened:
            await connections.open()
        try:
            if self.users is not None:
                lines.append(await self.users.look())
            parts = [part for part in (self._queues, self._topics) if part is not None]
            lines += [await self._missing(part) for part in parts]
        finally:
            for _, connections, _ in self._opened:
                await connections.close()
        return list(dict.fromkeys(filter(None, lines)))

    async def close(self) -> None:
        """Let go of the databases."""
        for _, connections, writer in self._opened:
            writer.tell_what_is_left()
            await connections.close()

    async def drain(self) -> None:
        """Write what is still to be written, if it does not take long."""
        await asyncio.gather(*(writer.drain(_LAST_WRITES) for _, _, writer in self._opened))

    def tasks(self, forever: asyncio.TaskGroup, broker: Broker) -> Iterator[asyncio.Task[None]]:
        """Start what goes on in the background."""
        for _, _, writer in self._opened:
            yield forever.create_task(writer.run(), name="WSO2's databases")
        if self.users is not None:
            yield forever.create_task(self.users.serve(), name="users")
            yield forever.create_task(self.users.keep_fresh(broker), name="users again")
        if self._topics is not None:
            yield forever.create_task(self._keep_topics(), name="topics of the registry")

    async def _keep_topics(self) -> None:
        seconds = self._config.user_mgt.realm.configuration.cache_seconds
        while True:
            try:
                await self._load_topics()
            except BrokerError as error:
                _log.debug("the topics of the registry cannot be read", reason=str(error))
            await asyncio.sleep(seconds)

    async def _load_topics(self) -> None:
        if self.registry is not None and self._topics is not None:
            connections, _ = self._at(self._topics.place.database)
            await self.registry.load_topics(connections.run)

    async def _check(self, part: RegistryPart) -> None:
        if away := await self._missing(part):
            _log.warning("the database of the registry is away", reason=away)

    async def _missing(self, part: RegistryPart) -> str:
        """Return why the database of the registry cannot be looked at, nothing when all tables are there.

        Raises `ConfigError` when one is not.
        """
        connections, _ = self._at(part.place.database)
        try:
            there = await connections.run(_table_names)
        except StoreError as error:
            return f"the database of the registry was not looked at: {error}"
        missing = [table.name for table in REGISTRY_TABLES if table.name not in there]
        if missing:
            raise ConfigError(
                f"registry.xml names {connections.where} as the database of {part.place.path}, which has no table"
                f" {missing[0]}: make the tables with dbscripts/, or name another dataSource"
            )
        return ""

    def _part(self, resource: str) -> RegistryPart | None:
        place: RegistryPlace | None = place_of(self._config, resource)
        if place is None:
            return None
        _, writer = self._at(place.database)
        return RegistryPart(place, writer)

    def _at(self, datasource: PoolConfiguration) -> tuple[Connections, CarbonWriter]:
        for known, connections, writer in self._opened:
            if known.store_url == datasource.store_url:
                return connections, writer
        connections = connections_to(datasource)
        writer = CarbonWriter(connections)
        self._opened.append((datasource, connections, writer))
        return connections, writer


def _table_names(connection: Connection) -> set[str]:
    return {name.upper() for name in inspect(connection).get_table_names()}
