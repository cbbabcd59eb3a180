"""Tells WSO2's databases of what comes and goes in the virtual host `carbon`: collections of the registry, and roles
that creators get (ADR 53).

It is told of each change that this node decides, before memory changes, and waits for nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import structlog

from broker.amqp.context import ConnectionContext, Waiting
from broker.auth.carbon.access import VHOST
from broker.auth.carbon.names import (
    CHANGE,
    CONSUME,
    PUBLISH,
    QUEUES,
    SUBSCRIBE,
    TOPICS,
    queue_of,
    queue_resource,
    queue_role,
    topic_resource,
    topic_role,
)
from broker.auth.carbon.permissions import CarbonPermissions
from broker.codec.field_table import FieldTable
from broker.node.carbon_users import CarbonUserStore
from broker.node.registry_places import RegistryPlace
from broker.ports.names import DEAD_LETTER_CHANNEL, SCHEDULE
from broker.ports.records import BindingRecord, Change, Drop, Put, QueueKey, QueueRecord, VirtualHostRecord
from broker.ports.user_database import Account, Statement
from broker.queue.queue import Queue
from broker.queue.settings import QueueSettings
from broker.store.carbon.grants import NewRole, add_role, forget_resource, permit_roles
from broker.store.carbon.registry import (
    USER_COUNT,
    Collection,
    add_collection,
    can_be_registered,
    load_topics,
    remove_collection,
)
from broker.store.carbon.writer import CarbonWriter
from broker.topology.vhost import VirtualHost

_log = structlog.get_logger(__name__)

_TOPIC_EXCHANGE: Final = "amq.topic"
_TEMPORARY: Final = "tmp_"
SETTLE_TIMEOUT: Final = 1.0
"""Seconds for which an answer to a client waits for what is to be written."""
_OF_QUEUES: Final = (CONSUME, PUBLISH, CHANGE)
_OF_TOPICS: Final = (SUBSCRIBE, PUBLISH, CHANGE)


@dataclass(frozen=True, slots=True)
class RegistryPart:
    """One part of the registry: queues or topics, with the writer of its database."""

    place: RegistryPlace
    writer: CarbonWriter


class CarbonRegistry:
    """Writes what the virtual host `carbon` has into WSO2's databases."""

    def __init__(
        self,
        find_vhost: Callable[[str], VirtualHost | None],
        on_user_changed: Callable[[str], object],
        *,
        users: CarbonUserStore | None,
        grants: CarbonWriter | None,
        queues: RegistryPart | None,
        topics: RegistryPart | None,
        admin: str,
        settle_timeout: float = SETTLE_TIMEOUT,
    ) -> None:
        """`users` are those of a database of WSO2's, where `grants` writes unless it is read only. `admin` owns what no
        client has made.
        """
        self._find_vhost = find_vhost
        self._on_user_changed = on_user_changed
        self._users = users
        self._grants = grants
        self._queues = queues
        self._topics = topics
        self._admin = admin
        self._settle_timeout = settle_timeout
        self._behind: asyncio.Future[None] | None = None
        parts = [part.writer for part in (queues, topics) if part is not None]
        self.writers: Sequence[CarbonWriter] = list(dict.fromkeys([*parts, *([grants] if grants else [])]))

    def settled(self, vhost: str) -> Waiting | None:
        """Return what waits until everything is written, or a second is over; None when nothing is waited for."""
        if vhost != VHOST:
            return None
        if self._behind is not None and not self._behind.done():
            return None  # somebody has waited for it in vain
        last = [writer.last for writer in self.writers if writer.last is not None and not writer.is_away]
        return self._settle(last) if last else None

    async def _settle(self, last: Sequence[asyncio.Future[None]]) -> None:
        _, undone = await asyncio.wait(last, timeout=self._settle_timeout)
        self._behind = next(iter(undone), None)

    def on_change(self, change: Change, client: Hashable) -> None:
        """This node has decided and recorded a change that `client` has asked for, and applies it next."""
        match change:
            case Put(QueueRecord(name=name)) if name == SCHEDULE:
                pass  # no queue of clients (ADR 79)
            case Put(QueueRecord(vhost=vhost_name) as record) if vhost_name == VHOST:
                self._on_queue(record, client)
            case Drop(QueueKey(vhost=vhost_name) as key) if vhost_name == VHOST:
                self._on_queue_gone(key)
            case Drop(VirtualHostRecord(name=vhost_name)) if vhost_name == VHOST:
                self._on_vhost_gone()
            case Put(BindingRecord(vhost=vhost_name) as record) if vhost_name == VHOST and _subscribes(record):
                self._on_subscription(record, client)
            case Drop(BindingRecord(vhost=vhost_name) as record) if vhost_name == VHOST and _subscribes(record):
                self._forget_subscription(record.routing_key, record.destination)

    # Queues

    def _on_queue(self, record: QueueRecord, client: Hashable) -> None:
        name, user = queue_of(record.name).lower(), self._user_of(client)
        properties = {**_owned(name, user), "updatedTime": _now(), "createdFrom": "amqp", USER_COUNT: "1"}
        self._register(self._queues, f"{QUEUES}/{name}", properties)
        is_subscription = record.exclusive or QueueSettings.of(FieldTable(record.arguments)).is_subscription
        is_own = is_subscription if record.durable else record.name.startswith(_TEMPORARY)
        if not is_own and name != DEAD_LETTER_CHANNEL and not self._is_admin(client):
            self._grant(user, NewRole(queue_role(name), user, [queue_resource(name)], _OF_QUEUES))

    def _on_vhost_gone(self) -> None:
        vhost = self._find_vhost(VHOST)
        for queue in [] if vhost is None else list(vhost.queues.values()):
            self._on_queue_gone(QueueKey(VHOST, queue.name, queue.queue_id))

    def _on_queue_gone(self, key: QueueKey) -> None:
        vhost = self._find_vhost(VHOST)
        queue = None if vhost is None else vhost.routing.queues_by_id.get(key.queue_id)
        if vhost is None or queue is None:
            return
        for topic in vhost.exchanges[_TOPIC_EXCHANGE].keys_of(("queue", queue.name)):
            self._forget_subscription(topic, queue.name)
        name = queue_of(queue.name).lower()
        part = self._part(self._queues, f"{QUEUES}/{name}")
        if part is None:
            self._forget_grants(queue, name)
            return
        versioned = part.place.versioned
        part.writer.put(
            f"queue '{name}' is gone",
            partial(remove_collection, path=f"{part.place.path}/{name}", versioned=versioned, counted=True),
            lambda is_gone: self._forget_grants(queue, name) if is_gone else None,
        )

    def _forget_grants(self, queue: Queue, name: str) -> None:
        """Remove what anybody may do with a queue, so that the next one of its name begins without."""
        is_temporary = queue.name.startswith(_TEMPORARY) and not queue.durable
        if self._users is None or self._grants is None or is_temporary:
            return
        resource = queue_resource(name)
        self._grants.put(
            f"permissions of queue '{name}' are gone",
            partial(forget_resource, resource=resource, role=queue_role(name)),
        )
        for user in self._users.accounts.forget_resource(resource):
            self._on_user_changed(user)

    # Topics

    def _on_subscription(self, record: BindingRecord, client: Hashable) -> None:
        topic, queue = record.routing_key, queue_of(record.destination).lower()
        resource, user = topic_resource(topic.lower()), self._user_of(client)
        permissions = client.access.permissions if isinstance(client, ConnectionContext) else None
        if isinstance(permissions, CarbonPermissions) and permissions.creates(topic):
            self._create_topic(topic.lower(), resource, user, is_admin=permissions.is_admin)
            permissions = client.access.permissions if isinstance(client, ConnectionContext) else None  # they are more
        vhost = self._find_vhost(VHOST)
        destination = None if vhost is None else vhost.queues.get(record.destination)
        if destination is None or not destination.durable:
            return
        path = f"{resource}/jms.subscriptions/{queue}"
        self._register(self._topics, path, _owned(queue, user))
        if self._users is not None and self._topics is not None:
            self._users.topics.add(resource)
        if isinstance(permissions, CarbonPermissions) and self._grants is not None and not permissions.is_admin:
            roles = permissions.grants.roles_that_allow(SUBSCRIBE, resource)
            granted = [queue_resource(queue)]
            if roles:
                self._grants.put(
                    f"roles for subscription '{queue}'",
                    partial(permit_roles, roles=sorted(roles), resources=granted, actions=_OF_QUEUES),
                )
                self._know(user, _statements(roles, granted, _OF_QUEUES))

    def _create_topic(self, topic: str, resource: str, user: str, *, is_admin: bool) -> None:
        role, levels = topic_role(topic), _levels(resource)
        self._register(self._topics, resource, {})
        if self._users is None:
            return
        self._users.topics.add(resource, "" if is_admin else role)
        if self._grants is None:
            return
        if is_admin:
            roles = [self._users.rules.admin_role]
            self._grants.put(
                f"topic '{topic}'", partial(permit_roles, roles=roles, resources=levels, actions=_OF_TOPICS)
            )
        else:
            self._grant(user, NewRole(role, user, levels, _OF_TOPICS))

    def _forget_subscription(self, topic: str, queue: str) -> None:
        resource = f"{topic_resource(topic.lower())}/jms.subscriptions/{queue_of(queue).lower()}"
        part = self._part(self._topics, resource)
        if part is not None:
            part.writer.put(
                f"subscription '{queue}' is gone",
                partial(
                    remove_collection,
                    path=part.place.path + resource[len(TOPICS) :],
                    versioned=part.place.versioned,
                    counted=False,
                ),
            )

    # Writing

    def _part(self, part: RegistryPart | None, resource: str) -> RegistryPart | None:
        """Return a part of the registry, unless it is not there, read only, or cannot have such a path."""
        if part is None or part.place.read_only or not can_be_registered(f"/{resource}"):
            return None
        return part

    def _register(self, part: RegistryPart | None, resource: str, properties: dict[str, str]) -> None:
        writable = self._part(part, resource)
        if writable is None:
            return
        top = QUEUES if resource.startswith(QUEUES) else TOPICS
        made = Collection(writable.place.path + resource[len(top) :], properties)
        writable.writer.put(f"'{resource}'", partial(add_collection, made=made, versioned=writable.place.versioned))

    def _grant(self, user: str, made: NewRole) -> None:
        """Let the creator of something have it: in memory at once, in the database as soon as that is possible."""
        users, role = self._users, f"Internal/{made.name}"
        if users is None or self._grants is None:
            return
        statements = _statements([role], made.resources, made.actions)
        self._know(user, statements, role)

        def on_done(is_granted: bool) -> None:
            if is_granted:
                self._know(user, statements, role)  # what was read meanwhile did not have it yet
                return
            _log.warning(
                "a role of this name belongs to somebody else: its creator gets no rights", role=role, user=user
            )
            users.accounts.change(user, lambda known: replace(known, statements=known.statements - statements))
            self._on_user_changed(user)

        self._grants.put(f"role '{role}'", partial(add_role, made=made, rules=users.rules), on_done)

    def _know(self, user: str, statements: frozenset[Statement], role: str = "") -> None:
        """This is true of a user from now on."""
        if self._users is None:
            return
        roles = frozenset({role} if role else ())

        def with_more(known: Account) -> Account:
            return replace(known, roles=known.roles | roles, statements=known.statements | statements)

        self._users.accounts.change(user, with_more)
        self._on_user_changed(user)

    # Who asks

    def _user_of(self, client: Hashable) -> str:
        return client.access.identity.user if isinstance(client, ConnectionContext) else self._admin

    def _is_admin(self, client: Hashable) -> bool:
        """Does the client get no role of its own, because it needs none?"""
        permissions = client.access.permissions if isinstance(client, ConnectionContext) else None
        return not isinstance(permissions, CarbonPermissions) or permissions.is_admin

    async def load_topics(self, run: Callable[[Callable[..., Any]], Any]) -> None:
        """Learn which topics the registry has, by `run`, which runs a function over a connection to it."""
        if self._topics is None or self._users is None:
            return
        top = self._topics.place.path
        paths = await run(partial(load_topics, top=top))
        if self._users.topics.set_resources([TOPICS + path[len(top) :] for path in paths]):
            vhost = self._find_vhost(VHOST)
            if vhost is not None:
                vhost.routing.forget_routes()


def _subscribes(record: BindingRecord) -> bool:
    return record.source == _TOPIC_EXCHANGE and record.destination_kind == "queue"


def _levels(resource: str) -> list[str]:
    """Return the resources from the first word of a topic down to its last."""
    words = resource[len(TOPICS) + 1 :].split("/") if resource != TOPICS else []
    return ["/".join([TOPICS, *words[:length]]) for length in range(1, len(words) + 1)] or [TOPICS]


def _statements(roles: Iterable[str], resources: Sequence[str], actions: Sequence[str]) -> frozenset[Statement]:
    return frozenset(
        Statement(role, resource, action, True) for role in roles for resource in resources for action in actions
    )


def _owned(name: str, user: str) -> dict[str, str]:
    return {"Owner": user, "Name": name, "createdTime": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
