"""The scripts for users and registry: up to date, and what they make can be used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from broker.store.carbon import schema
from broker.store.carbon.administrator import NewPassword, add_administrator
from broker.store.carbon.grants import NewRole, add_role
from tests.contract.test_carbon_tables import RULES, SALT, log_in, opened, people, users_of
from tests.support.carbon_database import Carbon, ServerCarbon, SqliteCarbon, stored, tables

SCRIPTS = Path(__file__).parents[2] / "dbscripts"
DIALECTS = {"sqlite": "sqlite", "mariadb": "mysql", "postgresql": "postgresql"}


@pytest.mark.parametrize("dialect", schema.DIALECTS)
def test_the_script_is_up_to_date(dialect: str, capsys: pytest.CaptureFixture[str]) -> None:
    schema.main(["--dialect", dialect])
    assert capsys.readouterr().out == (SCRIPTS / f"{dialect}.sql").read_text()


@pytest.fixture(params=["sqlite", "mariadb", "mariadb-latin1", "mariadb-utf8mb4", "postgresql"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Carbon]:
    """A database made by the script of its kind."""
    kind, _, charset = request.param.partition("-")
    script = (SCRIPTS / f"{DIALECTS[kind]}.sql").read_text()
    if kind == "sqlite":
        database: Carbon = SqliteCarbon(tmp_path, script)
    else:
        database = ServerCarbon(request.getfixturevalue(kind), charset or None, script)
    yield database
    database.close()


async def test_what_the_script_makes_holds_users(made: Carbon) -> None:
    made.run(str(people()))
    async with opened(made) as found:
        await found.check()
        users = users_of(found)
        assert await log_in(users, "alice", "alice-1") == "alice"
        account = (await found.load(["alice"]))["alice"]
    assert account.salt == SALT
    assert account.roles == {"sales", "Internal/Q_shop-orders", "Internal/everyone"}


async def test_a_first_start_makes_the_administrator_there_and_creators_get_their_roles(made: Carbon) -> None:
    password = NewPassword(stored("opensesame"), SALT)
    role = NewRole("Q_orders", "admin", ["event/queues/jms/orders"], ["consume"])
    async with opened(made) as found:
        await found.run(partial(add_administrator, rules=RULES, password=password))
        assert await log_in(users_of(found), "admin", "opensesame") == "admin"
        assert await found.run(partial(add_role, made=role, rules=RULES))
        account = (await found.load(["admin"]))["admin"]
    assert account.roles == {"admin", "Internal/everyone", "Internal/Q_orders"}
    assert [each.resource for each in account.statements] == role.resources
    domains = made.rows("SELECT UM_DOMAIN_NAME FROM UM_DOMAIN ORDER BY UM_DOMAIN_ID")
    assert [name for (name,) in domains] == ["PRIMARY", "SYSTEM", "INTERNAL", "APPLICATION", "WORKFLOW"]


@pytest.mark.parametrize("kind", DIALECTS)
def test_its_columns_are_those_of_a_script_of_wso2_in_their_order(kind: str) -> None:
    """Carbon reads some of them by their place."""

    def columns(script: str) -> dict[str, list[str]]:
        found = {}
        for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\)[^()]*;", script + "\n", re.DOTALL):
            found[name] = re.findall(r"(?:^|, |\n\s*)((?:UM|REG)_\w+) (?!REFERENCES)", body.partition("PRIMARY")[0])
        return found

    ours, theirs = columns((SCRIPTS / f"{DIALECTS[kind]}.sql").read_text()), columns(tables(kind))
    for name in theirs.keys() & ours.keys():
        assert ours[name][: len(theirs[name])] == theirs[name], name
    assert theirs.keys() - ours.keys() == {"UM_USER_ATTRIBUTE"}
