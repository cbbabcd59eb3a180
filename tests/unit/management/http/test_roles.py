"""Roles of WSO2's user database over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from broker.management.http.api import Api
from tests.support.http_api import HttpNode


class Roles:
    """The commands of a user database, which remember what they were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def __getitem__(self, name: str) -> Any:
        async def command(arguments: Mapping[str, Any]) -> Any:
            if name == "list_roles":
                return [{"name": "admin", "may": ["ui.execute /permission"]}, {"name": "Internal/everyone", "may": []}]
            if name == "list_users":
                return [{"name": "ann", "roles": ["admin", "Internal/everyone"]}, {"name": "bob", "roles": []}]
            self.asked.append((name, arguments))
            return None

        return command


@pytest.fixture
def roles() -> Roles:
    return Roles()


@pytest.fixture
def node(roles: Roles) -> HttpNode:
    node = HttpNode()
    node.node = replace(node.node, commands=roles)  # type: ignore[arg-type]
    node.api = Api(node.node, node.login)
    return node


def test_roles_are_told_with_their_members_and_permissions(node: HttpNode) -> None:
    first = {"name": "admin", "may": ["ui.execute /permission"], "users": ["ann"]}
    assert node.get("/broker/roles")[0] == first
    assert node.get("/broker/roles/admin") == first
    assert node.get("/broker/roles/Internal%2Feveryone")["users"] == ["ann"]
    assert node.status("GET", "/broker/roles/nosuch") == 404


def test_roles_are_made_and_deleted(node: HttpNode, roles: Roles) -> None:
    assert node.status("PUT", "/broker/roles/admin") == 204
    assert node.status("PUT", "/broker/roles/Internal%2Fsales") == 201
    assert node.status("DELETE", "/broker/roles/nosuch") == 404
    assert node.status("DELETE", "/broker/roles/admin") == 204
    assert roles.asked == [("add_role", {"role": "Internal/sales"}), ("delete_role", {"role": "admin"})]


def test_users_join_and_leave_and_roles_may_more_or_less(node: HttpNode, roles: Roles) -> None:
    permission = {"resource": "/permission/admin/manage/queue", "action": "consume"}
    assert node.status("PUT", "/broker/roles/admin/users/bob") == 204
    assert node.status("DELETE", "/broker/roles/admin/users/bob") == 204
    assert node.status("POST", "/broker/roles/admin/permissions", permission) == 204
    assert node.status("POST", "/broker/roles/admin/permissions/delete", permission) == 204
    assert node.status("POST", "/broker/roles/admin/permissions", {"resource": "/x"}) == 400
    assert roles.asked == [
        ("join_role", {"role": "admin", "user": "bob"}),
        ("leave_role", {"role": "admin", "user": "bob"}),
        ("permit_role", {"role": "admin", **permission}),
        ("clear_role_permission", {"role": "admin", **permission}),
    ]


def test_without_a_user_database_there_are_no_roles() -> None:
    status, _, reason = HttpNode().refusal("GET", "/broker/roles")
    assert status == 400
    assert "there are no roles" in reason
