"""Changes of a single thing of a user, which RabbitMQ's API can only replace as a whole with its password."""

from __future__ import annotations

from typing import Any, Final

from broker.management.http.access import Needs
from broker.management.http.call import NO_CONTENT, BadRequest, Call, empty
from broker.management.http.forms import required
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.management.http.users import get_user, tags_of


async def put_tags(node: ManagedNode, call: Call) -> Any:
    tags = tags_of(required(await call.json_object(), "tags"))
    await get_user(node, call)
    await node.commands["set_user_tags"]({"name": call.names["user"], "tags": tags})
    return empty(NO_CONTENT)


async def put_password(node: ManagedNode, call: Call) -> Any:
    password = required(await call.json_object(), "password")
    if not isinstance(password, str) or not password:
        raise BadRequest("the 'password' is a text that is not empty")
    await get_user(node, call)
    await node.commands["change_password"]({"name": call.names["user"], "password": password})
    return empty(NO_CONTENT)


_USER: Final = "/broker/users/{user}"

ROUTES = (
    ApiRoute(
        "PUT",
        f"{_USER}/tags",
        Needs.ADMINISTRATOR,
        put_tags,
        "Set the tags of a user, and nothing else",
        keys=("tags",),
    ),
    ApiRoute(
        "PUT",
        f"{_USER}/password",
        Needs.ADMINISTRATOR,
        put_password,
        "Change the password of a user",
        keys=("password",),
    ),
)
