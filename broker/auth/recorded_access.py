"""What the directory permits: regular expressions for names in a virtual host, and for keys at topic exchanges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from broker.auth.access import NO_LIMITS, Permission, Permissions, Purpose, ResourceKind, UserLimits
from broker.auth.directory import Directory
from broker.auth.identity import Identity
from broker.auth.pattern import matches
from broker.errors import NotAllowed
from broker.ports.records import PermissionRecord, TopicPermissionRecord

IMPERSONATOR: Final = "impersonator"
"""The tag of users who may publish in the name of others (contract A10)."""
_TOPIC_FIELDS = {Permission.WRITE: "write", Permission.READ: "read"}


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """The keys that are permitted at one topic exchange."""

    exchange: str
    write: str
    read: str


@dataclass(frozen=True, slots=True)
class PatternPermissions:
    """The permissions of one record. Those of users who may do the same are equal."""

    configure: str
    write: str
    read: str
    topics: tuple[TopicPattern, ...] = ()
    asks_for_purpose: ClassVar[bool] = False

    def permits(self, permission: Permission, kind: ResourceKind, name: str, purpose: Purpose | None = None) -> bool:
        pattern: str = getattr(self, permission.value)
        return matches(pattern, name)

    def permits_key(self, permission: Permission, exchange: str, routing_key: str) -> bool:
        for topic in self.topics:
            if topic.exchange == exchange:
                return matches(getattr(topic, _TOPIC_FIELDS[permission]), routing_key)
        return True


NOTHING = PatternPermissions("", "", "")
"""What is left to a connection whose user may not open its virtual host any more."""


class RecordedAccess:
    """Answers by the directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def permissions(self, identity: Identity, vhost: str) -> Permissions:
        record = self._directory.permission(identity.user, vhost)
        if record is None:
            raise NotAllowed(f"access to vhost '{vhost}' refused for user '{identity.user}'")
        return _permissions_of(record, self._directory.topics(identity.user, vhost))

    def permissions_now(self, identity: Identity, vhost: str) -> Permissions:
        """Return what `identity`, which has opened `vhost` before, may do there now; nothing if that has ended."""
        try:
            return self.permissions(identity, vhost)
        except NotAllowed:
            return NOTHING

    def limits(self, user: str) -> UserLimits:
        record = self._directory.user(user)
        return NO_LIMITS if record is None else UserLimits(record.max_connections, record.max_channels)

    def may_impersonate(self, identity: Identity) -> bool:
        record = self._directory.user(identity.user)
        return record is not None and IMPERSONATOR in record.tags.split(",")


def _permissions_of(record: PermissionRecord, topics: tuple[TopicPermissionRecord, ...]) -> PatternPermissions:
    patterns = [
        TopicPattern(topic.exchange, _expanded(topic.write, record), _expanded(topic.read, record)) for topic in topics
    ]
    return PatternPermissions(
        record.configure, record.write, record.read, tuple(sorted(patterns, key=lambda topic: topic.exchange))
    )


def _expanded(pattern: str, record: PermissionRecord) -> str:
    """Return a pattern for keys with its variables replaced (contract A9)."""
    return pattern.replace("{username}", record.user).replace("{vhost}", record.vhost)
