from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace

import pytest

from broker.auth.access import NO_LIMITS, AllPermissions, Permission
from broker.auth.carbon.permissions import CarbonPermissions
from broker.auth.identity import Identity
from broker.auth.recorded_access import NOTHING, PatternPermissions
from broker.errors import NotAllowed
from broker.ports.records import PermissionRecord
from tests.support.carbon_people import CarbonNode, MemoryPeople, account
from tests.support.stage import drive

ANN, ADMIN = Identity("ann", False), Identity("admin", False)


@pytest.fixture
def people() -> MemoryPeople:
    return MemoryPeople(account("ann", ("publish", "event/queues/jms/q")), account("admin", roles=["admin"]))


@pytest.fixture
def node(people: MemoryPeople) -> CarbonNode:
    node = CarbonNode(people)
    for name in people.accounts:
        drive(node.accounts.load(name))
    return node


def test_in_carbon_the_rows_decide_and_the_role_of_administrators(node: CarbonNode) -> None:
    ann, admin = node.access.permissions(ANN, "carbon"), node.access.permissions(ADMIN, "carbon")
    assert isinstance(ann, CarbonPermissions)
    assert isinstance(admin, CarbonPermissions)
    assert (ann.is_admin, admin.is_admin) == (False, True)
    assert ann.grants.allows("publish", "event/queues/jms/q")


def test_elsewhere_administrators_do_everything_and_others_what_is_recorded(node: CarbonNode) -> None:
    assert node.access.permissions(ADMIN, "/") == AllPermissions()
    with pytest.raises(NotAllowed, match="access to vhost '/' refused for user 'ann'"):
        node.access.permissions(ANN, "/")
    assert node.access.permissions_now(ANN, "/") == NOTHING
    node.directory.put_permission(PermissionRecord("ann", "/", "", ".*", ""))
    assert node.access.permissions(ANN, "/") == PatternPermissions("", ".*", "")
    assert node.access.limits("ann") == NO_LIMITS
    assert not node.access.may_impersonate(ANN)


def test_who_is_forgotten_is_asked_for_again(people: MemoryPeople) -> None:
    node = CarbonNode(people)
    assert node.access.permissions_now(ANN, "carbon") == NOTHING
    waiting = node.access.permissions(ANN, "carbon")
    assert isinstance(waiting, Coroutine)
    assert isinstance(drive(waiting), CarbonPermissions)
    gone = node.access.permissions(Identity("eve", False), "carbon")
    assert isinstance(gone, Coroutine)
    with pytest.raises(NotAllowed):
        drive(gone)
    people.is_away = True
    away = node.access.permissions(Identity("bob", False), "carbon")
    assert isinstance(away, Coroutine)
    with pytest.raises(NotAllowed):
        drive(away)


def test_the_configured_administrator_is_in_the_role_where_rows_decide(people: MemoryPeople) -> None:
    people.accounts["admin"] = account("admin")
    node = CarbonNode(people)
    drive(node.accounts.load("admin"))
    permissions = node.access.permissions(ADMIN, "carbon")
    assert isinstance(permissions, CarbonPermissions)
    assert not permissions.is_admin
    assert not permissions.permits(Permission.READ, "queue", "q")


def test_a_role_that_is_taken_away_is_missing_at_the_next_look(node: CarbonNode, people: MemoryPeople) -> None:
    before = node.access.permissions(ADMIN, "carbon")
    people.accounts["admin"] = replace(people.accounts["admin"], roles=frozenset())
    node.clock.advance(60.0)
    assert drive(node.accounts.refresh(["admin"])) == ["admin"]
    assert node.access.permissions_now(ADMIN, "carbon") != before
