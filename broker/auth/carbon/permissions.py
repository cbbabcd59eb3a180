"""What WSO2's products let a user do with queues and topics: their table of decisions, over the rows of their database.

The first line of the table that fits decides; what none allows is refused (ADR 52).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from broker.auth.access import Operation, Permission, Purpose, ResourceKind
from broker.auth.carbon.grants import Grants
from broker.auth.carbon.names import (
    CONSUME,
    EXECUTE,
    MANAGE,
    PUBLISH,
    SUBSCRIBE,
    TOPICS,
    is_of_super_tenant,
    queue_of,
    queue_resource,
    topic_resource,
    topic_role,
)
from broker.auth.carbon.topics import Topics
from broker.ports.names import DEAD_LETTER_CHANNEL

_DEFAULT: Final = frozenset({"", "amq.default"})
_DIRECT: Final = "amq.direct"
_TOPIC: Final = "amq.topic"
_TEMPORARY: Final = "tmp_"


@dataclass(frozen=True, slots=True)
class CarbonPermissions:
    """The permissions of one user of the super tenant. Those of users who may do the same are equal."""

    is_admin: bool
    """Is the user in the administrators' role? That one is told by its name, whatever rows it has."""
    grants: Grants
    topics: Topics = field(compare=False)
    asks_for_purpose: ClassVar[bool] = True

    def permits(self, permission: Permission, kind: ResourceKind, name: str, purpose: Purpose | None = None) -> bool:
        if purpose is None:  # everybody declares exchanges; what the table does not have is for administrators
            return self.is_admin or (kind == "exchange" and permission is Permission.CONFIGURE)
        return _RULES[purpose.operation](self, purpose)

    def permits_key(self, permission: Permission, exchange: str, routing_key: str) -> bool:
        """The purpose has told the key already."""
        return True

    # Queues

    def may_declare(self, purpose: Purpose) -> bool:
        """May this queue be declared?"""
        if not is_of_super_tenant(queue_of(purpose.queue)):
            return False
        return self.is_admin or self._manages("queue/add", "topic/add") or _is_ones_own(purpose)

    def may_delete(self, purpose: Purpose) -> bool:
        """May this queue be deleted? That it is one's own creation does not help."""
        if not is_of_super_tenant(queue_of(purpose.queue)):
            return False
        return self.is_admin or self._manages("queue/delete", "topic/delete") or _is_ones_own(purpose)

    def may_purge(self, purpose: Purpose) -> bool:
        """May this queue be emptied?"""
        return self.is_admin or self._manages("queue/purge") or _is_ones_own(purpose)

    def may_consume(self, purpose: Purpose) -> bool:
        """May messages be taken from this queue?"""
        queue = queue_of(purpose.queue)
        if not is_of_super_tenant(queue) or _is_dead_letter_channel(queue):
            return False
        if self.is_admin or self._may_use(CONSUME, queue):
            return True
        return _is_temporary(purpose) and any(map(self._may_hear, purpose.bound_keys()))

    # Bindings and messages

    def may_bind(self, purpose: Purpose) -> bool:
        """May this queue be bound there?"""
        queue, exchange = queue_of(purpose.queue), purpose.exchange
        if not is_of_super_tenant(queue):
            return False
        if exchange == _TOPIC:
            return is_of_super_tenant(purpose.routing_key) and self._may_subscribe(purpose.routing_key)
        if exchange in _DEFAULT and _is_ones_own(purpose):
            return True
        if exchange != _DIRECT and exchange not in _DEFAULT:
            return False
        return (
            self.is_admin
            or self._may_use(CONSUME, queue)
            or self._may_use(PUBLISH, queue)
            or self._manages("queue/add")
        )

    def may_unbind(self, purpose: Purpose) -> bool:
        """Everybody may end any binding."""
        return True

    def may_publish(self, purpose: Purpose) -> bool:
        """May a message with this key be published there?"""
        key, exchange = purpose.routing_key, purpose.exchange
        if not is_of_super_tenant(key) or _is_dead_letter_channel(key):
            return False
        if exchange == _TOPIC:
            return self.is_admin or self._may_tell(key)
        if exchange != _DIRECT and exchange not in _DEFAULT:
            return False
        return self.is_admin or self._may_use(PUBLISH, key)

    # What the lines of the table ask for

    def creates(self, topic: str) -> bool:
        """Does the user's first subscription make this topic? That is who may add topics, while nobody has it yet."""
        if self.topics.has_role(topic_role(topic)) or self.topics.is_known(topic_resource(topic.lower())):
            return False
        return self.is_admin or self._adds_only(topic)

    def _adds_only(self, topic: str) -> bool:
        """May the user add the topic, which has no role, and nothing else with it?"""
        if self.topics.has_role(topic_role(topic)):
            return False
        resource = topic_resource(topic)
        has_rows = self._allows(SUBSCRIBE, resource) or self._allows(PUBLISH, resource)
        return not has_rows and self._manages("topic/add")

    def _may_subscribe(self, topic: str) -> bool:
        resource = topic_resource(topic)
        if self.is_admin:
            return True
        if self._adds_only(topic):
            return not self.topics.exists(resource)
        return self._allows(SUBSCRIBE, resource) or self._manages("topic/add") or self._allows(PUBLISH, resource)

    def _may_tell(self, topic: str) -> bool:
        return self._is_there(topic) and self._allows_above(PUBLISH, topic_resource(topic))

    def _may_hear(self, topic: str) -> bool:
        return self._is_there(topic) and self._allows_above(SUBSCRIBE, topic_resource(topic))

    def _is_there(self, topic: str) -> bool:
        """Does the registry have the topic? Without a registry nobody is asked."""
        if not self.topics.is_registered:
            return True
        resource = topic_resource(topic)
        return self.topics.exists(resource) or self.topics.exists(resource.lower())

    def _may_use(self, action: str, queue: str) -> bool:
        return self._allows(action, queue_resource(queue))

    def _manages(self, *actions: str) -> bool:
        return any(self.grants.allows(EXECUTE, f"{MANAGE}/{action}") for action in actions)

    def _allows(self, action: str, resource: str) -> bool:
        """Their names were lower-cased from some version on, and are as they were typed in rows of earlier ones."""
        return self.grants.allows(action, resource) or self.grants.allows(action, resource.lower())

    def _allows_above(self, action: str, resource: str) -> bool:
        return any(self.grants.allows_on_any_level(action, each, TOPICS) for each in (resource, resource.lower()))


def _is_temporary(purpose: Purpose) -> bool:
    return purpose.queue.startswith(_TEMPORARY) and not purpose.durable


def _is_ones_own(purpose: Purpose) -> bool:
    """Is it a queue of which no role is kept: that of a durable subscription, or a temporary one?"""
    return (purpose.durable and purpose.exclusive) or _is_temporary(purpose)


def _is_dead_letter_channel(name: str) -> bool:
    return name.lower().removeprefix("carbon.super/") == DEAD_LETTER_CHANNEL


_RULES: Final[Mapping[Operation, Callable[[CarbonPermissions, Purpose], bool]]] = {
    Operation.DECLARE: CarbonPermissions.may_declare,
    Operation.DELETE: CarbonPermissions.may_delete,
    Operation.PURGE: CarbonPermissions.may_purge,
    Operation.CONSUME: CarbonPermissions.may_consume,
    Operation.BIND: CarbonPermissions.may_bind,
    Operation.UNBIND: CarbonPermissions.may_unbind,
    Operation.PUBLISH: CarbonPermissions.may_publish,
}
