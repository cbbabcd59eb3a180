"""What is written into WSO2's tables when something comes or goes: the rows of its registry, roles and permissions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from broker.ports.user_database import StoreRules
from broker.store.carbon.connections import Connections, connections_to
from broker.store.carbon.grants import NewRole, add_role, forget_resource, permit_roles
from broker.store.carbon.registry import (
    Collection,
    add_collection,
    can_be_registered,
    load_topics,
    remove_collection,
)
from tests.support.carbon_database import Carbon, People, empty_carbon

RULES = StoreRules(case_insensitive_user_name=True)
TOP = "/_system/governance/event"
QUEUE = "event/queues/jms/shop.orders"
ACTIONS = ("consume", "publish", "changePermission")
SHOP = NewRole("Q_shop-orders", "alice", [QUEUE], ACTIONS)

COLLECTIONS = """SELECT p.REG_PATH_VALUE, r.REG_CREATOR FROM REG_PATH p JOIN REG_RESOURCE r
 ON r.REG_PATH_ID = p.REG_PATH_ID AND r.REG_TENANT_ID = p.REG_TENANT_ID
 WHERE p.REG_TENANT_ID = -1234 AND r.REG_NAME IS NULL ORDER BY 1"""
BY_VERSION = """SELECT q.REG_NAME, q.REG_VALUE FROM REG_PROPERTY q JOIN REG_RESOURCE_PROPERTY l
 ON l.REG_PROPERTY_ID = q.REG_ID JOIN REG_RESOURCE r ON r.REG_VERSION = l.REG_VERSION
 WHERE l.REG_PATH_ID IS NULL AND l.REG_RESOURCE_NAME IS NULL AND l.REG_TENANT_ID = -1234 ORDER BY 1"""
BY_PATH = """SELECT q.REG_NAME, q.REG_VALUE FROM REG_PROPERTY q JOIN REG_RESOURCE_PROPERTY l
 ON l.REG_PROPERTY_ID = q.REG_ID JOIN REG_PATH p ON p.REG_PATH_ID = l.REG_PATH_ID
 WHERE l.REG_VERSION IS NULL AND l.REG_RESOURCE_NAME IS NULL AND l.REG_TENANT_ID = -1234 ORDER BY 1"""
GRANTS = """SELECT p.UM_RESOURCE_ID, p.UM_ACTION, g.UM_ROLE_NAME, g.UM_IS_ALLOWED, d.UM_DOMAIN_NAME
 FROM UM_ROLE_PERMISSION g JOIN UM_PERMISSION p ON p.UM_ID = g.UM_PERMISSION_ID AND p.UM_TENANT_ID = g.UM_TENANT_ID
 JOIN UM_DOMAIN d ON d.UM_DOMAIN_ID = g.UM_DOMAIN_ID AND d.UM_TENANT_ID = g.UM_TENANT_ID
 WHERE g.UM_TENANT_ID = -1234 ORDER BY 1, 2, 3"""
MEMBERS = """SELECT r.UM_ROLE_NAME, m.UM_USER_NAME, d.UM_DOMAIN_NAME FROM UM_HYBRID_ROLE r
 LEFT JOIN UM_HYBRID_USER_ROLE m ON m.UM_ROLE_ID = r.UM_ID LEFT JOIN UM_DOMAIN d ON d.UM_DOMAIN_ID = m.UM_DOMAIN_ID
 ORDER BY 1, 2"""


@pytest.fixture(params=["sqlite", "mariadb-latin1", "postgresql"])
def carbon(request: pytest.FixtureRequest, tmp_path: Path) -> Carbon:
    kind = request.param.partition("-")[0]
    made = empty_carbon(request.param, None if kind == "sqlite" else request.getfixturevalue(kind), tmp_path)
    return made


@pytest.fixture
async def opened(carbon: Carbon) -> AsyncIterator[Connections]:
    connections = connections_to(carbon.datasource)
    await connections.open()
    yield connections
    await connections.close()


@pytest.mark.parametrize("versioned", [True, False])
async def test_a_collection_is_there_with_those_above_it(carbon: Carbon, opened: Connections, versioned: bool) -> None:
    made = Collection(f"{TOP}/queues/jms/shop.orders", {"Owner": "alice", "userCount": "1"})
    await opened.run(partial(add_collection, made=made, versioned=versioned))
    paths = ["/", "/_system", "/_system/governance", TOP, f"{TOP}/queues", f"{TOP}/queues/jms", made.path]
    assert carbon.rows(COLLECTIONS) == [(path, "wso2.system.user") for path in paths]
    assert carbon.rows(BY_VERSION) == ([("Owner", "alice"), ("userCount", "1")] if versioned else [])
    assert carbon.rows(BY_PATH) == ([] if versioned else [("Owner", "alice"), ("userCount", "1")])
    parents = carbon.rows(
        "SELECT c.REG_PATH_VALUE, p.REG_PATH_VALUE FROM REG_PATH c LEFT JOIN REG_PATH p"
        " ON p.REG_PATH_ID = c.REG_PATH_PARENT_ID ORDER BY c.REG_PATH_ID"
    )
    assert parents == [(path, parent) for path, parent in zip(paths, ["", *paths], strict=False)]
    assert carbon.rows("SELECT count(*) FROM REG_LOG WHERE REG_ACTION = 0") == [("7",)]


@pytest.mark.parametrize("versioned", [True, False])
async def test_it_goes_with_the_last_of_its_users_and_its_path_stays(
    carbon: Carbon, opened: Connections, versioned: bool
) -> None:
    made = Collection(f"{TOP}/queues/jms/q_1", {"Owner": "alice", "userCount": "1"})
    other = Collection(f"{TOP}/queues/jms/qx1/below", {})
    for each in (made, made, other):
        await opened.run(partial(add_collection, made=each, versioned=versioned))
    remove = partial(remove_collection, path=made.path, versioned=versioned, counted=True)
    assert not await opened.run(remove)
    assert await opened.run(remove)
    assert await opened.run(remove)
    left = {path for path, _ in carbon.rows(COLLECTIONS)}
    assert made.path not in left
    assert other.path in left
    assert carbon.rows("SELECT count(*) FROM REG_PROPERTY") == [("0",)]
    assert carbon.rows("SELECT count(*) FROM REG_RESOURCE_PROPERTY") == [("0",)]
    path_id = carbon.rows(f"SELECT REG_PATH_ID FROM REG_PATH WHERE REG_PATH_VALUE = '{made.path}'")
    await opened.run(partial(add_collection, made=made, versioned=versioned))
    assert carbon.rows(f"SELECT REG_PATH_ID FROM REG_PATH WHERE REG_PATH_VALUE = '{made.path}'") == path_id
    assert carbon.rows("SELECT count(*) FROM REG_LOG WHERE REG_ACTION = 7") == [("1",)]


async def test_a_collection_goes_with_everything_below_it(carbon: Carbon, opened: Connections) -> None:
    topic = f"{TOP}/topics/sport"
    for path in (f"{topic}/cricket", f"{topic}/jms.subscriptions/s1"):
        await opened.run(partial(add_collection, made=Collection(path, {"Name": "x"}), versioned=False))
    assert await opened.run(partial(load_topics, top=f"{TOP}/topics")) == [topic, f"{topic}/cricket"]
    assert await opened.run(partial(remove_collection, path=topic, versioned=False, counted=False))
    assert await opened.run(partial(load_topics, top=f"{TOP}/topics")) == []
    assert carbon.rows(COLLECTIONS)[-1][0] == f"{TOP}/topics"


async def test_a_creator_gets_a_role_with_all_rights(carbon: Carbon, opened: Connections) -> None:
    carbon.run(str(People().user("alice", "alice-1").user("bob", "bob-1")))
    for _ in range(2):  # an answer may be lost
        assert await opened.run(partial(add_role, made=SHOP, rules=RULES))
    assert carbon.rows(MEMBERS) == [("Q_shop-orders", "alice", "PRIMARY")]
    assert carbon.rows(GRANTS) == [(QUEUE, action, "Q_shop-orders", "1", "INTERNAL") for action in sorted(ACTIONS)]


async def test_nodes_that_write_at_the_same_time_make_nothing_twice(carbon: Carbon, opened: Connections) -> None:
    carbon.run(str(People().user("alice", "alice-1")))
    made = Collection(f"{TOP}/queues/jms/shop.orders", {"userCount": "1"})
    results = await asyncio.gather(
        *(opened.run(partial(add_role, made=SHOP, rules=RULES)) for _ in range(4)),
        *(opened.run(partial(add_collection, made=made, versioned=False)) for _ in range(4)),
    )
    assert results == [True] * 4 + [None] * 4
    assert carbon.rows(MEMBERS) == [("Q_shop-orders", "alice", "PRIMARY")]
    assert len(carbon.rows(GRANTS)) == 3
    assert carbon.rows(COLLECTIONS)[-1][0] == made.path
    assert carbon.rows("SELECT count(*), count(DISTINCT REG_PATH_VALUE) FROM REG_PATH") == [("7", "7")]
    assert carbon.rows(BY_PATH) == [("userCount", "4")]


async def test_two_queues_whose_role_has_one_name_do_not_share_it(carbon: Carbon, opened: Connections) -> None:
    carbon.run(str(People().user("alice", "alice-1").user("bob", "bob-1")))
    await opened.run(partial(add_role, made=SHOP, rules=RULES))
    before = carbon.rows(GRANTS)
    for member in ("bob", "alice"):
        other = NewRole("Q_shop-orders", member, ["event/queues/jms/shop-orders"], ACTIONS)
        assert not await opened.run(partial(add_role, made=other, rules=RULES))
    assert carbon.rows(GRANTS) == before
    await opened.run(partial(forget_resource, resource="event/queues/jms/shop-orders", role="Q_shop-orders"))
    assert carbon.rows(MEMBERS) == [("Q_shop-orders", "alice", "PRIMARY")]


async def test_nobody_has_rights_in_a_queue_that_is_gone(carbon: Carbon, opened: Connections) -> None:
    people = People().user("alice", "alice-1", "sales").permit("sales", QUEUE, "consume")
    carbon.run(str(people.permit("sales", "event/queues/jms/other", "consume").permit_user("alice", QUEUE, "publish")))
    await opened.run(partial(add_role, made=SHOP, rules=RULES))
    await opened.run(partial(forget_resource, resource=QUEUE, role="Q_shop-orders"))
    assert carbon.rows(MEMBERS) == []
    assert carbon.rows(GRANTS) == [("event/queues/jms/other", "consume", "sales", "1", "PRIMARY")]
    assert carbon.rows("SELECT count(*) FROM UM_USER_PERMISSION") == [("0",)]
    assert carbon.rows(f"SELECT count(*) FROM UM_PERMISSION WHERE UM_RESOURCE_ID = '{QUEUE}'") == [("3",)]


async def test_roles_that_are_there_get_rows_instead_of_what_they_had(carbon: Carbon, opened: Connections) -> None:
    carbon.run(str(People().user("alice", "alice-1", "sales").permit("sales", QUEUE, "consume", allowed=0)))
    permit = partial(permit_roles, roles=["Internal/everyone", "sales"], resources=[QUEUE], actions=["consume"])
    for _ in range(2):
        await opened.run(permit)
    assert carbon.rows(GRANTS) == [
        (QUEUE, "consume", "everyone", "1", "INTERNAL"),
        (QUEUE, "consume", "sales", "1", "PRIMARY"),
    ]


def test_some_paths_cannot_be_registered() -> None:
    assert can_be_registered("/event/queues/jms/a.b-c_d:e")
    assert not any(map(can_be_registered, ("/a*", "/a#", "/a b'", "/a//b", "/a/")))
