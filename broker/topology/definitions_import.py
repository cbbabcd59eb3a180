"""Imports definitions as RabbitMQ exports them: says, or makes, what differs.

What is of a kind that this broker does not serve is said by name, never passed over. What RabbitMQ exports and does not
import either, bindings to exclusive queues and queues with reserved names, is told and left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from broker.auth.password_hash import parse, rabbitmq
from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.config.user_mgt import GUEST_USER_NAME
from broker.errors import AdministrationError, BrokerError
from broker.ports.records import (
    GlobalParameterRecord,
    PermissionRecord,
    PolicyRecord,
    TopicPermissionRecord,
    UserRecord,
    VirtualHostSettingsRecord,
)
from broker.queue.settings import QueueType
from broker.topology.administration import Administration, to_json
from broker.topology.binding import Binding
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration
from broker.topology.definitions import DEFAULT_ALGORITHM, OWN_HASH, Definitions, is_of_broker
from broker.topology.import_target import ImportTarget
from broker.topology.policy_forms import OPERATOR_POLICY, policy_of

_OF_VHOSTS: Final = frozenset(
    ("name", "metadata", "description", "tags", "default_queue_type", "limits", "protected_from_deletion")
)
"""What is known of virtual hosts; their limits are among the parameters, too."""
TOLD: Final = 20
"""How many of the things that were left out the log names."""
SERVED: Final = (
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "parameters",
    "global_parameters",
    "policies",
    "exchanges",
    "queues",
    "bindings",
)
_DESCRIPTIONS: Final = frozenset(
    (
        "rabbit_version",
        "rabbitmq_version",
        "product_name",
        "product_version",
        "rabbitmq_definition_format",
        "metadata",
        "original_vhost_name",
        "original_cluster_name",
        "explanation",
        "description",
    )
)
"""What says where definitions come from, and is nothing that could be imported."""
_Steps: TypeAlias = Iterator[tuple[str, Callable[[], Awaitable[Any]]]]
"""What differs, and how it is made."""
_Compare: TypeAlias = Callable[[Mapping[str, Any]], _Steps]


class Import:
    """One import. Nothing that is there is deleted, and what is as it should be is left alone."""

    def __init__(
        self,
        administration: Administration,
        definitions: object,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`pause` is awaited before each thing: others have their turn there.

        Raises `AdministrationError` for what are no definitions, or hold what is not served.
        """
        self._pause = pause
        self._administration = administration
        self._target = ImportTarget(administration, is_dry=False)
        self._definitions = _checked(definitions)
        self.lines: list[str] = []
        """What differs, or differed, in the words of a reader."""
        self.left_out: list[str] = []
        """What is not made, and why: as RabbitMQ exports it, and does not import it either."""
        self.problems: list[str] = []
        """What could not be made. A dry run goes on then."""

    async def run(self, *, is_dry: bool = False) -> list[str]:
        """Make what differs, unless `is_dry`; return a line for each difference. What cannot be made raises
        `AdministrationError`; what came before it is made.
        """
        self._target = ImportTarget(self._administration, is_dry=is_dry)
        self._administration = self._target.administration
        for section, compare in self._sections().items():
            for number, given in enumerate(self._definitions.get(section, ())):
                if self._pause is not None:
                    await self._pause()
                try:
                    await self._make(compare, given)
                except AdministrationError as error:
                    if not is_dry:
                        raise AdministrationError(f"{section}[{number}]: {error}") from error
                    self.problems.append(f"{section}[{number}]: {error}")
        return self.lines

    async def _make(self, compare: _Compare, given: Mapping[str, Any]) -> None:
        try:
            if "vhost" in given:
                self._target.require_vhost(str(given["vhost"]))
            for line, step in compare(given):
                await step()
                self.lines.append(line)
        except BrokerError as error:
            raise AdministrationError(str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise AdministrationError(f"{error!r} is missing or wrong") from error

    def _sections(self) -> dict[str, _Compare]:
        return {
            "vhosts": self._vhosts,
            "users": self._users,
            "permissions": self._permissions,
            "topic_permissions": self._topic_permissions,
            "parameters": self._parameters,
            "global_parameters": self._global_parameters,
            "policies": self._policies,
            "exchanges": self._exchanges,
            "queues": self._queues,
            "bindings": self._bindings,
        }

    def _vhosts(self, given: Mapping[str, Any]) -> _Steps:
        name = str(given["name"])
        current = self._target.settings(name)
        known = current or VirtualHostSettingsRecord(name)
        given = {**(given.get("metadata") or {}), **given}  # older versions have it in there
        for key in sorted(given.keys() - _OF_VHOSTS):
            if given[key]:
                self.left_out.append(f"'{key}' of virtual host '{name}': it is not served")
        default = given.get("default_queue_type", known.default_queue_type)
        wanted = replace(
            known,
            description=str(given.get("description", known.description)),
            tags=_tags(given.get("tags", known.tags)),
            default_queue_type="" if default in (None, "undefined") else str(default),
            protected_from_deletion=given.get("protected_from_deletion", known.protected_from_deletion) is True,
        )
        if wanted != current:
            yield f"virtual host '{name}'", partial(self._target.put_vhost, wanted)

    def _users(self, given: Mapping[str, Any]) -> _Steps:
        name, limits = str(given["name"]), _object(given.get("limits"))
        stored, current = _as_stored(given), self._target.user(name)
        is_loopback_only = name == GUEST_USER_NAME  # as RabbitMQ has it, whatever the password
        if current is not None and current.password_hash == stored:
            is_loopback_only = current.loopback_only
        wanted = UserRecord(
            name,
            stored,
            _tags(given.get("tags", "")),
            loopback_only=is_loopback_only,
            max_connections=int(limits.get("max-connections", -1)),
            max_channels=int(limits.get("max-channels", -1)),
        )
        if current != wanted:
            yield f"user '{name}'", partial(self._target.put_user, wanted)

    def _permissions(self, given: Mapping[str, Any]) -> _Steps:
        wanted = PermissionRecord(*(str(given[name]) for name in ("user", "vhost", "configure", "write", "read")))
        self._target.require_user(wanted.user)
        if not self._target.has_permission(wanted):
            line = f"permissions of '{wanted.user}' in virtual host '{wanted.vhost}'"
            yield line, partial(self._target.put_permission, wanted)

    def _topic_permissions(self, given: Mapping[str, Any]) -> _Steps:
        wanted = TopicPermissionRecord(*(str(given[name]) for name in ("user", "vhost", "exchange", "write", "read")))
        self._target.require_user(wanted.user)
        if not self._target.has_topic_permission(wanted):
            line = f"topic permissions of '{wanted.user}' at '{wanted.exchange}' in virtual host '{wanted.vhost}'"
            yield line, partial(self._target.put_topic_permission, wanted)

    def _parameters(self, given: Mapping[str, Any]) -> _Steps:
        if given["component"] == OPERATOR_POLICY:
            value = _object(given["value"])
            value = {**value, "definition": _object(value.get("definition"))}
            yield from self._differing(policy_of(str(given["vhost"]), str(given["name"]), value, is_operator=True))
            return
        if given["component"] != "vhost-limits":
            raise AdministrationError(f"parameters of the component '{given['component']}' are not served")
        name, value = str(given["vhost"]), _object(given["value"])
        current = self._target.settings(name) or VirtualHostSettingsRecord(name)
        wanted = replace(
            current,
            max_connections=int(value.get("max-connections", -1)),
            max_queues=int(value.get("max-queues", -1)),
        )
        if wanted != current:
            yield f"limits of virtual host '{name}'", partial(self._target.put_vhost, wanted)

    def _global_parameters(self, given: Mapping[str, Any]) -> _Steps:
        wanted = GlobalParameterRecord(str(given["name"]), to_json(given["value"]))
        if wanted not in self._administration.global_parameters:
            yield f"global parameter '{wanted.name}'", partial(self._administration.put_global_parameter, wanted)

    def _policies(self, given: Mapping[str, Any]) -> _Steps:
        yield from self._differing(policy_of(str(given["vhost"]), str(given["name"]), given, is_operator=False))

    def _differing(self, wanted: PolicyRecord) -> _Steps:
        if wanted not in self._administration.policies:
            kind = "operator policy" if wanted.is_operator else "policy"
            line = f"{kind} '{wanted.name}' in virtual host '{wanted.vhost}'"
            yield line, partial(self._administration.put_policy, wanted)

    def _exchanges(self, given: Mapping[str, Any]) -> _Steps:
        vhost, name = str(given["vhost"]), str(given["name"])
        declaration = ExchangeDeclaration(
            name,
            str(given["type"]),
            durable=bool(given.get("durable", True)),
            auto_delete=bool(given.get("auto_delete", False)),
            internal=bool(given.get("internal", False)),
            arguments=_table(given),
        )
        current = self._target.exchange(vhost, name)
        if current is not None:
            declaration.require_same(f"exchange '{name}' in vhost '{vhost}'", current)
        elif is_of_broker(name):
            self.left_out.append(f"exchange '{name}' in virtual host '{vhost}': its name is the broker's")
        else:
            line = f"exchange '{name}' in virtual host '{vhost}'"
            yield line, partial(self._target.declare_exchange, vhost, declaration)

    def _queues(self, given: Mapping[str, Any]) -> _Steps:
        vhost, name = str(given["vhost"]), str(given["name"])
        arguments, kind = given.get("arguments") or {}, str(given.get("type", QueueType.CLASSIC.value))
        if kind != QueueType.CLASSIC.value:
            arguments = {"x-queue-type": kind, **arguments}
        declaration = QueueDeclaration(
            name,
            durable=bool(given.get("durable", True)),
            auto_delete=bool(given.get("auto_delete", False)),
            arguments=_table({"arguments": arguments}),
        ).of_type(QueueType.CLASSIC)
        if self._target.is_declared(vhost, declaration):
            return
        if is_of_broker(name):
            self.left_out.append(f"queue '{name}' in virtual host '{vhost}': its name is the broker's")
        else:
            yield (
                f"queue '{name}' in virtual host '{vhost}'",
                partial(self._target.declare_queue, vhost, declaration),
            )

    def _bindings(self, given: Mapping[str, Any]) -> _Steps:
        vhost, source = str(given["vhost"]), str(given["source"])
        kind, key = given["destination_type"], str(given.get("routing_key", ""))
        if kind not in ("queue", "exchange"):
            raise AdministrationError(f"there is no destination type '{kind}'")
        binding = Binding(source, (kind, str(given["destination"])), key, _table(given))
        line = f"binding of {kind} '{binding.destination[1]}' to '{source}' by '{key}' in virtual host '{vhost}'"
        if missing := self._target.missing_end(vhost, binding):
            self.left_out.append(f"{line}: there is no {missing}")
        elif not self._target.has_binding(vhost, binding):
            yield line, partial(self._target.bind, vhost, binding)


def _checked(definitions: object) -> Definitions:
    if not isinstance(definitions, Mapping):
        raise AdministrationError("definitions are a JSON object")
    for name, value in definitions.items():
        if name in _DESCRIPTIONS or (name not in SERVED and not value):
            continue
        if name not in SERVED:
            raise AdministrationError(f"'{name}' are not served: take them out of the definitions")
        if not isinstance(value, Sequence) or not all(isinstance(each, Mapping) for each in value):
            raise AdministrationError(f"'{name}' is no list of objects")
    return definitions


def _tags(tags: object) -> str:
    """Return tags, which older versions write as one text, in the form of a record."""
    if isinstance(tags, str):
        tags = [tag.strip() for tag in tags.split(",")]
    if not isinstance(tags, Sequence):
        raise ValueError("tags")
    return ",".join(str(tag) for tag in tags if tag)


def _object(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, which RabbitMQ 3.10 writes as a list of pairs in some places."""
    if not value:
        return {}
    return value if isinstance(value, Mapping) else {str(name): each for name, each in value}


def _table(given: Mapping[str, Any]) -> FieldTable:
    arguments = given.get("arguments") or {}
    return FieldTable.of(dict(arguments)) if arguments else EMPTY_TABLE


def _as_stored(given: Mapping[str, Any]) -> str:
    """Return the hash of a user in definitions as a record holds it. Raises `InvalidPasswordHash`."""
    if "password" in given:
        raise AdministrationError("a 'password' in plain text is not served: give its 'password_hash'")
    text, algorithm = str(given.get("password_hash") or ""), str(given.get("hashing_algorithm", DEFAULT_ALGORITHM))
    if OWN_HASH in given:
        text, algorithm = str(given[OWN_HASH]), ""
    if algorithm:
        return rabbitmq(text, algorithm).text
    return parse(text).text if text else ""
