"""What an administrator changes in WSO2's tables, on each kind of database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from broker.errors import AdministrationError
from broker.ports.user_database import StoreRules
from broker.store.carbon import user_changes as changes
from broker.store.carbon.administrator import NewPassword
from broker.store.carbon.connections import connections_to
from broker.store.carbon.users import load_accounts
from tests.support.carbon_database import SALT, Carbon, People, empty_carbon, stored

RULES = StoreRules(case_insensitive_user_name=True)
QUEUE = "event/queues/jms/orders"


@pytest.fixture(params=["sqlite", "mariadb-latin1", "postgresql"])
def carbon(request: pytest.FixtureRequest, tmp_path: Path) -> Carbon:
    kind = request.param.partition("-")[0]
    made = empty_carbon(request.param, None if kind == "sqlite" else request.getfixturevalue(kind), tmp_path)
    made.run(str(People().user("admin", "opensesame", "admin").role("Internal/everyone")))
    return made


async def test_users_and_roles_come_change_and_go_and_leave_nothing_behind(carbon: Carbon) -> None:
    connections = connections_to(carbon.datasource)
    await connections.open()

    async def do(function: Callable[..., Any], **arguments: Any) -> Any:
        return await connections.run(partial(function, **arguments))

    def read(connection: Connection) -> Any:
        return load_accounts(connection, ["Müller"], RULES)["Müller"]

    password = NewPassword(stored("first-1"), SALT)
    await do(changes.add_user, name="Müller", password=password, rules=RULES)
    with pytest.raises(AdministrationError):
        await do(changes.add_user, name="müller", password=password, rules=RULES)
    for role in ("sales", "Internal/x"):
        await do(changes.add_role, role=role)
        with pytest.raises(AdministrationError):
            await do(changes.add_role, role=role)
        for _ in range(2):
            await do(changes.join, user="müller", role=role, rules=RULES)
        await do(changes.permit, role=role, resource=QUEUE, action="consume")
    account = await connections.run(read)
    assert account.roles == {"Internal/everyone", "sales", "Internal/x"}
    assert {(each.role, each.resource, each.is_allowed) for each in account.statements} == {
        ("sales", QUEUE, True),
        ("Internal/x", QUEUE, True),
    }
    assert [role for role in await do(changes.list_roles) if role["may"]] == [
        {"name": "Internal/x", "may": [f"consume {QUEUE}"]},
        {"name": "sales", "may": [f"consume {QUEUE}"]},
    ]
    assert [user["name"] for user in await do(changes.list_users, rules=RULES)] in (
        ["Müller", "admin"],
        ["admin", "Müller"],
    )
    await do(changes.change_password, name="müller", password=NewPassword(stored("second-2"), SALT), rules=RULES)
    await do(changes.leave, user="müller", role="Internal/x", rules=RULES)
    await do(changes.take_back, role="sales", resource=QUEUE, action="consume")
    account = await connections.run(read)
    assert (account.password, account.statements) == (stored("second-2"), frozenset())
    await do(changes.delete_role, role="Internal/x")
    await do(changes.delete_user, name="MÜLLER", rules=RULES)
    await do(changes.delete_role, role="sales")
    await connections.close()
    counts = {
        table: carbon.rows(f"SELECT count(*) FROM {table}")[0][0]
        for table in ("UM_USER", "UM_ROLE", "UM_USER_ROLE", "UM_HYBRID_ROLE", "UM_HYBRID_USER_ROLE")
    }
    assert counts == dict.fromkeys(("UM_USER", "UM_ROLE", "UM_USER_ROLE", "UM_HYBRID_ROLE"), "1") | {
        "UM_HYBRID_USER_ROLE": "0"
    }
    assert carbon.rows("SELECT count(*) FROM UM_ROLE_PERMISSION") == [("0",)]
