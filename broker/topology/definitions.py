"""Definitions as RabbitMQ exports and imports them: JSON of users, virtual hosts, permissions and lasting topology.

`exported` describes what is there. `Import` compares definitions with it and says, or makes, what differs. What is of a
kind that this broker does not serve is said by name, never passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final, TypeAlias

from broker.auth.password_hash import NO_PASSWORD, parse, rabbitmq
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
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration
from broker.topology.policy_forms import OPERATOR_POLICY, policy_of, told_operator_policy, told_policy
from broker.topology.vhost import VirtualHost

Definitions: TypeAlias = Mapping[str, Any]

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
_ALGORITHM: Final = re.compile(r"\$(rabbit_password_hashing_[a-z0-9]+)\$(.*)", re.DOTALL)
_DEFAULT_ALGORITHM: Final = "rabbit_password_hashing_sha256"


# Export


def exported(administration: Administration, version: str) -> dict[str, Any]:
    """Return everything that lasts, in RabbitMQ's form. Hashes of passwords are part of it."""
    directory = administration.directory
    vhosts = administration.live_vhosts
    return {
        "product_name": "Cordillera",
        "product_version": version,
        "users": [_user(user) for user in sorted(directory.users, key=lambda each: each.name)],
        "vhosts": [_vhost(settings) for settings in administration.vhosts],
        "permissions": [
            asdict(each) for each in sorted(directory.permissions, key=lambda each: (each.vhost, each.user))
        ],
        "topic_permissions": [
            asdict(each)
            for each in sorted(directory.topic_permissions, key=lambda each: (each.vhost, each.user, each.exchange))
        ],
        "parameters": [
            *(each for settings in administration.vhosts for each in _limits_of(settings)),
            *(told_operator_policy(each) for each in administration.policies if each.is_operator),
        ],
        "global_parameters": [
            {"name": each.name, "value": json.loads(each.value)} for each in administration.global_parameters
        ],
        "policies": [told_policy(each) for each in administration.policies if not each.is_operator],
        "queues": [each for vhost in vhosts for each in _queues(vhost)],
        "exchanges": [each for vhost in vhosts for each in _exchanges(vhost)],
        "bindings": [each for vhost in vhosts for each in _bindings(vhost)],
    }


def _user(user: UserRecord) -> dict[str, Any]:
    text, algorithm = _as_rabbitmq(user.password_hash)
    limits = {"max-connections": user.max_connections, "max-channels": user.max_channels}
    return {
        "name": user.name,
        "password_hash": text,
        "hashing_algorithm": algorithm,
        "tags": [tag for tag in user.tags.split(",") if tag],
        "limits": {name: limit for name, limit in limits.items() if limit >= 0},
    }


def _as_rabbitmq(stored: str) -> tuple[str, str]:
    """Return the hash and its algorithm. The algorithm is empty for what RabbitMQ does not have: another kind of hash,
    and a password of the configuration.
    """
    if stored == NO_PASSWORD:
        return "", _DEFAULT_ALGORITHM
    found = _ALGORITHM.fullmatch(stored)
    return (found[2], found[1]) if found else (stored, "")


def _as_stored(given: Mapping[str, Any]) -> str:
    """Return the hash of a user in definitions as a record holds it. Raises `InvalidPasswordHash`."""
    if "password" in given:
        raise AdministrationError("a 'password' in plain text is not served: give its 'password_hash'")
    text, algorithm = str(given.get("password_hash") or ""), str(given.get("hashing_algorithm", _DEFAULT_ALGORITHM))
    if algorithm:
        return rabbitmq(text, algorithm).text
    return parse(text).text if text else ""


def _vhost(settings: VirtualHostSettingsRecord) -> dict[str, Any]:
    told: dict[str, Any] = {"name": settings.vhost}
    if settings.description or settings.tags or settings.default_queue_type:
        told["description"] = settings.description
        told["tags"] = [tag for tag in settings.tags.split(",") if tag]
        told["default_queue_type"] = settings.default_queue_type or "undefined"
    return told


def _limits_of(settings: VirtualHostSettingsRecord) -> Iterator[dict[str, Any]]:
    limits = {"max-connections": settings.max_connections, "max-queues": settings.max_queues}
    value = {name: limit for name, limit in limits.items() if limit >= 0}
    if value:
        yield {"vhost": settings.vhost, "component": "vhost-limits", "name": "limits", "value": value}


def _queues(vhost: VirtualHost) -> Iterator[dict[str, Any]]:
    for queue in sorted(vhost.queues.values(), key=lambda each: each.name):
        if queue.is_stored:
            yield {
                "name": queue.name,
                "vhost": vhost.name,
                "durable": True,
                "auto_delete": queue.auto_delete,
                "arguments": _plain(queue.arguments),
            }


def _exchanges(vhost: VirtualHost) -> Iterator[dict[str, Any]]:
    for name, exchange in sorted(vhost.exchanges.items()):
        if exchange.durable and not _is_of_broker(name):
            yield {
                "name": name,
                "vhost": vhost.name,
                "type": exchange.type,
                "durable": True,
                "auto_delete": exchange.auto_delete,
                "internal": exchange.internal,
                "arguments": _plain(exchange.arguments),
            }


def _bindings(vhost: VirtualHost) -> Iterator[dict[str, Any]]:
    for name, exchange in sorted(vhost.exchanges.items()):
        for binding in exchange.bindings if exchange.durable else ():
            kind, destination = binding.destination
            if vhost.routing.is_durable(binding.destination):
                yield {
                    "source": name,
                    "vhost": vhost.name,
                    "destination": destination,
                    "destination_type": kind,
                    "routing_key": binding.routing_key,
                    "arguments": _plain(binding.arguments),
                }


def _is_of_broker(name: str) -> bool:
    return not name or name.startswith("amq.")


def _plain(arguments: FieldTable) -> dict[str, Any]:
    """Return arguments as JSON has them; octets that are no text become text as far as they can."""
    return {name: _as_json(value) for name, value in arguments.values.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {str(name): _as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


# Import


class Import:
    """One import. Nothing that is there is deleted, and what is as it should be is left alone."""

    def __init__(self, administration: Administration, definitions: object) -> None:
        """Raises `AdministrationError` for what are no definitions, or hold what is not served."""
        self._administration = administration
        self._definitions = _checked(definitions)
        self.lines: list[str] = []
        """What differs, or differed, in the words of a reader."""
        self._steps: list[Callable[[], Awaitable[object]]] = []

    async def run(self, *, is_dry: bool = False) -> list[str]:
        """Make what differs, unless `is_dry`; return a line for each difference. What cannot be made raises
        `AdministrationError`; what came before it is made.
        """
        for section, compare in self._sections().items():
            for number, given in enumerate(self._definitions.get(section, ())):
                try:
                    for line, step in compare(given):
                        self.lines.append(line)
                        if not is_dry:
                            await step()
                except BrokerError as error:
                    raise AdministrationError(f"{section}[{number}]: {error}") from error
                except (KeyError, TypeError, ValueError) as error:
                    raise AdministrationError(f"{section}[{number}]: {error!r} is missing or wrong") from error
        return self.lines

    def _sections(self) -> dict[str, Callable[[Mapping[str, Any]], Iterator[tuple[str, Callable[[], Awaitable[Any]]]]]]:
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

    def _vhosts(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        name = str(given["name"])
        current = self._settings(name)
        given = {**(given.get("metadata") or {}), **given}  # older versions have it in there
        default = given.get("default_queue_type")
        wanted = replace(
            current or VirtualHostSettingsRecord(name),
            description=str(given.get("description", current.description if current else "")),
            tags=_tags(given.get("tags", current.tags if current else "")),
            default_queue_type="" if default in (None, "undefined") else str(default),
        )
        if wanted != current:
            yield f"virtual host '{name}'", partial(self._administration.create_vhost, wanted)

    def _users(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        name, limits = str(given["name"]), given.get("limits") or {}
        stored, current = _as_stored(given), self._administration.directory.user(name)
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
            yield f"user '{name}'", partial(self._administration.put_user, wanted)

    def _permissions(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        wanted = PermissionRecord(*(str(given[name]) for name in ("user", "vhost", "configure", "write", "read")))
        if self._administration.directory.permission(wanted.user, wanted.vhost) != wanted:
            line = f"permissions of '{wanted.user}' in virtual host '{wanted.vhost}'"
            yield line, partial(self._administration.set_permissions, wanted)

    def _topic_permissions(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        wanted = TopicPermissionRecord(*(str(given[name]) for name in ("user", "vhost", "exchange", "write", "read")))
        if wanted not in self._administration.directory.topics(wanted.user, wanted.vhost):
            line = f"topic permissions of '{wanted.user}' at '{wanted.exchange}' in virtual host '{wanted.vhost}'"
            yield line, partial(self._administration.set_topic_permissions, wanted)

    def _parameters(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        if given["component"] == OPERATOR_POLICY:
            yield from self._differing(
                policy_of(str(given["vhost"]), str(given["name"]), given["value"], is_operator=True)
            )
            return
        if given["component"] != "vhost-limits":
            raise AdministrationError(f"parameters of the component '{given['component']}' are not served")
        name, value = str(given["vhost"]), given["value"]
        current = self._settings(name)
        wanted = replace(
            current or VirtualHostSettingsRecord(name),
            max_connections=int(value.get("max-connections", -1)),
            max_queues=int(value.get("max-queues", -1)),
        )
        if wanted != current:
            yield f"limits of virtual host '{name}'", partial(self._administration.create_vhost, wanted)

    def _global_parameters(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        wanted = GlobalParameterRecord(str(given["name"]), to_json(given["value"]))
        if wanted not in self._administration.global_parameters:
            yield f"global parameter '{wanted.name}'", partial(self._administration.put_global_parameter, wanted)

    def _policies(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        yield from self._differing(policy_of(str(given["vhost"]), str(given["name"]), given, is_operator=False))

    def _differing(self, wanted: PolicyRecord) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        if wanted not in self._administration.policies:
            kind = "operator policy" if wanted.is_operator else "policy"
            line = f"{kind} '{wanted.name}' in virtual host '{wanted.vhost}'"
            yield line, partial(self._administration.put_policy, wanted)

    def _exchanges(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        declaration = ExchangeDeclaration(
            str(given["name"]),
            str(given["type"]),
            durable=bool(given.get("durable", True)),
            auto_delete=bool(given.get("auto_delete", False)),
            internal=bool(given.get("internal", False)),
            arguments=_table(given),
        )
        vhost = self._administration.find_vhost(str(given["vhost"]))
        current = None if vhost is None else vhost.exchanges.get(declaration.name)
        if vhost is not None and current is not None:
            declaration.require_same(vhost.phrase("exchange", declaration.name), current)
            return
        yield (
            f"exchange '{declaration.name}' in virtual host '{given['vhost']}'",
            lambda: self._vhost(given).declare_exchange(declaration),
        )

    def _queues(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        declaration = QueueDeclaration(
            str(given["name"]),
            durable=bool(given.get("durable", True)),
            auto_delete=bool(given.get("auto_delete", False)),
            arguments=_table(given),
        ).of_type(QueueType.CLASSIC)
        vhost = self._administration.find_vhost(str(given["vhost"]))
        current = None if vhost is None else vhost.queues.get(declaration.name)
        if vhost is not None and current is not None:
            declaration.require_same(vhost.phrase("queue", declaration.name), current)
            return
        yield (
            f"queue '{declaration.name}' in virtual host '{given['vhost']}'",
            lambda: self._vhost(given).declare_queue(declaration),
        )

    def _bindings(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
        source, key, arguments = str(given["source"]), str(given.get("routing_key", "")), _table(given).in_order()
        kind = given["destination_type"]
        if kind not in ("queue", "exchange"):
            raise AdministrationError(f"there is no destination type '{kind}'")
        destination = kind, str(given["destination"])
        vhost = self._administration.find_vhost(str(given["vhost"]))
        exchange = None if vhost is None else vhost.exchanges.get(source)
        if exchange is not None and any(
            (each.destination, each.routing_key, each.arguments.in_order()) == (destination, key, arguments)
            for each in exchange.bindings
        ):
            return
        line = f"binding of {kind} '{destination[1]}' to '{source}' by '{key}' in virtual host '{given['vhost']}'"
        yield line, lambda: self._vhost(given).bind(source, destination, key, arguments)

    def _settings(self, name: str) -> VirtualHostSettingsRecord | None:
        vhost = self._administration.find_vhost(name)
        return None if vhost is None else vhost.settings

    def _vhost(self, given: Mapping[str, Any]) -> VirtualHost:
        vhost = self._administration.find_vhost(str(given["vhost"]))
        if vhost is None:
            raise AdministrationError(f"there is no virtual host '{given['vhost']}'")
        return vhost


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


def _table(given: Mapping[str, Any]) -> FieldTable:
    arguments = given.get("arguments") or {}
    return FieldTable.of(dict(arguments)) if arguments else EMPTY_TABLE
