"""Who may use which route: RabbitMQ's tags, and permissions in virtual hosts."""

from __future__ import annotations

from collections.abc import Coroutine
from enum import Enum

from broker.errors import NotAllowed
from broker.management.http.call import Call, HttpCaller, NotAuthorised, NotThere
from broker.management.http.node_view import ManagedNode
from broker.topology.vhost import VirtualHost


class Needs(Enum):
    """What a route asks of the user."""

    NOTHING = "nothing: everybody may ask"
    LOGIN = "a login, by a user with one of the tags"
    MONITORING = "the tag monitoring or administrator"
    ADMINISTRATOR = "the tag administrator"
    POLICYMAKER = "the tag policymaker or administrator"
    VISIBLE = "permissions in the virtual host, or the tag monitoring or administrator"
    VHOST = "permissions in the virtual host, or the tag administrator"
    POLICIES = "the tag policymaker and permissions in the virtual host, or the tag administrator"
    OWN_USER = "to be the user, or the tag administrator"


async def require(node: ManagedNode, call: Call, needs: Needs) -> None:
    """Raise `NotAuthorised` unless the caller may use the route."""
    caller = call.caller
    if not caller.may_manage:
        raise NotAuthorised("Not management user")
    if needs is Needs.MONITORING and not caller.is_monitor:
        raise NotAuthorised("Not monitor user")
    if needs is Needs.ADMINISTRATOR and not caller.is_administrator:
        raise NotAuthorised("Not administrator user")
    if needs is Needs.POLICYMAKER and not caller.is_policymaker:
        raise NotAuthorised("User not authorised to access object")
    if needs is Needs.OWN_USER and not caller.is_administrator and call.names["user"] != caller.name:
        raise NotAuthorised("User not authorised to access object")
    if needs in (Needs.VISIBLE, Needs.VHOST, Needs.POLICIES) and "vhost" in call.names:
        await _require_vhost(node, call, caller, needs)


async def _require_vhost(node: ManagedNode, call: Call, caller: HttpCaller, needs: Needs) -> None:
    if needs is Needs.POLICIES and not caller.is_policymaker:
        raise NotAuthorised("User not authorised to access object")
    if caller.is_administrator or (needs is Needs.VISIBLE and caller.is_monitor):
        return
    name = call.names["vhost"]
    if name in node.vhosts and not await may_open(node, caller, name):
        raise NotAuthorised("User not authorised to access virtual host")


async def may_open(node: ManagedNode, caller: HttpCaller, vhost: str) -> bool:
    """Has the user permissions in a virtual host?"""
    try:
        found = node.shared.access.permissions(caller.identity, vhost)
        if isinstance(found, Coroutine):
            await found
    except NotAllowed:
        return False
    return True


async def visible(node: ManagedNode, caller: HttpCaller) -> list[VirtualHost]:
    """Return the virtual hosts that the user may see, by name."""
    vhosts = [vhost for _, vhost in sorted(node.vhosts.items())]
    if caller.is_monitor:
        return vhosts
    return [vhost for vhost in vhosts if await may_open(node, caller, vhost.name)]


async def visible_here(node: ManagedNode, call: Call) -> list[VirtualHost]:
    """Return the virtual host that the path names, or all that the user may see."""
    return [vhost_of(node, call)] if "vhost" in call.names else await visible(node, call.caller)


def vhost_of(node: ManagedNode, call: Call) -> VirtualHost:
    """Return the virtual host that the path names; raise `NotThere` if there is none."""
    vhost = node.vhosts.get(call.names["vhost"])
    if vhost is None:
        raise NotThere(f"there is no virtual host '{call.names['vhost']}'")
    return vhost
