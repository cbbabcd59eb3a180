"""What an administrator changes in a user database of WSO2's, and what of it counts at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.config.loading import load
from broker.errors import AdministrationError
from broker.node.carbon import CarbonDatabases
from broker.node.logins import USERS_ELSEWHERE
from broker.ports.records import PermissionRecord, Put, UserRecord, VirtualHostRecord
from broker.store.memory.store import MemoryStore
from broker.topology.administration import Administration
from broker.topology.commands import ROLE_COMMANDS, Commands
from tests.support.carbon_database import People, SqliteCarbon
from tests.support.composition import NodeParts
from tests.support.stage import drive
from tests.unit.config.test_user_store_judging import files

USERS = """<UserManager><Realm><Configuration><AddAdmin>{add}</AddAdmin>
<AdminUser><UserName>admin</UserName><Password>opensesame</Password></AdminUser></Configuration></Realm></UserManager>"""


class Admin:
    """The commands of a node whose users are in a file of SQLite."""

    def __init__(self, folder: Path, carbon: SqliteCarbon, *, read_only: bool = False) -> None:
        for name, text in files(carbon.url).items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(USERS.format(add="true") if name == "user-mgt.xml" else text)
        self.databases = CarbonDatabases(load(folder, {}).config)
        users = self.databases.users
        assert users is not None
        self.users = users
        users.rules = replace(users.rules, read_only=read_only)
        store = MemoryStore()
        drive(store.open())
        parts = NodeParts(store, tasks=None)
        for vhost in ("/", "carbon"):
            parts.live.apply(Put(VirtualHostRecord(vhost)))
        self.databases.attach(parts.broker.vhosts.get, parts.broker)
        self.administration = Administration(parts.live, parts.recorder, users_elsewhere=USERS_ELSEWHERE)
        self.live = parts.live
        commands = self.databases.commands(
            self.administration, Commands(self.administration, self._no_hash, version="0")
        )
        assert commands is not None
        self._commands = commands

    async def _no_hash(self, password: str) -> str:
        raise AssertionError("no password is hashed in our form")

    async def __call__(self, command: str, **arguments: Any) -> Any:
        return await self._commands[command](arguments)

    async def account(self, name: str) -> Any:
        return (await self.users.tables.look_up([name])).get(name)


@pytest.fixture
def carbon(tmp_path: Path) -> SqliteCarbon:
    made = SqliteCarbon(tmp_path)
    made.run(str(People().user("admin", "opensesame", "admin").role("Internal/everyone")))
    return made


@pytest.fixture
async def admin(tmp_path: Path, carbon: SqliteCarbon) -> AsyncIterator[Admin]:
    made = Admin(tmp_path / "conf", carbon)
    await made.databases.open()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(made.users.serve())
        yield made
        serving.cancel()
    await made.databases.close()


@pytest.fixture(autouse=True)
def conf(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "broker.xml").write_text("<broker/>")


async def test_users_come_change_and_go(admin: Admin, carbon: SqliteCarbon) -> None:
    await admin("add_user", name="alice", password="alice-1")
    with pytest.raises(AdministrationError, match="there is a user 'alice' already"):
        await admin("add_user", name="alice", password="alice-2")
    first = await admin.account("alice")
    assert len(first.salt) == 24
    await admin("change_password", name="alice", password="alice-2")
    assert (await admin.account("alice")).password != first.password
    await admin("add_role", role="sales")
    await admin("join_role", user="alice", role="sales")
    await admin("join_role", user="alice", role="sales")
    assert await admin("list_users") == [
        {"name": "admin", "roles": ["Internal/everyone", "admin"]},
        {"name": "alice", "roles": ["Internal/everyone", "sales"]},
    ]
    carbon.run(
        "INSERT INTO UM_USER_ATTRIBUTE (UM_ATTR_NAME, UM_USER_ID, UM_TENANT_ID)"
        " SELECT 'mail', UM_ID, UM_TENANT_ID FROM UM_USER WHERE UM_USER_NAME = 'alice';"
    )
    await admin("delete_user", name="alice")
    assert await admin.account("alice") is None
    assert carbon.rows("SELECT count(*) FROM UM_USER_ROLE") == [("1",)]
    for command in ("delete_user", "change_password"):
        with pytest.raises(AdministrationError, match="there is no user 'alice'"):
            await admin(command, name="alice", password="alice-1")


async def test_a_user_that_comes_later_inherits_nothing(admin: Admin) -> None:
    for _ in range(2):
        await admin("add_user", name="alice", password="alice-1")
        assert (await admin.account("alice")).roles == {"Internal/everyone"}
        await admin("add_role", role="Internal/x")
        await admin("join_role", user="alice", role="Internal/x")
        assert (await admin.account("alice")).roles == {"Internal/everyone", "Internal/x"}
        await admin("delete_user", name="alice")
        await admin("delete_role", role="Internal/x")


async def test_roles_may_do_what_is_permitted_to_them(admin: Admin) -> None:
    await admin("add_user", name="alice", password="alice-1")
    await admin("add_role", role="Internal/Q_orders")
    await admin("join_role", user="alice", role="Internal/Q_orders")
    await admin("permit_role", role="Internal/Q_orders", resource="event/queues/jms/orders", action="consume")
    await admin("permit_role", role="admin", resource="/permission", action="ui.execute")
    assert await admin("list_roles") == [
        {"name": "Internal/Q_orders", "may": ["consume event/queues/jms/orders"]},
        {"name": "Internal/everyone", "may": []},
        {"name": "admin", "may": ["ui.execute /permission"]},
    ]
    await admin("clear_role_permission", role="admin", resource="/permission", action="ui.execute")
    await admin("leave_role", user="alice", role="Internal/Q_orders")
    assert (await admin.account("alice")).roles == {"Internal/everyone"}
    await admin("delete_role", role="Internal/Q_orders")
    assert [role["name"] for role in await admin("list_roles")] == ["Internal/everyone", "admin"]


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("add_user", {"name": "al", "password": "alice-1"}, "UsernameJavaRegEx"),
        ("add_user", {"name": "alice", "password": "four"}, "PasswordJavaRegEx"),
        ("add_user", {"name": "x/alice", "password": "alice-1"}, "there can be no user"),
        ("delete_user", {"name": "Admin"}, "the administrator of user-mgt.xml"),
        ("add_role", {"role": "ab"}, "RolenameJavaRegEx"),
        ("add_role", {"role": "Internal/"}, "there can be no role"),
        ("add_role", {"role": "LDAP/x"}, "there is no user store 'LDAP'"),
        ("add_role", {"role": "admin"}, "there is a role 'admin' already"),
        ("delete_role", {"role": "admin"}, "named in user-mgt.xml"),
        ("delete_role", {"role": "Internal/everyone"}, "named in user-mgt.xml"),
        ("join_role", {"user": "nobody", "role": "admin"}, "there is no user 'nobody'"),
        ("join_role", {"user": "admin", "role": "none"}, "there is no role 'none'"),
        ("permit_role", {"role": "admin", "resource": "a", "action": "fly"}, "there is no action 'fly'"),
        ("permit_role", {"role": "admin", "resource": "a//b", "action": "consume"}, "no empty part"),
        ("set_user_limits", {"name": "nobody", "max_channels": 1}, "there is no user 'nobody'"),
        (
            "set_permissions",
            {"user": "admin", "vhost": "carbon", "configure": "", "write": "", "read": ""},
            "in virtual host 'carbon' the roles of the user database decide",
        ),
    ],
)
async def test_what_cannot_be_is_refused_and_says_why(
    admin: Admin, carbon: SqliteCarbon, command: str, arguments: dict[str, Any], told: str
) -> None:
    before = carbon.dump()
    with pytest.raises(AdministrationError, match=told):
        await admin(command, **arguments)
    assert carbon.dump() == before


async def test_what_concerns_this_broker_alone_is_kept_in_records(admin: Admin) -> None:
    await admin("set_permissions", user="admin", vhost="/", configure="", write=".*", read="")
    await admin("set_user_limits", name="admin", max_channels=3)
    assert admin.live.directory.permission("admin", "/") == PermissionRecord("admin", "/", "", ".*", "")
    assert admin.live.directory.user("admin") == UserRecord("admin", max_channels=3)
    with pytest.raises(AdministrationError, match=r"users are kept in the database that user-mgt\.xml names"):
        await admin.administration.put_user(UserRecord("ann", "$none$"))


async def test_nothing_is_written_where_the_file_says_read_only(tmp_path: Path, carbon: SqliteCarbon) -> None:
    admin = Admin(tmp_path / "conf", carbon, read_only=True)
    before = carbon.dump()
    await admin.databases.open()
    for command, arguments in (
        ("add_user", {"name": "alice", "password": "alice-1"}),
        ("add_role", {"role": "Internal/x"}),
        ("permit_role", {"role": "admin", "resource": "a", "action": "consume"}),
    ):
        with pytest.raises(AdministrationError, match="read only"):
            await admin(command, **arguments)
    await admin.databases.close()
    assert carbon.dump() == before


async def test_without_a_user_database_there_are_no_roles() -> None:
    commands = Commands(Administration(None, None), None, "0").by_name  # type: ignore[arg-type]
    for name in ROLE_COMMANDS:
        with pytest.raises(AdministrationError, match=r"there are no roles: user-mgt\.xml names no user database"):
            await commands[name]({})
