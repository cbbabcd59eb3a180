"""Users of a database that WSO2's products have made: read as they are, and nothing changed that was not asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from broker.auth.carbon.accounts import Accounts
from broker.auth.carbon.grants import Grants
from broker.auth.carbon.login import CarbonUsers
from broker.auth.identity import Identity
from broker.errors import ConfigError, ConnectionForced, StoreUnavailable
from broker.ports.user_database import Account, Statement, StoreRules
from broker.store.carbon.administrator import NewPassword, add_administrator, has_started_before
from broker.store.carbon.connections import connections_to
from broker.store.carbon.database import UserTables
from tests.support.carbon_database import SALT, Carbon, People, SqliteCarbon, empty_carbon, stored
from tests.support.clock import FakeClock
from tests.support.logins import InlineHashing, new_passwords

RULES = StoreRules(
    user_name_expression=r"^[\S]{3,30}$", password_expression=r"^[\S]{5,30}$", case_insensitive_user_name=True
)
QUEUE = "event/queues/jms/shop.orders"


def people() -> People:
    return (
        People()
        .user("admin", "opensesame", "admin")
        .user("alice", "alice-1", "sales", "Internal/Q_shop-orders")
        .user("Grüße", "Grüße-42")
        .user("bob@mail.com", "bob-12345")
        .user("al", "short-name")
        .user("carol", "carol-1", require_change="TRUE")
        .user("wso2.anonymous.user", "anonymous")
        .role("Internal/everyone")
        .permit("admin", "/permission", "ui.execute")
        .permit("sales", "event/topics/sport", "subscribe")
        .permit("Internal/Q_shop-orders", QUEUE, "consume", "publish", "changePermission")
        .permit("Internal/Q_shop-orders", "event/queues/jms/other", "consume", allowed=0)
        .permit("Internal/everyone", "/", "http://www.wso2.org/projects/registry/actions/get")
        .permit_user("ALICE", "event/queues/jms/mine", "publish")
    )


ALL = ["sqlite", "mariadb", "mariadb-latin1", "postgresql"]


@pytest.fixture(params=["sqlite", "mariadb-latin1", "postgresql"])
def carbon(request: pytest.FixtureRequest, tmp_path: Path) -> Carbon:
    kind = request.param.partition("-")[0]
    made = empty_carbon(request.param, None if kind == "sqlite" else request.getfixturevalue(kind), tmp_path)
    return made


@asynccontextmanager
async def opened(carbon: Carbon, rules: StoreRules = RULES) -> AsyncIterator[UserTables]:
    connections = connections_to(carbon.datasource)
    await connections.open()
    tables = UserTables(connections, rules)
    async with asyncio.TaskGroup() as tasks:
        with suppress(ConfigError):
            await tables.check()
        serving = tasks.create_task(tables.serve())
        yield tables
        serving.cancel()
    await connections.close()


async def log_in(users: CarbonUsers, name: str, password: str) -> str | None:
    answer = users.log_in(name, password, address="192.0.2.7", is_loopback=False)
    result = await answer if asyncio.iscoroutine(answer) else answer
    return result.user if isinstance(result, Identity) else None


def users_of(tables: UserTables, rules: StoreRules = RULES) -> CarbonUsers:
    clock = FakeClock()
    accounts = Accounts(tables, rules, clock.monotonic, 60.0)
    return CarbonUsers(accounts, new_passwords(InlineHashing(), clock), rules)


@pytest.mark.parametrize("carbon", ALL, indirect=True)
async def test_users_of_an_existing_database_log_in_and_nothing_in_it_changes(carbon: Carbon) -> None:
    carbon.run(str(people()))
    before = carbon.dump()
    async with opened(carbon) as tables:
        users = users_of(tables)
        answers = {
            (name, password): await log_in(users, name, password)
            for name, password in (
                ("alice", "alice-1"),
                ("ALICE!carbon.super", " alice-1 "),
                ("PRIMARY/alice", "alice-1"),
                ("bob!mail.com!carbon.super", "bob-12345"),
                ("Grüße", "Grüße-42"),
                ("alice", "alice-2"),
                ("nobody", "alice-1"),
                ("日本語", "alice-1"),
                ("al", "short-name"),
                ("carol", "carol-1"),
                ("wso2.anonymous.user", "anonymous"),
                ("alice!other.com", "alice-1"),
                ("LDAP/alice", "alice-1"),
                ("alice", stored("alice-1")),
            )
        }
    assert [answer for answer in answers.values() if answer] == ["alice", "alice", "alice", "bob@mail.com", "Grüße"]
    assert carbon.dump() == before


async def test_roles_of_both_kinds_and_what_they_may_do_are_read(carbon: Carbon) -> None:
    carbon.run(str(people()))
    role = "Internal/Q_shop-orders"
    async with opened(carbon) as tables:
        accounts = await tables.load(["alice", "admin", "nobody"])
        topic_roles = await tables.topic_roles()
    assert set(accounts) == {"alice", "admin"}
    assert topic_roles == []
    assert accounts["alice"] == Account(
        "alice",
        stored("alice-1"),
        SALT,
        roles=frozenset({"sales", role, "Internal/everyone"}),
        statements=frozenset(
            {
                Statement("sales", "event/topics/sport", "subscribe", True),
                Statement(role, QUEUE, "consume", True),
                Statement(role, QUEUE, "publish", True),
                Statement(role, QUEUE, "changePermission", True),
                Statement(role, "event/queues/jms/other", "consume", False),
                Statement("admin", "/permission", "ui.execute", True),
                Statement("", "event/queues/jms/mine", "publish", True),
            }
        ),
    )
    grants = Grants(accounts["alice"].roles, accounts["alice"].statements)
    assert grants.allows("consume", QUEUE)
    assert grants.allows("publish", "event/queues/jms/mine")
    assert not grants.allows("ui.execute", "/permission/admin/manage/queue/add")
    assert accounts["admin"].roles == {"admin", "Internal/everyone"}


async def test_many_logins_at_once_are_few_questions(carbon: Carbon) -> None:
    carbon.run(str(people()))
    async with opened(carbon) as tables:
        found = await asyncio.gather(*(tables.load(["alice"]) for _ in range(50)), tables.load(["日本語"]))
        assert tables.statements <= 4
    assert [each["alice"].name for each in found[:-1]] == ["alice"] * 50
    assert found[-1] == {}


async def test_the_administrator_is_made_where_it_is_missing_and_once(carbon: Carbon) -> None:
    password = NewPassword(stored("opensesame"), SALT)
    async with opened(carbon) as tables:
        assert not await tables.run(has_started_before)
        made = await tables.run(partial(add_administrator, rules=RULES, password=password))
        assert made == ["role 'admin'", "user 'admin'", "role 'Internal/everyone'"]
        before = carbon.dump()
        assert await tables.run(partial(add_administrator, rules=RULES, password=password)) == []
        users = users_of(tables)
        assert await log_in(users, "admin", "opensesame") == "admin"
        account = (await tables.load(["admin"]))["admin"]
    assert account.roles == {"admin", "Internal/everyone"}
    assert carbon.dump() == before


async def test_an_administrator_that_is_there_keeps_the_password(carbon: Carbon) -> None:
    carbon.run(str(people()))
    before = carbon.dump()
    async with opened(carbon) as tables:
        assert await tables.run(partial(add_administrator, rules=RULES, password=NewPassword("other", ""))) == []
    assert carbon.dump() == before


async def test_a_database_without_the_tables_is_refused(tmp_path: Path) -> None:
    carbon = SqliteCarbon(tmp_path)
    carbon.run("DROP TABLE UM_USER_PERMISSION;")
    async with opened(carbon) as tables:
        with pytest.raises(ConfigError, match="has no table UM_USER_PERMISSION: make the tables with dbscripts/"):
            await tables.check()


async def test_groups_that_are_not_read_give_no_roles(carbon: Carbon) -> None:
    carbon.run(str(people()))
    async with opened(carbon, replace(RULES, read_groups=False)) as tables:
        assert (await tables.load(["alice"]))["alice"].roles == {"Internal/Q_shop-orders", "Internal/everyone"}


async def test_while_the_database_is_away_who_is_known_goes_on_and_others_are_told(tmp_path: Path) -> None:
    carbon = SqliteCarbon(tmp_path)
    carbon.run(str(people()))
    async with opened(carbon) as tables:
        users = users_of(tables)
        assert await log_in(users, "alice", "alice-1") == "alice"
        carbon.run("DROP TABLE UM_USER_PERMISSION;")
        assert await log_in(users, "alice", "alice-1") == "alice"
        assert await log_in(users, "alice", "wrong-1") is None
        with pytest.raises(ConnectionForced, match="the user database is away"):
            await log_in(users, "bob@mail.com", "bob-12345")
        with pytest.raises(StoreUnavailable):
            await tables.load(["alice"])
