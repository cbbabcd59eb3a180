"""What an administrator's changes are called in the audit events: no hash, no value of a parameter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

from broker.auth import audit
from broker.auth.audit import Told, told
from broker.ports.records import (
    Change,
    Drop,
    GlobalParameterKey,
    GlobalParameterRecord,
    PermissionKey,
    PermissionRecord,
    PolicyKey,
    PolicyRecord,
    Put,
    TopicPermissionKey,
    TopicPermissionRecord,
    UserKey,
    UserRecord,
    VirtualHostRecord,
    VirtualHostSettingsRecord,
)
from broker.topology.apply import LiveTopology

_SHOWN_AS: Final = {"password_hash": "password"}


def events_of(changes: Sequence[Change], live: LiveTopology) -> list[Told]:
    """Return the events of changes that are made to `live`, and are not yet."""
    return [event for change in changes for event in _events_of(change, live)]


def _events_of(change: Change, live: LiveTopology) -> Iterator[Told]:
    match change:
        case Put(UserRecord() as user):
            yield _user(user, live.directory.user(user.name))
        case Drop(UserKey() as user):
            yield told(audit.USER_DELETED, user=user.name)
        case Put(PermissionRecord() as it):
            yield told(
                audit.PERMISSIONS_SET,
                user=it.user,
                vhost=it.vhost,
                configure=it.configure,
                write=it.write,
                read=it.read,
            )
        case Drop(PermissionKey() as it):
            yield told(audit.PERMISSIONS_CLEARED, user=it.user, vhost=it.vhost)
        case Put(TopicPermissionRecord() as it):
            yield told(
                audit.TOPIC_PERMISSIONS_SET,
                user=it.user,
                vhost=it.vhost,
                exchange=it.exchange,
                write=it.write,
                read=it.read,
            )
        case Drop(TopicPermissionKey() as it):
            yield told(audit.TOPIC_PERMISSIONS_CLEARED, user=it.user, vhost=it.vhost, exchange=it.exchange)
        case _:
            yield from _other_events_of(change, live)


def _other_events_of(change: Change, live: LiveTopology) -> Iterator[Told]:
    match change:
        case Put(VirtualHostRecord() as vhost):
            yield told(audit.VHOST_CREATED, vhost=vhost.name)
        case Drop(VirtualHostRecord() as vhost):
            yield told(audit.VHOST_DELETED, vhost=vhost.name)
        case Put(VirtualHostSettingsRecord() as settings):
            served = live.vhosts.get(settings.vhost)
            before = VirtualHostSettingsRecord(settings.vhost) if served is None else served.settings
            yield told(audit.VHOST_CHANGED, vhost=settings.vhost, changed=_differing(before, settings))
        case Put(PolicyRecord() as it):
            yield told(audit.POLICY_SET, vhost=it.vhost, policy=it.name, is_operator=it.is_operator)
        case Drop(PolicyKey() as it):
            yield told(audit.POLICY_CLEARED, vhost=it.vhost, policy=it.name, is_operator=it.is_operator)
        case Put(GlobalParameterRecord() as it):
            yield told(audit.PARAMETER_SET, parameter=it.name)
        case Drop(GlobalParameterKey() as it):
            yield told(audit.PARAMETER_CLEARED, parameter=it.name)


def _user(user: UserRecord, before: UserRecord | None) -> Told:
    if before is None:
        return told(audit.USER_CREATED, user=user.name, tags=user.tags)
    return told(audit.USER_CHANGED, user=user.name, tags=user.tags, changed=_differing(before, user))


def _differing(before: Any, after: Any) -> list[str]:
    names = (each.name for each in fields(after) if getattr(before, each.name) != getattr(after, each.name))
    return [_SHOWN_AS.get(name, name) for name in names]
