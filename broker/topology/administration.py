"""Changes that an administrator makes: virtual hosts, users, what these may do, policies and parameters.

Every change is decided here, recorded, applied on all nodes, and takes effect for connections that are open. Whoever
asks is let in by somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import structlog

from broker.auth.audit import Told
from broker.auth.directory import Directory
from broker.auth.pattern import PatternError, check
from broker.errors import AdministrationError, DeletionProtected
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
from broker.queue.policy_keys import wrong_in
from broker.queue.settings import QueueType
from broker.topology.alteration import REDECLARATIONS
from broker.topology.apply import LiveTopology
from broker.topology.change_audit import events_of
from broker.topology.decision import Decision, Resource
from broker.topology.policies import APPLY_TO
from broker.topology.vhost import VirtualHost

_log = structlog.get_logger(__name__)

MAX_NAME: Final = 255
"""Octets of the name of a user or a virtual host."""
MAX_TEXT: Final = 1000
"""Octets of a description, and of all tags together."""
MAX_LIMIT: Final = (1 << 31) - 1
MAX_JSON: Final = 32 * 1024
"""Octets of the definition of a policy, and of the value of a parameter."""
MAX_NUMBER: Final = (1 << 63) - 1
TAGS: Final = ("administrator", "management", "monitoring", "policymaker", "impersonator")
"""The tags that mean something (contract A10); others may be set and mean nothing."""


class ChangeRecorder(Protocol):
    """Makes changes that are decided when it is their turn."""

    async def change(self, decide: Callable[[], Decision[None]]) -> None:
        """Make what `decide` decides."""
        ...


class _NoRecorder:
    """Makes no change, and asks for no decision."""

    async def change(self, decide: Callable[[], Decision[None]]) -> None:
        """Leave everything as it is."""


class Administration:
    """What can be changed on a node whose topology is `live`."""

    def __init__(self, live: LiveTopology, recorder: ChangeRecorder, *, users_elsewhere: str = "") -> None:
        """`users_elsewhere` says why no user with a password is kept here, if that is so."""
        self._live = live
        self._recorder = recorder
        self._users_elsewhere = users_elsewhere

    def rehearsal(self) -> Administration:
        """Return an administration that checks what it is asked for, and changes nothing."""
        return Administration(self._live, _NoRecorder(), users_elsewhere=self._users_elsewhere)

    async def _change(self, decide: Callable[[], Decision[None]]) -> None:
        """Make a change, and log it if it was one."""
        made: list[Told] = []

        def decided() -> Decision[None]:
            decision = decide()
            made[:] = events_of(decision.changes, self._live)
            return decision

        await self._recorder.change(decided)
        for event in made:
            event.to(_log)

    @property
    def directory(self) -> Directory:
        """Users and permissions as they are."""
        return self._live.directory

    @property
    def vhosts(self) -> Sequence[VirtualHostSettingsRecord]:
        """The virtual hosts with what is set of them, by name."""
        return [vhost.settings for _, vhost in sorted(self._live.vhosts.items())]

    @property
    def live_vhosts(self) -> Sequence[VirtualHost]:
        """The virtual hosts, by name."""
        return [vhost for _, vhost in sorted(self._live.vhosts.items())]

    def find_vhost(self, name: str) -> VirtualHost | None:
        """Return a virtual host, if there is one of this name."""
        return self._live.vhosts.get(name)

    def imagine_vhost(self, name: str) -> VirtualHost:
        """Return the virtual host that would be created under this name. It is nobody's."""
        return self._live.new_vhost(name)

    # Virtual hosts

    async def create_vhost(self, settings: VirtualHostSettingsRecord) -> None:
        """Create a virtual host, or change what is set of it."""
        _check_name("virtual host", settings.vhost)
        _check_text("description", settings.description)
        _check_tags(settings.tags)
        _check_limits(settings.max_connections, settings.max_queues)
        if settings.default_queue_type and QueueType.named(settings.default_queue_type) is None:
            raise AdministrationError(f"there is no queue type '{settings.default_queue_type}'")
        if settings.redeclaration not in REDECLARATIONS:
            raise AdministrationError(f"'{settings.redeclaration}' is none of strict, adopt, upgrade")
        await self._change(partial(self._create_vhost, settings))

    def _create_vhost(self, settings: VirtualHostSettingsRecord) -> Decision[None]:
        name, changes = settings.vhost, list[Change]()
        current = self._live.vhosts.get(name)
        if current is None:
            changes.append(Put(VirtualHostRecord(name)))
        if settings != (VirtualHostSettingsRecord(name) if current is None else current.settings):
            changes.append(Put(settings))
        return _decision(changes, (name,))

    async def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with everything in it; its connections are closed. Raises `DeletionProtected`."""
        await self._change(partial(self._delete_vhost, name))

    def _delete_vhost(self, name: str) -> Decision[None]:
        self._require_vhost(name)
        if self._live.vhosts[name].settings.protected_from_deletion:
            raise DeletionProtected(name)
        return _decision([Drop(VirtualHostRecord(name))], (name,))

    def _require_vhost(self, name: str) -> None:
        if name not in self._live.vhosts:
            raise AdministrationError(f"there is no virtual host '{name}'")

    # Users

    async def put_user(self, record: UserRecord) -> None:
        """Add a user, or replace what is known of one."""
        _check_user(record)
        if self._users_elsewhere:
            raise AdministrationError(self._users_elsewhere)
        await self._change(lambda: self._decided_user(record))

    async def add_user(self, record: UserRecord) -> None:
        """Add a user unless there is one of that name, whoever has added it."""
        await self._change(lambda: self._decided_user(self.directory.user(record.name) or record))

    async def change_user(self, name: str, change: Callable[[UserRecord], UserRecord]) -> None:
        """Replace what is known of a user by what `change` makes of it."""
        await self._change(lambda: self._decided_user(change(self._user(name))))

    def _decided_user(self, record: UserRecord) -> Decision[None]:
        _check_user(record)
        is_new = self.directory.user(record.name) != record
        return _decision([Put(record)] if is_new else [], ("", "user", record.name))

    async def delete_user(self, name: str) -> None:
        """Delete a user with all that the user may do; the user's connections are closed."""
        await self._change(partial(self._delete_user, name))

    def _delete_user(self, name: str) -> Decision[None]:
        self._user(name)
        return _decision([Drop(UserKey(name))], ("", "user", name))

    def _user(self, name: str) -> UserRecord:
        record = self.directory.user(name)
        if record is None:
            raise AdministrationError(f"there is no user '{name}'")
        return record

    # Permissions

    async def set_permissions(self, record: PermissionRecord) -> None:
        """Set what a user may do in a virtual host."""
        for pattern in (record.configure, record.write, record.read):
            _check_pattern(pattern)
        await self._change(partial(self._set_permissions, record))

    def _set_permissions(self, record: PermissionRecord) -> Decision[None]:
        self._require_both(record.user, record.vhost)
        is_new = self.directory.permission(record.user, record.vhost) != record
        return _decision([Put(record)] if is_new else [], *_resources(record.user, record.vhost))

    async def clear_permissions(self, user: str, vhost: str) -> None:
        """Take all that a user may do in a virtual host away."""
        await self._change(partial(self._clear_permissions, user, vhost))

    def _clear_permissions(self, user: str, vhost: str) -> Decision[None]:
        self._require_both(user, vhost)
        is_there = self.directory.permission(user, vhost) is not None
        return _decision([Drop(PermissionKey(user, vhost))] if is_there else [], *_resources(user, vhost))

    async def set_topic_permissions(self, record: TopicPermissionRecord) -> None:
        """Set what keys a user may use at a topic exchange."""
        for pattern in (record.write, record.read):
            _check_pattern(pattern)
        _check_name("exchange", record.exchange)
        await self._change(partial(self._set_topic_permissions, record))

    def _set_topic_permissions(self, record: TopicPermissionRecord) -> Decision[None]:
        self._require_both(record.user, record.vhost)
        is_new = record not in self.directory.topics(record.user, record.vhost)
        return _decision([Put(record)] if is_new else [], *_resources(record.user, record.vhost))

    async def clear_topic_permissions(self, user: str, vhost: str, exchange: str | None = None) -> None:
        """Let a user use all keys again, at one topic exchange or at all of a virtual host."""
        await self._change(partial(self._clear_topic_permissions, user, vhost, exchange))

    def _clear_topic_permissions(self, user: str, vhost: str, exchange: str | None) -> Decision[None]:
        self._require_both(user, vhost)
        gone = [topic for topic in self.directory.topics(user, vhost) if exchange in (None, topic.exchange)]
        drops = [Drop(TopicPermissionKey(user, vhost, topic.exchange)) for topic in gone]
        return _decision(drops, *_resources(user, vhost))

    # Policies and parameters

    @property
    def policies(self) -> Sequence[PolicyRecord]:
        """The policies and operator policies of all virtual hosts, by virtual host and name."""
        records = (record for vhost in self.live_vhosts for record in vhost.policies.records)
        return sorted(records, key=lambda each: (each.vhost, each.name))

    async def put_policy(self, record: PolicyRecord) -> None:
        """Set a policy, or an operator policy; it applies at once to what is there (contract A1, A2)."""
        kind = "operator policy" if record.is_operator else "policy"
        _check_name(kind, record.name)
        _check_pattern(record.pattern)
        if record.apply_to not in APPLY_TO:
            raise AdministrationError(f"a {kind} applies to {', '.join(APPLY_TO)}; not to '{record.apply_to}'")
        if abs(record.priority) > MAX_NUMBER:
            raise AdministrationError(f"the priority of a {kind} is a number of at most 63 bits")
        definition = _checked_json(f"definition of the {kind}", record.definition)
        if not isinstance(definition, dict):
            raise AdministrationError(f"the definition of a {kind} is a JSON object")
        if wrong := "; ".join(wrong_in(definition, of_operator=record.is_operator)):
            raise AdministrationError(f"{kind} '{record.name}' is not valid: {wrong}")
        await self._change(partial(self._put_policy, replace(record, definition=to_json(definition))))

    def _put_policy(self, record: PolicyRecord) -> Decision[None]:
        self._require_vhost(record.vhost)
        is_new = record not in self._live.vhosts[record.vhost].policies.records
        return _decision([Put(record)] if is_new else [], (record.vhost, "policies"))

    async def clear_policy(self, key: PolicyKey) -> None:
        """Delete a policy, or an operator policy."""
        await self._change(partial(self._clear_policy, key))

    def _clear_policy(self, key: PolicyKey) -> Decision[None]:
        self._require_vhost(key.vhost)
        records = self._live.vhosts[key.vhost].policies.records
        if not any(PolicyKey(each.vhost, each.name, each.is_operator) == key for each in records):
            kind = "operator policy" if key.is_operator else "policy"
            raise AdministrationError(f"there is no {kind} '{key.name}' in virtual host '{key.vhost}'")
        return _decision([Drop(key)], (key.vhost, "policies"))

    @property
    def global_parameters(self) -> Sequence[GlobalParameterRecord]:
        """The parameters of the whole cluster, by name."""
        return [record for _, record in sorted(self._live.global_parameters.items())]

    async def put_global_parameter(self, record: GlobalParameterRecord) -> None:
        """Set a parameter of the whole cluster."""
        _check_name("parameter", record.name)
        value = to_json(_checked_json("value of the parameter", record.value))
        await self._change(partial(self._put_global_parameter, replace(record, value=value)))

    def _put_global_parameter(self, record: GlobalParameterRecord) -> Decision[None]:
        is_new = self._live.global_parameters.get(record.name) != record
        return _decision([Put(record)] if is_new else [], ("", "parameter", record.name))

    async def clear_global_parameter(self, name: str) -> None:
        """Delete a parameter of the whole cluster."""
        await self._change(partial(self._clear_global_parameter, name))

    def _clear_global_parameter(self, name: str) -> Decision[None]:
        if name not in self._live.global_parameters:
            raise AdministrationError(f"there is no parameter '{name}'")
        return _decision([Drop(GlobalParameterKey(name))], ("", "parameter", name))

    def _require_both(self, user: str, vhost: str) -> None:
        self._user(user)
        self._require_vhost(vhost)


def with_tags(record: UserRecord, tags: Sequence[str]) -> UserRecord:
    """Return a user with these tags; raise `AdministrationError` for one that cannot be kept."""
    joined = ",".join(dict.fromkeys(tags))
    _check_tags(joined)
    return replace(record, tags=joined)


def to_json(value: Any) -> bytes:
    """Return a value as it is recorded: equal values have equal octets."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _checked_json(what: str, octets: bytes) -> Any:
    if len(octets) > MAX_JSON:
        raise AdministrationError(f"the {what} is longer than {MAX_JSON} octets")
    try:
        return json.loads(octets, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise AdministrationError(f"the {what} is no JSON") from None


def _refuse(constant: str) -> None:
    """NaN and the infinities are read by Python, and by nobody else."""
    raise ValueError(constant)


def _decision(changes: Sequence[Change], *writes: Resource) -> Decision[None]:
    return Decision(changes, lambda: None, lasting=changes, writes=writes)


def _resources(user: str, vhost: str) -> tuple[Resource, ...]:
    return ("", "user", user), (vhost, "access")


def _check_user(record: UserRecord) -> None:
    _check_name("user", record.name)
    _check_text("password hash", record.password_hash)
    _check_tags(record.tags)
    _check_limits(record.max_connections, record.max_channels)


def _check_name(what: str, name: str) -> None:
    if not name:
        raise AdministrationError(f"the name of a {what} is empty")
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        raise AdministrationError(f"the name of a {what} is longer than {MAX_NAME} octets")


def _check_text(what: str, text: str) -> None:
    if len(text.encode("utf-8", "surrogateescape")) > MAX_TEXT:
        raise AdministrationError(f"the {what} is longer than {MAX_TEXT} octets")


def _check_tags(tags: str) -> None:
    _check_text("list of tags", tags)
    if any(not tag or tag != tag.strip() for tag in tags.split(",") if tags):
        raise AdministrationError("a tag is empty, or has blanks around it")


def _check_limits(*limits: int) -> None:
    if any(not -1 <= limit <= MAX_LIMIT for limit in limits):
        raise AdministrationError(f"a limit is from 0 to {MAX_LIMIT}, or -1 for none")


def _check_pattern(pattern: str) -> None:
    try:
        check(pattern)
    except PatternError as error:
        raise AdministrationError(f"the expression '{pattern}' is not served: {error}") from None
