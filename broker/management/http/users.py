"""Users, what they may do, and what they may have open.

Where users are rows of WSO2's (ADR 52), they are listed with their roles and changed by the same commands as from the
command line; permissions in other virtual hosts than `carbon` are records of this broker all the same.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from broker.auth.password_hash import NO_PASSWORD, rabbitmq
from broker.errors import InvalidPasswordHash
from broker.management.http.access import Needs, vhost_of
from broker.management.http.call import NO_CONTENT, BadRequest, Call, NotThere, created, empty
from broker.management.http.forms import required, whole_number
from broker.management.http.listing import listed
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.ports.records import PermissionRecord, TopicPermissionRecord, UserRecord
from broker.topology.administration import with_tags
from broker.topology.definitions import DEFAULT_ALGORITHM, OWN_HASH, told_user

LIMITS: Final = {"max-connections": "max_connections", "max-channels": "max_channels"}
"""RabbitMQ's names of limits, with the fields of the record."""
_MOST_DELETED: Final = 1000


def user_row(record: UserRecord) -> dict[str, Any]:
    """Return a user, with the hash of the password where RabbitMQ has this kind of hash, too."""
    told = told_user(record)
    told.pop(OWN_HASH, None)
    return told


async def _users(node: ManagedNode) -> list[dict[str, Any]]:
    directory = node.administration.directory
    if node.has_own_users:
        return [user_row(user) for user in sorted(directory.users, key=lambda each: each.name)]
    told = []
    for user in await node.commands["list_users"]({}):
        record = directory.user(user["name"]) or UserRecord(user["name"])
        row = user_row(replace(record, password_hash=NO_PASSWORD))
        told.append({**row, "broker": {"roles": user.get("roles", [])}})
    return told


async def list_users(node: ManagedNode, call: Call) -> Any:
    return await listed(node, call, await _users(node), lambda row: row, name_of=lambda row: str(row["name"]))


async def list_users_without_permissions(node: ManagedNode, call: Call) -> Any:
    permitted = {record.user for record in node.administration.directory.permissions}
    found = [row for row in await _users(node) if row["name"] not in permitted]
    return await listed(node, call, found, lambda row: row)


async def get_user(node: ManagedNode, call: Call) -> Any:
    found = next((row for row in await _users(node) if row["name"] == call.names["user"]), None)
    if found is None:
        raise NotThere(f"there is no user '{call.names['user']}'")
    return found


async def put_user(node: ManagedNode, call: Call) -> Any:
    name, given = call.names["user"], await call.json_object()
    if "tags" not in given:
        raise BadRequest("tags_not_present")
    if not node.has_own_users:
        return await _put_row(node, name, given)
    is_new = node.administration.directory.user(name) is None
    limits: dict[str, Any] = {}
    for limit, value in _object(given.get("limits")).items():
        if limit not in LIMITS:
            raise BadRequest(f"there is no limit '{limit}': there are {', '.join(LIMITS)}")
        limits[LIMITS[limit]] = whole_number(value, limit)
    record = with_tags(UserRecord(name, await _hash(node, given), **limits), tags_of(given["tags"]))
    await node.administration.put_user(record)
    return created(is_new)


async def _put_row(node: ManagedNode, name: str, given: Mapping[str, Any]) -> Any:
    """Add or change a user of WSO2's tables."""
    if given.get("password_hash"):
        raise BadRequest("users are kept in the database that user-mgt.xml names: give a password, not its hash")
    is_new = all(user["name"] != name for user in await node.commands["list_users"]({}))
    if given.get("password"):
        command = "add_user" if is_new else "change_password"
        await node.commands[command]({"name": name, "password": str(given["password"])})
    elif is_new:
        raise BadRequest("a new user needs a password")
    if tags := tags_of(given["tags"]):
        await node.commands["set_user_tags"]({"name": name, "tags": tags})
    return created(is_new)


async def _hash(node: ManagedNode, given: Mapping[str, Any]) -> str:
    """Return the hash to store: without a password, and without a hash, nobody can log in as this user."""
    if given.get("password"):
        return await node.new_hash(str(given["password"]))
    text = str(given.get("password_hash") or "")
    if not text:
        return NO_PASSWORD
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(["not_base64", text]) from None
    try:
        return rabbitmq(text, str(given.get("hashing_algorithm") or DEFAULT_ALGORITHM)).text
    except InvalidPasswordHash as error:
        raise BadRequest(str(error)) from error


def tags_of(given: object) -> list[str]:
    """Return the tags in a request. Raises `BadRequest`."""
    if isinstance(given, str):
        given = given.split(",")
    if not isinstance(given, list):
        raise BadRequest("the 'tags' are a list of texts, or one text with commas")
    return [tag for tag in (str(each).strip() for each in given) if tag]


def _object(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


async def delete_user(node: ManagedNode, call: Call) -> Any:
    await get_user(node, call)
    await node.commands["delete_user"]({"name": call.names["user"]})
    return empty(NO_CONTENT)


async def delete_users(node: ManagedNode, call: Call) -> Any:
    names = required(await call.json_object(), "users")
    if not isinstance(names, list) or len(names) > _MOST_DELETED:
        raise BadRequest(f"'users' is a list of at most {_MOST_DELETED} names")
    there = {row["name"] for row in await _users(node)}
    for name in names:
        if name not in there:
            raise BadRequest(["no_such_user", str(name)])
    for name in names:
        await node.commands["delete_user"]({"name": name})
    return empty(NO_CONTENT)


# Limits


def limits_of(record: UserRecord) -> dict[str, int]:
    """Return the limits of a user that are set."""
    values = {name: int(getattr(record, field)) for name, field in LIMITS.items()}
    return {name: limit for name, limit in values.items() if limit >= 0}


async def list_limits(node: ManagedNode, call: Call) -> Any:
    records: Iterable[UserRecord] = sorted(node.administration.directory.users, key=lambda each: each.name)
    if "user" in call.names:
        records = [_record(node, call)]
    found = [{"user": each.name, "value": limits_of(each)} for each in records if limits_of(each)]
    return await listed(node, call, found, lambda row: row)


async def set_limit(node: ManagedNode, call: Call) -> Any:
    value = whole_number(required(await call.json_object(), "value"), "value")
    await _change_limit(node, call, value)
    return empty(NO_CONTENT)


async def clear_limit(node: ManagedNode, call: Call) -> Any:
    await _change_limit(node, call, -1)
    return empty(NO_CONTENT)


async def _change_limit(node: ManagedNode, call: Call, value: int) -> None:
    field = LIMITS.get(call.names["limit"])
    if field is None:
        raise BadRequest(f"there is no limit '{call.names['limit']}': there are {', '.join(LIMITS)}")
    _record(node, call)
    change: dict[str, Any] = {field: value}
    await node.administration.change_user(call.names["user"], lambda user: replace(user, **change))


def _record(node: ManagedNode, call: Call) -> UserRecord:
    record = node.administration.directory.user(call.names["user"])
    if record is None:
        raise NotThere
    return record


# Permissions


def _of(node: ManagedNode, call: Call) -> Callable[[PermissionRecord | TopicPermissionRecord], bool]:
    """Return which records the path names. Raises `NotThere`."""
    directory, user = node.administration.directory, call.names.get("user")
    vhost = vhost_of(node, call).name if "vhost" in call.names else None
    if user is not None and node.has_own_users and directory.user(user) is None:
        raise NotThere
    return lambda record: user in (None, record.user) and vhost in (None, record.vhost)


async def list_permissions(node: ManagedNode, call: Call) -> Any:
    found = sorted(
        filter(_of(node, call), node.administration.directory.permissions), key=lambda each: (each.user, each.vhost)
    )
    return await listed(node, call, found, asdict, name_of=lambda each: each.user)


async def get_permissions(node: ManagedNode, call: Call) -> Any:
    record = node.administration.directory.permission(call.names["user"], vhost_of(node, call).name)
    if record is None:
        raise NotThere
    return asdict(record)


async def put_permissions(node: ManagedNode, call: Call) -> Any:
    given = await call.json_object()
    patterns = {name: str(required(given, name)) for name in ("configure", "write", "read")}
    user, vhost = call.names["user"], call.names["vhost"]
    is_new = node.administration.directory.permission(user, vhost) is None
    await _set(node, user, vhost, "set_permissions", patterns)
    return created(is_new)


async def _set(node: ManagedNode, user: str, vhost: str, command: str, given: Mapping[str, str]) -> None:
    if vhost not in node.vhosts or (node.has_own_users and node.administration.directory.user(user) is None):
        raise BadRequest("vhost_or_user_not_found")
    await node.commands[command]({"user": user, "vhost": vhost, **given})


async def delete_permissions(node: ManagedNode, call: Call) -> Any:
    await get_permissions(node, call)
    await node.commands["clear_permissions"]({"user": call.names["user"], "vhost": call.names["vhost"]})
    return empty(NO_CONTENT)


async def list_topic_permissions(node: ManagedNode, call: Call) -> Any:
    found = sorted(
        filter(_of(node, call), node.administration.directory.topic_permissions),
        key=lambda each: (each.user, each.vhost, each.exchange),
    )
    return await listed(node, call, found, asdict, name_of=lambda each: each.user)


async def get_topic_permissions(node: ManagedNode, call: Call) -> Any:
    found = node.administration.directory.topics(call.names["user"], vhost_of(node, call).name)
    if not found:
        raise NotThere
    return [asdict(each) for each in found]


async def put_topic_permissions(node: ManagedNode, call: Call) -> Any:
    given = await call.json_object()
    texts = {name: str(required(given, name)) for name in ("exchange", "write", "read")}
    user, vhost = call.names["user"], call.names["vhost"]
    is_new = all(each.exchange != texts["exchange"] for each in node.administration.directory.topics(user, vhost))
    await _set(node, user, vhost, "set_topic_permissions", texts)
    return created(is_new)


async def delete_topic_permissions(node: ManagedNode, call: Call) -> Any:
    await get_topic_permissions(node, call)
    arguments = {"user": call.names["user"], "vhost": call.names["vhost"]}
    if "exchange" in call.names:
        arguments["exchange"] = call.names["exchange"]
    await node.commands["clear_topic_permissions"](arguments)
    return empty(NO_CONTENT)


_ADMIN: Final = Needs.ADMINISTRATOR
_TOPICS: Final = "/topic-permissions/{vhost}/{user}"

ROUTES = (
    ApiRoute("GET", "/users", _ADMIN, list_users, "List the users"),
    ApiRoute(
        "GET", "/users/without-permissions", _ADMIN, list_users_without_permissions, "List users who may do nothing"
    ),
    ApiRoute("POST", "/users/bulk-delete", _ADMIN, delete_users, "Delete several users"),
    ApiRoute("GET", "/users/{user}", _ADMIN, get_user, "Show a user"),
    ApiRoute("PUT", "/users/{user}", _ADMIN, put_user, "Create or replace a user"),
    ApiRoute("DELETE", "/users/{user}", _ADMIN, delete_user, "Delete a user"),
    ApiRoute("GET", "/user-limits", _ADMIN, list_limits, "List the limits of all users"),
    ApiRoute("GET", "/user-limits/{user}", Needs.OWN_USER, list_limits, "List the limits of a user"),
    ApiRoute("PUT", "/user-limits/{user}/{limit}", _ADMIN, set_limit, "Set a limit of a user"),
    ApiRoute("DELETE", "/user-limits/{user}/{limit}", _ADMIN, clear_limit, "Clear a limit of a user"),
    ApiRoute("GET", "/permissions", _ADMIN, list_permissions, "List what all users may do"),
    ApiRoute("GET", "/users/{user}/permissions", _ADMIN, list_permissions, "List what a user may do"),
    ApiRoute("GET", "/vhosts/{vhost}/permissions", _ADMIN, list_permissions, "List who may do what in a virtual host"),
    ApiRoute(
        "GET", "/permissions/{vhost}/{user}", _ADMIN, get_permissions, "Show what a user may do in a virtual host"
    ),
    ApiRoute("PUT", "/permissions/{vhost}/{user}", _ADMIN, put_permissions, "Set what a user may do in a virtual host"),
    ApiRoute("DELETE", "/permissions/{vhost}/{user}", _ADMIN, delete_permissions, "Take what a user may do away"),
    ApiRoute(
        "GET", "/topic-permissions", _ADMIN, list_topic_permissions, "List the keys that users may use at exchanges"
    ),
    ApiRoute("GET", "/users/{user}/topic-permissions", _ADMIN, list_topic_permissions, "List the keys of a user"),
    ApiRoute("GET", "/vhosts/{vhost}/topic-permissions", _ADMIN, list_topic_permissions, "List keys in a virtual host"),
    ApiRoute("GET", _TOPICS, _ADMIN, get_topic_permissions, "Show the keys of a user in a virtual host"),
    ApiRoute("PUT", _TOPICS, _ADMIN, put_topic_permissions, "Set the keys of a user at an exchange"),
    ApiRoute("DELETE", _TOPICS, _ADMIN, delete_topic_permissions, "Let a user use all keys again"),
    ApiRoute(
        "DELETE", f"{_TOPICS}/{{exchange}}", _ADMIN, delete_topic_permissions, "Let a user use all keys at an exchange"
    ),
)
