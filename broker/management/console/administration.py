"""Pages for those who administer: policies, users, roles, virtual hosts, definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.management.console.asking import AnswerRefused
from broker.management.console.lists import ListPage, listed, open_choices, sublist, vhost_choices
from broker.management.console.policy_lines import definition_of, lines_of
from broker.management.console.rendering import segment
from broker.management.console.rights import first_open, rights_in
from broker.management.console.routes import ConsolePage, Visit
from broker.topology.missing_exchanges import policy_warnings
from broker.topology.policies import APPLY_TO

_SHOWN_CHANGES: Final = 200
_ONE: Final = {"page": "1", "page_size": "1"}
"""Asks for something that only administrators see: a page without anything to ask for is refused to others, too."""


async def policies(visit: Visit) -> dict[str, Any]:
    nothing = ListPage((), 1, 1, 0, lambda page: "")
    found = await listed(visit, "/policies", "name")
    vhosts = {each["vhost"] for each in found["listed"]["items"]}
    return found | {
        "warnings": [_warnings(visit, each) for each in found["listed"]["items"]],
        "may_add": visit.ask.caller.is_policymaker and (visit.ask.caller.is_administrator or await first_open(visit)),
        "changed_in": {name for name in vhosts if await _may_change(visit, name)},
        "operator_policies": await sublist(visit, "/operator-policies", "operator_page", nothing),
    }


def _warnings(visit: Visit, policy: Mapping[str, Any]) -> list[str]:
    vhost = visit.node.vhosts.get(policy["vhost"])
    return [] if vhost is None else policy_warnings(vhost, policy["definition"])


async def _may_change(visit: Visit, vhost: str) -> bool:
    """May the visitor change policies of a virtual host?"""
    caller = visit.ask.caller
    return caller.is_administrator or (caller.is_policymaker and (await rights_in(visit, vhost)).may_open())


async def policy(visit: Visit) -> dict[str, Any]:
    """The editor of a policy: what is set, or what the address says; and what that would do."""
    query = visit.query
    is_operator = query.get("operator") == "true"
    caller = visit.ask.caller
    if not (caller.is_administrator if is_operator else caller.is_policymaker):
        raise AnswerRefused(403, "Policies are changed by the tag policymaker, operator policies by administrators.")
    asked = {
        "vhost": query.get("vhost") or await first_open(visit, "/") or "/",
        "name": query.get("name", ""),
        "pattern": query.get("pattern", ""),
        "apply_to": query.get("apply_to") or ("queues" if is_operator else "all"),
        "priority": query.get("priority") or "0",
        "definition": query.get("definition", ""),
    }
    is_known = False
    if asked["name"] and "pattern" not in query:
        found = await _known_policy(visit, asked["vhost"], asked["name"], is_operator=is_operator)
        is_known = found is not None
        if found is not None:
            asked |= {
                "pattern": found["pattern"],
                "apply_to": found["apply-to"],
                "priority": str(found["priority"]),
                "definition": lines_of(found["definition"]),
            }
    is_deletion = query.get("delete") == "true"
    shown, refusal = None, ""
    if is_deletion or "pattern" in query or is_known:
        try:
            shown = await _preview(visit, asked, is_operator=is_operator, is_deletion=is_deletion)
        except AnswerRefused as error:
            refusal = str(error)
    return {
        "asked": asked,
        "is_operator": is_operator,
        "is_deletion": is_deletion,
        "is_known": is_known,
        "preview": shown,
        "refusal": refusal,
        "vhosts": await (vhost_choices(visit) if caller.is_administrator else open_choices(visit)),
        "kinds": APPLY_TO,
    }


async def _known_policy(visit: Visit, vhost: str, name: str, *, is_operator: bool) -> Mapping[str, Any] | None:
    path = "operator-policies" if is_operator else "policies"
    try:
        found: Mapping[str, Any] = await visit.ask.get(f"/{path}/{segment(vhost)}/{segment(name)}")
    except AnswerRefused as refusal:
        if refusal.status != 404:
            raise
        return None
    return found


async def _preview(visit: Visit, asked: Mapping[str, str], *, is_operator: bool, is_deletion: bool) -> Any:
    body: dict[str, Any] = {"name": asked["name"], "is_operator": is_operator}
    if is_deletion:
        body["delete"] = True
    else:
        body |= {
            "pattern": asked["pattern"],
            "apply-to": asked["apply_to"],
            "priority": asked["priority"],
            "definition": definition_of(asked["definition"]),
        }
    return await visit.ask.send("POST", f"/broker/policies/{segment(asked['vhost'])}/preview", body)


async def users(visit: Visit) -> dict[str, Any]:
    found = await listed(visit, "/users", "name")
    granted: dict[str, list[Mapping[str, Any]]] = {}
    for user in found["listed"]["items"]:
        granted[user["name"]] = await visit.ask.get(f"/users/{segment(user['name'])}/permissions")
    return found | {"granted": granted, "has_roles": not visit.node.has_own_users}


async def user(visit: Visit) -> dict[str, Any]:
    """A user with what it may do; all of that can be changed."""
    place = f"/users/{segment(visit.names['user'])}"
    return {
        "found": await visit.ask.get(place),
        "permissions": await sublist(visit, f"{place}/permissions", "permissions"),
        "topics": await sublist(visit, f"{place}/topic-permissions", "topics"),
        "limits": (await visit.ask.get(f"/user-limits/{segment(visit.names['user'])}") or [{"value": {}}])[0]["value"]
        if visit.node.has_own_users
        else {},
        "vhosts": await vhost_choices(visit),
        "tags": ("administrator", "monitoring", "policymaker", "management"),
        "has_own_users": visit.node.has_own_users,
    }


async def roles(visit: Visit) -> dict[str, Any]:
    """Roles of WSO2's user database; without one the page says so."""
    if visit.node.has_own_users:
        await visit.ask.get("/users", _ONE)
        return {"has_roles": False}
    found = await listed(visit, "/broker/roles", "name")
    return found | {"has_roles": True, "actions": ("consume", "publish", "subscribe", "changePermission", "ui.execute")}


async def vhosts(visit: Visit) -> dict[str, Any]:
    return await listed(visit, "/vhosts", "name")


async def definitions(visit: Visit) -> dict[str, Any]:
    """Export and import; what an import would do that was only tried."""
    await visit.ask.get("/users", _ONE)
    tried = visit.draft.get() if visit.draft is not None else None
    return {"vhosts": await vhost_choices(visit), "tried": tried, "shown": _SHOWN_CHANGES}


async def export(visit: Visit) -> dict[str, Any]:
    """Definitions as a file."""
    vhost = visit.query.get("vhost", "")
    octets = await visit.ask.octets(f"/definitions/{segment(vhost)}" if vhost else "/definitions")
    return {"download": ("definitions.json", octets)}


PAGES: Final = (
    ConsolePage("/policies", "policies.html", policies),
    ConsolePage("/policies/edit", "policy.html", policy),
    ConsolePage("/users", "users.html", users),
    ConsolePage("/users/{user}", "user.html", user),
    ConsolePage("/roles", "roles.html", roles),
    ConsolePage("/vhosts", "vhosts.html", vhosts, is_live=True),
    ConsolePage("/definitions", "definitions.html", definitions),
    ConsolePage("/definitions/export", "definitions.html", export),
)
