"""Where definitions go: into a node, or into thin air to find out what would be made.

A dry run makes nothing, so what later definitions refer to is remembered here. Everything is checked in both as far as
it can be before it is recorded.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

from broker.errors import AdministrationError
from broker.ports.records import PermissionRecord, TopicPermissionRecord, UserRecord, VirtualHostSettingsRecord
from broker.queue.settings import QueueType
from broker.topology.administration import Administration
from broker.topology.binding import Binding
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration
from broker.topology.exchange import Exchange
from broker.topology.json_form import plain
from broker.topology.vhost import VirtualHost

Place: TypeAlias = tuple[str, str]
"""A virtual host and a name in it."""


class ImportTarget:
    """What is there, and what a dry run would have made by now."""

    def __init__(self, administration: Administration, *, is_dry: bool) -> None:
        self.administration: Final = administration.rehearsal() if is_dry else administration
        """Whom to ask for changes: in a dry run it checks them, and makes none."""
        self._is_dry = is_dry
        self._vhosts: dict[str, VirtualHostSettingsRecord] = {}
        self._imagined: dict[str, VirtualHost] = {}
        """The virtual hosts that would be created, as they would begin."""
        self._users: dict[str, UserRecord] = {}
        self._permissions: dict[Place, PermissionRecord] = {}
        self._topics: set[TopicPermissionRecord] = set()
        self._exchanges: dict[Place, Exchange] = {}
        self._queues: set[Place] = set()
        self._bindings: dict[Place, set[str]] = {}
        """The bindings of exchanges that were looked at, as they are exported."""

    # Virtual hosts

    def settings(self, name: str) -> VirtualHostSettingsRecord | None:
        """Return what is set of a virtual host, if there is one of this name."""
        vhost = self.administration.find_vhost(name)
        return self._vhosts.get(name) or (None if vhost is None else vhost.settings)

    def require_vhost(self, name: str) -> None:
        """Raise `AdministrationError` if there is no such virtual host."""
        if self.settings(name) is None:
            raise AdministrationError(f"there is no virtual host '{name}'")

    async def put_vhost(self, settings: VirtualHostSettingsRecord) -> None:
        """Create a virtual host, or change what is set of it."""
        await self.administration.create_vhost(settings)
        if self._is_dry:
            self._vhosts[settings.vhost] = settings
            if self._find(settings.vhost) is None:
                self._imagined[settings.vhost] = self.administration.imagine_vhost(settings.vhost)

    # Users

    def user(self, name: str) -> UserRecord | None:
        """Return a user, if there is one of this name."""
        return self._users.get(name) or self.administration.directory.user(name)

    def require_user(self, name: str) -> None:
        """Raise `AdministrationError` if there is no such user."""
        if self.user(name) is None:
            raise AdministrationError(f"there is no user '{name}'")

    async def put_user(self, record: UserRecord) -> None:
        """Add or replace a user."""
        await self.administration.put_user(record)
        if self._is_dry:
            self._users[record.name] = record

    def has_permission(self, record: PermissionRecord) -> bool:
        """May a user do exactly this?"""
        place = record.user, record.vhost
        return (self._permissions.get(place) or self.administration.directory.permission(*place)) == record

    async def put_permission(self, record: PermissionRecord) -> None:
        """Set what a user may do in a virtual host."""
        await self.administration.set_permissions(record)
        if self._is_dry:
            self._permissions[(record.user, record.vhost)] = record

    def has_topic_permission(self, record: TopicPermissionRecord) -> bool:
        """Are these the keys that a user may use at an exchange?"""
        return record in self._topics or record in self.administration.directory.topics(record.user, record.vhost)

    async def put_topic_permission(self, record: TopicPermissionRecord) -> None:
        """Set what keys a user may use at an exchange."""
        await self.administration.set_topic_permissions(record)
        if self._is_dry:
            self._topics.add(record)

    # Exchanges, queues, bindings

    def exchange(self, vhost: str, name: str) -> Exchange | None:
        """Return an exchange, if there is one of this name."""
        return self._exchanges.get((vhost, name)) or self._live(vhost, "exchanges").get(name)

    async def declare_exchange(self, vhost: str, declaration: ExchangeDeclaration) -> None:
        """Make an exchange."""
        if not self._is_dry:
            await self._vhost(vhost).declare_exchange(declaration)
            return
        name, what = declaration.name, f"exchange '{declaration.name}' in vhost '{vhost}'"
        for served in self.administration.live_vhosts[:1]:
            declaration.check(what, served.exchange_types)
            self._exchanges[(vhost, name)] = Exchange(
                name,
                declaration.type,
                declaration.arguments,
                served.exchange_types,
                durable=declaration.durable,
                auto_delete=declaration.auto_delete,
                internal=declaration.internal,
            )

    def has_queue(self, vhost: str, name: str) -> bool:
        """Is there a queue of this name?"""
        return (vhost, name) in self._queues or name in self._live(vhost, "queues")

    def is_declared(self, vhost: str, declaration: QueueDeclaration) -> bool:
        """Is the queue there? Raises `PreconditionFailed` if it is another, `AdministrationError` if there can
        be none.
        """
        self._require_channel(vhost, declaration)
        current = self._live(vhost, "queues").get(declaration.name)
        if current is not None:
            declaration.require_same(f"queue '{declaration.name}' in vhost '{vhost}'", current)
        return self.has_queue(vhost, declaration.name)

    async def declare_queue(self, vhost: str, declaration: QueueDeclaration) -> None:
        """Make a queue."""
        if self._is_dry:
            declaration.check(f"queue '{declaration.name}' in vhost '{vhost}'")
            self._queues.add((vhost, declaration.name))
        else:
            await self._vhost(vhost).declare_queue(declaration)

    def missing_end(self, vhost: str, binding: Binding) -> str:
        """Return what a binding needs and what is not there; nothing if all is there."""
        if self.exchange(vhost, binding.source) is None:
            return f"exchange '{binding.source}'"
        kind, name = binding.destination
        is_there = self.has_queue(vhost, name) if kind == "queue" else self.exchange(vhost, name) is not None
        return "" if is_there else f"{kind} '{name}'"

    def has_binding(self, vhost: str, binding: Binding) -> bool:
        """Is there a binding that is exported like this one?"""
        return _exported(binding) in self._bindings_of(vhost, binding.source)

    async def bind(self, vhost: str, binding: Binding) -> None:
        """Make a binding, whose ends are there. Refuses arguments that clients may not give either."""
        served = self._find(vhost)
        if served is not None and (name := served.dialect.unserved(binding.arguments.values)):
            raise AdministrationError(f"argument '{name}' of a binding is not served in virtual host '{vhost}'")
        if self._is_dry:
            exchange = self.exchange(vhost, binding.source)
            if exchange is not None:
                exchange.check(binding)
        else:
            await self._vhost(vhost).bind(binding.source, binding.destination, binding.routing_key, binding.arguments)
        self._bindings_of(vhost, binding.source).add(_exported(binding))

    def _require_channel(self, vhost: str, declaration: QueueDeclaration) -> None:
        """Raise `AdministrationError` for a dead letter channel that is none, however it is spelt."""
        served, name = self._find(vhost), declaration.name
        if served is None or not served.is_channel(channel := served.dialect.name_of(name)):
            return
        is_plain = declaration.type is QueueType.CLASSIC and not declaration.arguments.values.keys() - {"x-queue-type"}
        if name != channel or not declaration.durable or declaration.auto_delete or not is_plain:
            raise AdministrationError(
                f"queue '{name}' in vhost '{vhost}' is the dead letter channel: it is spelt '{channel}', and is a"
                " durable classic queue without arguments"
            )

    def _bindings_of(self, vhost: str, source: str) -> set[str]:
        known = self._bindings.get((vhost, source))
        if known is None:
            exchange = self.exchange(vhost, source)
            bindings = () if exchange is None else exchange.bindings
            known = self._bindings[(vhost, source)] = {_exported(each) for each in bindings}
        return known

    def _live(self, vhost: str, what: str) -> Any:
        served = self._find(vhost)
        return {} if served is None else getattr(served, what)

    def _find(self, name: str) -> VirtualHost | None:
        """Return a virtual host that is there, or would be by now."""
        return self.administration.find_vhost(name) or self._imagined.get(name)

    def _vhost(self, name: str) -> VirtualHost:
        vhost = self.administration.find_vhost(name)
        if vhost is None:
            raise AdministrationError(f"there is no virtual host '{name}'")
        return vhost


def _exported(binding: Binding) -> str:
    """Return a text that bindings have in common which are exported alike."""
    return json.dumps([binding.destination, binding.routing_key, plain(binding.arguments)], sort_keys=True)
