"""What a user does to exchanges, queues and messages: a client in the node's own process does it for a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from broker.amqp.local_client import LocalClient, SentMethod
from broker.auth.access import Access
from broker.auth.scopes import GrantedAccess
from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.codec.method import Method
from broker.errors import AccessRefused, NotAllowed, NotFound, SyntaxFault
from broker.management.http.access import vhost_of
from broker.management.http.call import BadRequest, Call, HttpCaller, HttpRefusal, NotAuthorised
from broker.management.http.forms import json_object
from broker.management.http.node_view import ManagedNode
from broker.topology.vhost import VirtualHost

REFUSED = "Access refused."
"""What RabbitMQ answers where the user may not do something to a queue or an exchange."""


async def access_of(node: ManagedNode, call: Call, vhost: VirtualHost) -> Access:
    """Return what the caller may do in a virtual host. Raises `NotAuthorised` if that is nothing."""
    return await access_for(node, call.caller, vhost)


async def access_for(node: ManagedNode, caller: HttpCaller, vhost: VirtualHost) -> Access:
    """Likewise of somebody."""
    identity, control = caller.identity, node.shared.access
    if identity.grants is not None:
        control = GrantedAccess(control)
    try:
        found = control.permissions(identity, vhost.name)
        permissions = await found if isinstance(found, Coroutine) else found
    except NotAllowed:
        detail = f"user '{identity.user}' has no permissions in virtual host '{vhost.name}'"
        raise NotAuthorised(REFUSED, detail) from None
    return Access(identity, vhost.name, permissions, control)


@asynccontextmanager
async def client_of(node: ManagedNode, call: Call) -> AsyncIterator[LocalClient]:
    """Give the caller a client in the virtual host that the path names."""
    vhost = vhost_of(node, call)
    if node.shared.is_store_away():
        raise HttpRefusal(503, "service_unavailable", "the store is away: try again later")
    access = await access_of(node, call, vhost)
    if reason := node.broker.refusal:
        raise HttpRefusal(503, "service_unavailable", reason)
    client = LocalClient(node.shared, vhost, access, node.new_bell(), node.view.now_ms)
    try:
        yield client
    finally:
        client.close()


async def act(node: ManagedNode, call: Call, method: Method) -> Sequence[SentMethod]:
    """Let the caller do what a method of AMQP does; return what is told of it."""
    try:
        async with client_of(node, call) as client:
            return await client.call(method)
    except AccessRefused as error:
        raise NotAuthorised(REFUSED, error.reply_text) from None
    except (NotFound, NotAllowed) as error:
        raise HttpRefusal(404, "not_found", str(error), detail=_said(error)) from None
    except (ValueError, SyntaxFault) as error:
        raise BadRequest(str(error)) from None


def _said(error: NotFound | NotAllowed) -> str:
    return f"there is {error}" if isinstance(error, NotFound) else str(error)


def table_of(given: Mapping[str, Any], name: str = "arguments") -> FieldTable:
    """Return the arguments in a request's body. Raises `BadRequest`."""
    values = json_object(given, name)
    if not values:
        return EMPTY_TABLE
    try:
        return FieldTable.of(values).validate()
    except (ValueError, TypeError, SyntaxFault) as error:
        raise BadRequest(f"'{name}': {error}") from None
