"""What the forms of administration do: each is a request of the HTTP API."""

from __future__ import annotations

from typing import Final

from broker.management.console.asking import AnswerRefused
from broker.management.console.fields import number_of
from broker.management.console.policy_lines import definition_of
from broker.management.console.rendering import segment
from broker.management.console.routes import ConsoleForm, Visit
from broker.management.console.sessions import TriedDefinitions
from broker.management.http.call import MAX_DEFINITIONS

_AROUND_FILE: Final = 64 * 1024
"""Octets of a form around the file in it."""

# Policies


async def put_policy(visit: Visit) -> tuple[str, str]:
    vhost, name = visit.query.get("vhost", "/"), visit.query.get("name", "")
    if not name:
        raise AnswerRefused(400, "A policy needs a name.")
    body = {
        "pattern": visit.query.get("pattern", ""),
        "definition": definition_of(visit.query.get("definition", "")),
        "priority": number_of(visit.query.get("priority", "0")),
        "apply-to": visit.query.get("apply_to", "all"),
    }
    kind, path = _kind(visit)
    await visit.ask.send("PUT", f"/{path}/{segment(vhost)}/{segment(name)}", body)
    return f"The {kind} {name} is set.", "/policies"


async def delete_policy(visit: Visit) -> tuple[str, str]:
    vhost, name = visit.query["vhost"], visit.query["name"]
    kind, path = _kind(visit)
    await visit.ask.send("DELETE", f"/{path}/{segment(vhost)}/{segment(name)}")
    return f"The {kind} {name} is deleted.", "/policies"


def _kind(visit: Visit) -> tuple[str, str]:
    is_operator = visit.query.get("operator") == "true"
    return ("operator policy", "operator-policies") if is_operator else ("policy", "policies")


# Users


async def put_user(visit: Visit) -> tuple[str, str]:
    name = visit.query.get("name", "")
    if not name or not visit.query.get("password"):
        raise AnswerRefused(400, "A user needs a name and a password.")
    body = {"password": visit.query["password"], "tags": visit.query.get("tags", "")}
    await visit.ask.send("PUT", f"/users/{segment(name)}", body)
    return f"The user {name} is there.", f"/users/{segment(name)}"


async def delete_user(visit: Visit) -> tuple[str, str]:
    await visit.ask.send("DELETE", f"/users/{segment(visit.query['name'])}")
    return f"The user {visit.query['name']} is deleted.", "/users"


async def set_tags(visit: Visit) -> tuple[str, str]:
    user = visit.names["user"]
    tags = [name.removeprefix("tag-") for name in visit.query if name.startswith("tag-")]
    tags += [tag.strip() for tag in visit.query.get("others", "").split(",") if tag.strip()]
    await visit.ask.send("PUT", f"/broker/users/{segment(user)}/tags", {"tags": tags})
    return f"The tags of {user} are {', '.join(tags) or 'none'}.", _user(user)


async def set_password(visit: Visit) -> tuple[str, str]:
    user = visit.names["user"]
    await visit.ask.send(
        "PUT", f"/broker/users/{segment(user)}/password", {"password": visit.query.get("password", "")}
    )
    return f"The password of {user} is changed.", _user(user)


async def set_user_limits(visit: Visit) -> tuple[str, str]:
    """Set the limits that have a number, and clear the others."""
    user = visit.names["user"]
    place = f"/user-limits/{segment(user)}"
    for limit in ("max-connections", "max-channels"):
        if visit.query.get(limit, "").strip():
            await visit.ask.send("PUT", f"{place}/{limit}", {"value": number_of(visit.query[limit].strip())})
        else:
            await visit.ask.send("DELETE", f"{place}/{limit}")
    return f"The limits of {user} are set.", _user(user)


async def put_permissions(visit: Visit) -> tuple[str, str]:
    user, vhost = visit.query.get("user", ""), visit.query.get("vhost", "/")
    body = {name: visit.query.get(name, "") for name in ("configure", "write", "read")}
    await visit.ask.send("PUT", f"/permissions/{segment(vhost)}/{segment(user)}", body)
    return f"The permissions of {user} in {vhost} are set.", _user(user)


async def clear_permissions(visit: Visit) -> tuple[str, str]:
    user, vhost = visit.query["user"], visit.query["vhost"]
    await visit.ask.send("DELETE", f"/permissions/{segment(vhost)}/{segment(user)}")
    return f"{user} has no permissions in {vhost} any more.", _user(user)


async def put_topic_permissions(visit: Visit) -> tuple[str, str]:
    user, vhost = visit.query.get("user", ""), visit.query.get("vhost", "/")
    body = {name: visit.query.get(name, "") for name in ("exchange", "write", "read")}
    await visit.ask.send("PUT", f"/topic-permissions/{segment(vhost)}/{segment(user)}", body)
    return f"The routing keys of {user} at {body['exchange']} in {vhost} are set.", _user(user)


async def clear_topic_permissions(visit: Visit) -> tuple[str, str]:
    user, vhost, exchange = visit.query["user"], visit.query["vhost"], visit.query["exchange"]
    await visit.ask.send("DELETE", f"/topic-permissions/{segment(vhost)}/{segment(user)}/{segment(exchange)}")
    return f"{user} may use all routing keys at {exchange} in {vhost} again.", _user(user)


def _user(name: str) -> str:
    return f"/users/{segment(name)}"


# Roles


async def add_role(visit: Visit) -> tuple[str, str]:
    role = visit.query.get("role", "")
    if not role:
        raise AnswerRefused(400, "A role needs a name.")
    await visit.ask.send("PUT", f"/broker/roles/{segment(role)}")
    return f"The role {role} is there.", "/roles"


async def delete_role(visit: Visit) -> tuple[str, str]:
    await visit.ask.send("DELETE", f"/broker/roles/{segment(visit.query['role'])}")
    return f"The role {visit.query['role']} is deleted.", "/roles"


async def change_member(visit: Visit) -> tuple[str, str]:
    role, user = visit.query.get("role", ""), visit.query.get("user", "")
    joins = visit.query.get("what") != "leave"
    await visit.ask.send("PUT" if joins else "DELETE", f"/broker/roles/{segment(role)}/users/{segment(user)}")
    return f"{user} {'has' if joins else 'does not have'} the role {role}{'' if joins else ' any more'}.", "/roles"


async def change_role_permission(visit: Visit) -> tuple[str, str]:
    role, is_given = visit.query.get("role", ""), visit.query.get("what") != "delete"
    body = {"resource": visit.query.get("resource", ""), "action": visit.query.get("action", "")}
    place = f"/broker/roles/{segment(role)}/permissions"
    await visit.ask.send("POST", place if is_given else f"{place}/delete", body)
    may = "may" if is_given else "may not"
    return f"The role {role} {may} {body['action']} {body['resource']}{'' if is_given else ' any more'}.", "/roles"


# Virtual hosts


async def put_vhost(visit: Visit) -> tuple[str, str]:
    name = visit.query.get("name", "")
    if not name:
        raise AnswerRefused(400, "A virtual host needs a name.")
    await visit.ask.send("PUT", f"/vhosts/{segment(name)}", {"description": visit.query.get("description", "")})
    return f"The virtual host {name} is there.", "/vhosts"


async def protect_vhost(visit: Visit) -> tuple[str, str]:
    name, is_protected = visit.query["name"], visit.query.get("protect") == "true"
    await visit.ask.send("POST" if is_protected else "DELETE", f"/vhosts/{segment(name)}/deletion/protection")
    return f"The virtual host {name} {'is protected from deletion' if is_protected else 'may be deleted'}.", "/vhosts"


async def delete_vhost(visit: Visit) -> tuple[str, str]:
    name = visit.query.get("name", "")
    if visit.query.get("confirm") != name:
        raise AnswerRefused(400, "Nothing is deleted: type the name of the virtual host to confirm.")
    await visit.ask.send("DELETE", f"/vhosts/{segment(name)}")
    return f"The virtual host {name} is deleted, with everything in it.", "/vhosts"


# Definitions


async def load_definitions(visit: Visit) -> tuple[str, str]:
    """Import a file, or only say what that would do; or import what was tried."""
    draft = visit.draft
    if draft is None:
        raise AnswerRefused(400, "There is nothing to import.")
    if visit.query.get("what") == "draft":
        tried = draft.get()
        if tried is None:
            raise AnswerRefused(409, "What was tried is not kept any more: choose the file again.")
        octets, vhost = tried.octets, tried.vhost
    else:
        octets = visit.query.get("file", "").encode("utf-8", "surrogateescape")
        vhost = visit.query.get("vhost", "")
    if not octets.strip():
        raise AnswerRefused(400, "Choose a file with definitions.")
    place = f"/definitions/{segment(vhost)}" if vhost else "/definitions"
    if visit.query.get("what") == "try":
        outcome = await visit.ask.load(place, octets, {"dry_run": "true"})
        draft.put(TriedDefinitions(octets, vhost, outcome))
        return "Nothing is changed yet: this is what the import would do.", "/definitions"
    await visit.ask.load(place, octets, {})
    draft.put(None)
    return "The definitions are imported.", "/definitions"


FORMS: Final = (
    ConsoleForm("/policies", put_policy),
    ConsoleForm("/policies/delete", delete_policy),
    ConsoleForm("/users", put_user),
    ConsoleForm("/users/delete", delete_user),
    ConsoleForm("/users/{user}/tags", set_tags),
    ConsoleForm("/users/{user}/password", set_password),
    ConsoleForm("/users/{user}/limits", set_user_limits),
    ConsoleForm("/permissions", put_permissions),
    ConsoleForm("/permissions/delete", clear_permissions),
    ConsoleForm("/topic-permissions", put_topic_permissions),
    ConsoleForm("/topic-permissions/delete", clear_topic_permissions),
    ConsoleForm("/roles", add_role),
    ConsoleForm("/roles/delete", delete_role),
    ConsoleForm("/roles/members", change_member),
    ConsoleForm("/roles/permissions", change_role_permission),
    ConsoleForm("/vhosts", put_vhost),
    ConsoleForm("/vhosts/protection", protect_vhost),
    ConsoleForm("/vhosts/delete", delete_vhost),
    ConsoleForm("/definitions", load_definitions, MAX_DEFINITIONS + _AROUND_FILE),
)
