"""The commands of an administrator where users are in a database of WSO2's (ADR 52).

They replace those of the same name. What concerns this broker alone, such as limits and permissions in other virtual
hosts, is kept in records under the user's name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from broker.auth.carbon.access import VHOST
from broker.auth.carbon.names import CHANGE, CONSUME, EXECUTE, PUBLISH, SUBSCRIBE, SYSTEM_USERS, Login
from broker.auth.carbon.rules import LoginRules
from broker.broker import Broker
from broker.config.java_expression import whole_match
from broker.errors import AdministrationError
from broker.node.carbon_users import CarbonUserStore
from broker.ports.records import UserRecord
from broker.store.carbon import user_changes as changes
from broker.topology.administration import Administration
from broker.topology.commands import Arguments, Commands, text_of

_ACTIONS: Final = (EXECUTE, CONSUME, PUBLISH, SUBSCRIBE, CHANGE)
_OF_RECORDS: Final = {
    "set_user_tags": "name",
    "set_user_limits": "name",
    "set_permissions": "user",
    "set_topic_permissions": "user",
    "clear_permissions": "user",
    "clear_topic_permissions": "user",
}
"""Commands that change records of a user, with the argument that has its name."""

Command = Callable[[Arguments], Awaitable[Any]]


class CarbonCommands:
    """The commands towards a database of users."""

    def __init__(
        self, users: CarbonUserStore, administration: Administration, commands: Commands, broker: Broker
    ) -> None:
        self._users = users
        self._administration = administration
        self._commands = commands
        self._broker = broker
        self._login_rules = LoginRules(users.rules)
        self._is_role_name = whole_match(users.rules.role_name_expression)

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Return every command, those that are not about users as they are."""
        own: dict[str, Command] = {
            name.removeprefix("do_"): getattr(self, name) for name in dir(type(self)) if name.startswith("do_")
        }
        of_records = {name: partial(self._on_record, name) for name in _OF_RECORDS}
        return {**self._commands.by_name, **of_records, **own}

    async def _on_record(self, command: str, arguments: Arguments) -> Any:
        """Change what this broker keeps of a user that the database has."""
        user = text_of(arguments, _OF_RECORDS[command])
        if arguments.get("vhost") == VHOST:
            raise AdministrationError(
                f"in virtual host '{VHOST}' the roles of the user database decide: use permit-role and join-role"
            )
        if user not in await self._users.tables.look_up([user]):
            raise AdministrationError(f"there is no user '{user}'")
        await self._administration.add_user(UserRecord(user))
        return await self._commands.by_name[command](arguments)

    # Users

    async def do_list_users(self, arguments: Arguments) -> Any:
        """Name and roles of each user; never a hash."""
        return await self._users.tables.run(partial(changes.list_users, rules=self._users.rules))

    async def do_add_user(self, arguments: Arguments) -> None:
        name, password = self._credentials(arguments)
        await self._write(partial(changes.add_user, name=name, password=password, rules=self._users.rules))
        self._users.accounts.forget(name)

    async def do_change_password(self, arguments: Arguments) -> None:
        name, password = self._credentials(arguments)
        await self._write(partial(changes.change_password, name=name, password=password, rules=self._users.rules))
        await self._look_again()

    async def do_delete_user(self, arguments: Arguments) -> None:
        name, rules = text_of(arguments, "name"), self._users.rules
        if rules.key(name) == rules.key(rules.admin_user):
            raise AdministrationError(f"'{name}' is the administrator of user-mgt.xml, who is not deleted")
        await self._write(partial(changes.delete_user, name=name, rules=rules))
        if self._administration.directory.user(name) is not None:
            await self._administration.delete_user(name)
        await self._look_again()

    def _credentials(self, arguments: Arguments) -> tuple[str, Any]:
        name = text_of(arguments, "name")
        password = self._users.rules.password_of(text_of(arguments, "password"))
        if "/" in name or name.lower() in SYSTEM_USERS:
            raise AdministrationError(f"there can be no user '{name}'")
        if what_is_wrong := self._login_rules.what_is_wrong(Login(name), password):
            raise AdministrationError(what_is_wrong)
        return name, self._users.new_password(password)

    # Roles

    async def do_list_roles(self, arguments: Arguments) -> Any:
        """Name of each role, with what it may do."""
        return await self._users.tables.run(changes.list_roles)

    async def do_add_role(self, arguments: Arguments) -> None:
        role = text_of(arguments, "role")
        _, slash, name = role.partition("/")
        if not slash and not self._is_role_name(role):
            raise AdministrationError("the name does not match RolenameJavaRegEx")
        if slash and (not name or "/" in name):
            raise AdministrationError(f"there can be no role '{role}'")
        if not slash and not self._users.rules.write_groups:
            raise AdministrationError("user-mgt.xml says WriteGroups false: only roles like Internal/NAME can be made")
        await self._write(partial(changes.add_role, role=role))

    async def do_delete_role(self, arguments: Arguments) -> None:
        role, rules = text_of(arguments, "role"), self._users.rules
        if role in {*rules.admin_roles, f"Internal/{rules.everyone_role}"}:
            raise AdministrationError(f"'{role}' is named in user-mgt.xml and is not deleted")
        await self._write(partial(changes.delete_role, role=role))
        await self._look_again()

    async def do_join_role(self, arguments: Arguments) -> None:
        user, role = text_of(arguments, "user"), text_of(arguments, "role")
        await self._write(partial(changes.join, user=user, role=role, rules=self._users.rules))
        await self._look_again()

    async def do_leave_role(self, arguments: Arguments) -> None:
        user, role = text_of(arguments, "user"), text_of(arguments, "role")
        await self._write(partial(changes.leave, user=user, role=role, rules=self._users.rules))
        await self._look_again()

    async def do_permit_role(self, arguments: Arguments) -> None:
        role, resource, action = self._permission(arguments)
        await self._write(partial(changes.permit, role=role, resource=resource, action=action))
        await self._look_again()

    async def do_clear_role_permission(self, arguments: Arguments) -> None:
        role, resource, action = self._permission(arguments)
        await self._write(partial(changes.take_back, role=role, resource=resource, action=action))
        await self._look_again()

    def _permission(self, arguments: Arguments) -> tuple[str, str, str]:
        role, resource, action = (text_of(arguments, name) for name in ("role", "resource", "action"))
        if action not in _ACTIONS:
            raise AdministrationError(f"there is no action '{action}': there are {', '.join(_ACTIONS)}")
        if len(resource) > 255 or "//" in resource:
            raise AdministrationError("a resource has 255 characters at most, and no empty part")
        return role, resource, action

    # The database

    async def _write(self, change: Callable[[Connection], None]) -> None:
        if self._users.rules.read_only:
            raise AdministrationError("user-mgt.xml says that the user database is read only (ReadOnly)")
        await self._users.tables.run(change)

    async def _look_again(self) -> None:
        """Let the change count here at once; other nodes look again when `userCacheSeconds` are over."""
        self._users.accounts.expire()
        await self._users.refresh(self._broker)
