"""Who there is, and what they may do: the records of users and permissions in this node's memory.

It decides nothing about changes; `topology/apply` puts in what is recorded, on every node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from broker.ports.records import (
    PermissionKey,
    PermissionRecord,
    TopicPermissionKey,
    TopicPermissionRecord,
    UserKey,
    UserRecord,
)


def _nobody(user: str) -> None:
    """Nobody wants to know."""


class Directory:
    """Users, permissions and topic permissions by their keys."""

    def __init__(self) -> None:
        self._users: dict[str, UserRecord] = {}
        self._permissions: dict[tuple[str, str], PermissionRecord] = {}
        self._topics: dict[tuple[str, str], dict[str, TopicPermissionRecord]] = {}
        self.on_change: Callable[[str], Any] = _nobody
        """Called with the name of a user of whom something has changed."""

    # Users

    def user(self, name: str) -> UserRecord | None:
        """Return a user, if there is one of this name."""
        return self._users.get(name)

    @property
    def users(self) -> Iterator[UserRecord]:
        return iter(self._users.values())

    def put_user(self, record: UserRecord) -> None:
        """Add or replace a user."""
        if self._users.get(record.name) != record:
            self._users[record.name] = record
            self.on_change(record.name)

    def drop_user(self, key: UserKey) -> None:
        """Remove a user with all that the user may do."""
        if self._users.pop(key.name, None) is not None:
            for places in (self._permissions, self._topics):
                for place in [place for place in places if place[0] == key.name]:
                    del places[place]
            self.on_change(key.name)

    # Permissions

    def permission(self, user: str, vhost: str) -> PermissionRecord | None:
        """Return what a user may do in a virtual host; None if the user may not even open it."""
        return self._permissions.get((user, vhost))

    @property
    def permissions(self) -> Iterator[PermissionRecord]:
        return iter(self._permissions.values())

    def put_permission(self, record: PermissionRecord) -> None:
        """Add or replace what a user may do in a virtual host."""
        place = record.user, record.vhost
        if self._permissions.get(place) != record:
            self._permissions[place] = record
            self.on_change(record.user)

    def drop_permission(self, key: PermissionKey) -> None:
        """Remove what a user may do in a virtual host."""
        if self._permissions.pop((key.user, key.vhost), None) is not None:
            self.on_change(key.user)

    # Topic permissions

    def topics(self, user: str, vhost: str) -> tuple[TopicPermissionRecord, ...]:
        """Return the topic permissions of a user in a virtual host."""
        return tuple(self._topics.get((user, vhost), _NONE).values())

    @property
    def topic_permissions(self) -> Iterator[TopicPermissionRecord]:
        return (record for records in self._topics.values() for record in records.values())

    def put_topic(self, record: TopicPermissionRecord) -> None:
        """Add or replace the permissions of a user at a topic exchange."""
        records = self._topics.setdefault((record.user, record.vhost), {})
        if records.get(record.exchange) != record:
            records[record.exchange] = record
            self.on_change(record.user)

    def drop_topic(self, key: TopicPermissionKey) -> None:
        """Remove the permissions of a user at a topic exchange."""
        records = self._topics.get((key.user, key.vhost), _NONE)
        if key.exchange in records:
            del records[key.exchange]
            if not records:
                del self._topics[(key.user, key.vhost)]
            self.on_change(key.user)

    def drop_vhost(self, vhost: str) -> None:
        """Remove everything that may be done in a virtual host, which is gone."""
        for places in (self._permissions, self._topics):
            for place in [place for place in places if place[1] == vhost]:
                del places[place]


_NONE: Final[dict[str, TopicPermissionRecord]] = {}
