"""The commands of an administrator, by name: arguments and results are values of JSON.

`python -m broker admin` asks for them over the control socket.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

import structlog

from broker.auth.audit import DEFINITIONS_EXPORTED, DEFINITIONS_IMPORTED, tell
from broker.errors import AdministrationError
from broker.ports.records import (
    GlobalParameterRecord,
    PermissionRecord,
    PolicyKey,
    TopicPermissionRecord,
    UserRecord,
    VirtualHostSettingsRecord,
)
from broker.topology.administration import Administration, to_json, with_tags
from broker.topology.definitions import exported
from broker.topology.definitions_import import TOLD, Import
from broker.topology.policy_forms import policy_of, told_policy, told_queue

_log = structlog.get_logger(__name__)

Arguments = Mapping[str, Any]
NewHash = Callable[[str], Awaitable[str]]

EMPTY: Final[Mapping[str, Any]] = {}

ROLE_COMMANDS: Final = (
    "list_roles",
    "add_role",
    "delete_role",
    "join_role",
    "leave_role",
    "permit_role",
    "clear_role_permission",
)
"""Commands that only a user database of WSO2's serves (ADR 52)."""


async def _no_roles(arguments: Arguments) -> None:
    raise AdministrationError("there are no roles: user-mgt.xml names no user database, permissions are those of users")


class Commands:
    """The commands over one `Administration`."""

    def __init__(
        self,
        administration: Administration,
        new_hash: NewHash,
        version: str,
        further: Mapping[str, Callable[[Arguments], Awaitable[Any]]] = EMPTY,
    ) -> None:
        """`new_hash` makes the hash of a password; `version` is this program's; `further` are commands of others."""
        self._further = further
        self._administration = administration
        self._version = version
        self._new_hash = new_hash

    @property
    def by_name(self) -> dict[str, Callable[[Arguments], Awaitable[Any]]]:
        """Return every command."""
        return {**dict.fromkeys(ROLE_COMMANDS, _no_roles), **self._further, **self._own}

    @property
    def _own(self) -> dict[str, Callable[[Arguments], Awaitable[Any]]]:
        return {name.removeprefix("do_"): getattr(self, name) for name in dir(type(self)) if name.startswith("do_")}

    # Users

    async def do_list_users(self, arguments: Arguments) -> Any:
        """Name, tags and limits of each user; never a hash."""
        users = sorted(self._administration.directory.users, key=lambda user: user.name)
        return [{**asdict(user), "password_hash": bool(user.password_hash)} for user in users]

    async def do_add_user(self, arguments: Arguments) -> None:
        name, password = text_of(arguments, "name"), text_of(arguments, "password")
        if self._administration.directory.user(name) is not None:
            raise AdministrationError(f"there is a user '{name}' already")
        await self._administration.put_user(UserRecord(name, await self._hash(password)))

    async def do_delete_user(self, arguments: Arguments) -> None:
        await self._administration.delete_user(text_of(arguments, "name"))

    async def do_change_password(self, arguments: Arguments) -> None:
        password_hash = await self._hash(text_of(arguments, "password"))
        await self._administration.change_user(
            text_of(arguments, "name"), lambda user: replace(user, password_hash=password_hash, loopback_only=False)
        )

    async def do_set_user_tags(self, arguments: Arguments) -> None:
        tags = [str(tag) for tag in arguments.get("tags", ())]
        await self._administration.change_user(text_of(arguments, "name"), lambda user: with_tags(user, tags))

    async def do_set_user_limits(self, arguments: Arguments) -> None:
        limits: dict[str, Any] = _limits(arguments, "max_connections", "max_channels")
        await self._administration.change_user(text_of(arguments, "name"), lambda user: replace(user, **limits))

    async def _hash(self, password: str) -> str:
        if not password:
            raise AdministrationError("the password is empty")
        return await self._new_hash(password)

    # Definitions

    async def do_export_definitions(self, arguments: Arguments) -> Any:
        """Everything, as RabbitMQ exports it, with hashes of passwords."""
        tell(_log, DEFINITIONS_EXPORTED)
        return exported(self._administration, self._version)

    async def do_import_definitions(self, arguments: Arguments) -> dict[str, list[str]]:
        """A line for each thing that was made or changed, or with `dry_run` would be; for each that is left out; and
        with `dry_run` for each that could not be made.
        """
        definitions = Import(self._administration, arguments.get("definitions", {}))
        is_dry = arguments.get("dry_run") is True
        await definitions.run(is_dry=is_dry)
        if not is_dry:
            tell(_log, DEFINITIONS_IMPORTED, changes=len(definitions.lines), left_out=definitions.left_out[:TOLD])
        return {"changes": definitions.lines, "left_out": definitions.left_out, "problems": definitions.problems}

    # Virtual hosts

    async def do_list_vhosts(self, arguments: Arguments) -> Any:
        """Name and settings of each virtual host."""
        return [asdict(settings) for settings in self._administration.vhosts]

    async def do_add_vhost(self, arguments: Arguments) -> None:
        name = text_of(arguments, "name")
        known = next((each for each in self._administration.vhosts if each.vhost == name), None)
        changed: dict[str, Any] = {
            key: str(arguments[key]) for key in ("description", "default_queue_type") if key in arguments
        }
        if "tags" in arguments:
            changed["tags"] = ",".join(str(tag) for tag in arguments["tags"])
        await self._administration.create_vhost(replace(known or VirtualHostSettingsRecord(name), **changed))

    async def do_delete_vhost(self, arguments: Arguments) -> None:
        await self._administration.delete_vhost(text_of(arguments, "name"))

    async def do_set_vhost_limits(self, arguments: Arguments) -> None:
        name = text_of(arguments, "vhost")
        known = next((each for each in self._administration.vhosts if each.vhost == name), None)
        if known is None:
            raise AdministrationError(f"there is no virtual host '{name}'")
        limits: dict[str, Any] = _limits(arguments, "max_connections", "max_queues")
        await self._administration.create_vhost(replace(known, **limits))

    # Permissions

    async def do_list_permissions(self, arguments: Arguments) -> Any:
        """What each user may do in each virtual host."""
        records = sorted(self._administration.directory.permissions, key=lambda each: (each.vhost, each.user))
        return [asdict(record) for record in records]

    async def do_set_permissions(self, arguments: Arguments) -> None:
        await self._administration.set_permissions(
            PermissionRecord(
                *(text_of(arguments, name) for name in ("user", "vhost")),
                *(text_of(arguments, name, may_be_empty=True) for name in ("configure", "write", "read")),
            )
        )

    async def do_clear_permissions(self, arguments: Arguments) -> None:
        await self._administration.clear_permissions(text_of(arguments, "user"), text_of(arguments, "vhost"))

    async def do_list_topic_permissions(self, arguments: Arguments) -> Any:
        """What keys users may use at topic exchanges."""
        records = self._administration.directory.topic_permissions
        return [asdict(each) for each in sorted(records, key=lambda each: (each.vhost, each.user, each.exchange))]

    async def do_set_topic_permissions(self, arguments: Arguments) -> None:
        await self._administration.set_topic_permissions(
            TopicPermissionRecord(
                *(text_of(arguments, name) for name in ("user", "vhost", "exchange")),
                *(text_of(arguments, name, may_be_empty=True) for name in ("write", "read")),
            )
        )

    async def do_clear_topic_permissions(self, arguments: Arguments) -> None:
        exchange = arguments.get("exchange")
        await self._administration.clear_topic_permissions(
            text_of(arguments, "user"), text_of(arguments, "vhost"), None if exchange is None else str(exchange)
        )

    # Policies and parameters

    async def do_list_policies(self, arguments: Arguments) -> Any:
        """What applies to queues and exchanges whose names match."""
        return self._policies(is_operator=False)

    async def do_list_operator_policies(self, arguments: Arguments) -> Any:
        """What no other policy can loosen."""
        return self._policies(is_operator=True)

    def _policies(self, *, is_operator: bool) -> list[dict[str, Any]]:
        records = [each for each in self._administration.policies if each.is_operator is is_operator]
        return [told_policy(record) for record in records]

    async def do_set_policy(self, arguments: Arguments) -> None:
        await self._set_policy(arguments, is_operator=False)

    async def do_set_operator_policy(self, arguments: Arguments) -> None:
        await self._set_policy(arguments, is_operator=True)

    async def _set_policy(self, arguments: Arguments, *, is_operator: bool) -> None:
        vhost, name = text_of(arguments, "vhost"), text_of(arguments, "name")
        await self._administration.put_policy(policy_of(vhost, name, arguments, is_operator=is_operator))

    async def do_clear_policy(self, arguments: Arguments) -> None:
        key = PolicyKey(text_of(arguments, "vhost"), text_of(arguments, "name"))
        await self._administration.clear_policy(key)

    async def do_clear_operator_policy(self, arguments: Arguments) -> None:
        key = PolicyKey(text_of(arguments, "vhost"), text_of(arguments, "name"), True)
        await self._administration.clear_policy(key)

    async def do_list_global_parameters(self, arguments: Arguments) -> Any:
        """Parameters of the whole cluster."""
        return [{"name": each.name, "value": json.loads(each.value)} for each in self._administration.global_parameters]

    async def do_set_global_parameter(self, arguments: Arguments) -> None:
        record = GlobalParameterRecord(text_of(arguments, "name"), to_json(arguments.get("value")))
        await self._administration.put_global_parameter(record)

    async def do_clear_global_parameter(self, arguments: Arguments) -> None:
        await self._administration.clear_global_parameter(text_of(arguments, "name"))

    # Queues

    async def do_list_queues(self, arguments: Arguments) -> Any:
        """The queues of a virtual host, or of all, with what policies make of them."""
        wanted = arguments.get("vhost")
        vhosts = [each for each in self._administration.live_vhosts if wanted in (None, each.name)]
        if wanted is not None and not vhosts:
            raise AdministrationError(f"there is no virtual host '{wanted}'")
        return [told_queue(vhost, queue) for vhost in vhosts for _, queue in sorted(vhost.queues.items())]


def text_of(arguments: Arguments, name: str, *, may_be_empty: bool = False) -> str:
    """Return an argument that is a text; raise `AdministrationError` when it is missing."""
    value = arguments.get(name)
    if not isinstance(value, str) or not (value or may_be_empty):
        raise AdministrationError(f"the argument '{name}' is missing")
    return value


def number_of(arguments: Arguments, name: str, default: int) -> int:
    """Return an argument that is a number, `default` when it is missing."""
    value = arguments.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise AdministrationError(f"the argument '{name}' is a number")
    return value


def _limits(arguments: Arguments, *names: str) -> dict[str, int]:
    limits = {name: arguments[name] for name in names if arguments.get(name) is not None}
    if any(not isinstance(limit, int) or isinstance(limit, bool) for limit in limits.values()):
        raise AdministrationError("a limit is a number")
    return limits
