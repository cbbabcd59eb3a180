"""Roles of a user database of WSO2's below `/api/broker/roles`: who has them, and what they may do (ADR 52).

Where users are records of this broker there are no roles: every answer is 400 and says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from broker.auth.carbon.names import CHANGE, CONSUME, EXECUTE, PUBLISH, SUBSCRIBE
from broker.management.http.access import Needs
from broker.management.http.call import NO_CONTENT, Call, NotThere, created, empty
from broker.management.http.forms import required
from broker.management.http.listing import QUERY, listed
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute

ACTIONS: Final = (CONSUME, PUBLISH, SUBSCRIBE, CHANGE, EXECUTE)
"""What a role may do to a resource."""


async def _roles(node: ManagedNode) -> list[Mapping[str, Any]]:
    """Return the roles, each with its members and what it may do."""
    roles = await node.commands["list_roles"]({})
    members: defaultdict[str, list[str]] = defaultdict(list)
    for user in await node.commands["list_users"]({}):
        for role in user.get("roles", ()):
            members[role].append(user["name"])
    return [{**role, "users": sorted(members[role["name"]])} for role in roles]


async def list_roles(node: ManagedNode, call: Call) -> Any:
    return await listed(node, call, await _roles(node), lambda row: row, name_of=lambda row: str(row["name"]))


async def get_role(node: ManagedNode, call: Call) -> Any:
    found = next((role for role in await _roles(node) if role["name"] == call.names["role"]), None)
    if found is None:
        raise NotThere(f"there is no role '{call.names['role']}'")
    return found


async def put_role(node: ManagedNode, call: Call) -> Any:
    name = call.names["role"]
    if any(role["name"] == name for role in await node.commands["list_roles"]({})):
        return created(False)
    await node.commands["add_role"]({"role": name})
    return created(True)


async def delete_role(node: ManagedNode, call: Call) -> Any:
    await get_role(node, call)
    await node.commands["delete_role"]({"role": call.names["role"]})
    return empty(NO_CONTENT)


async def join(node: ManagedNode, call: Call) -> Any:
    await node.commands["join_role"]({"role": call.names["role"], "user": call.names["user"]})
    return empty(NO_CONTENT)


async def leave(node: ManagedNode, call: Call) -> Any:
    await node.commands["leave_role"]({"role": call.names["role"], "user": call.names["user"]})
    return empty(NO_CONTENT)


async def permit(node: ManagedNode, call: Call) -> Any:
    await node.commands["permit_role"](await _permission(call))
    return empty(NO_CONTENT)


async def take_back(node: ManagedNode, call: Call) -> Any:
    await node.commands["clear_role_permission"](await _permission(call))
    return empty(NO_CONTENT)


async def _permission(call: Call) -> Mapping[str, Any]:
    """Return the permission that the body names: a `resource`, and one of `ACTIONS`."""
    given = await call.json_object()
    return {"role": call.names["role"], **{name: str(required(given, name)) for name in _PERMISSION}}


_PERMISSION: Final = ("resource", "action")
_ADMIN: Final = Needs.ADMINISTRATOR
_ROLE: Final = "/broker/roles/{role}"

ROUTES = (
    ApiRoute("GET", "/broker/roles", _ADMIN, list_roles, "List roles with their members and permissions", QUERY),
    ApiRoute("GET", _ROLE, _ADMIN, get_role, "Show a role"),
    ApiRoute("PUT", _ROLE, _ADMIN, put_role, "Create a role"),
    ApiRoute("DELETE", _ROLE, _ADMIN, delete_role, "Delete a role"),
    ApiRoute("PUT", f"{_ROLE}/users/{{user}}", _ADMIN, join, "Give a user a role"),
    ApiRoute("DELETE", f"{_ROLE}/users/{{user}}", _ADMIN, leave, "Take a role from a user"),
    ApiRoute("POST", f"{_ROLE}/permissions", _ADMIN, permit, "Let a role do something", keys=_PERMISSION),
    ApiRoute(
        "POST", f"{_ROLE}/permissions/delete", _ADMIN, take_back, "Let a role not do it any more", keys=_PERMISSION
    ),
)
