"""Virtual hosts, and what limits there are in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from broker.errors import AdministrationError
from broker.management.figures.history import NO_SAMPLES, SampleSpans
from broker.management.figures.merging import Elsewhere, add_vhost
from broker.management.figures.overview import vhost_figures
from broker.management.http.access import Needs, vhost_of, visible, visible_here
from broker.management.http.call import NO_CONTENT, BadRequest, Call, HttpAnswer, NotThere, as_json, created, empty
from broker.management.http.elsewhere import partly
from broker.management.http.forms import required, whole_number
from broker.management.http.listing import Row, listed, listed_in_pages
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.management.http.samples import spans_of
from broker.ports.records import PermissionRecord, VirtualHostSettingsRecord
from broker.topology.vhost import VirtualHost

LIMITS: Final = {"max-connections": "max_connections", "max-queues": "max_queues"}
"""RabbitMQ's names of limits, with the fields of the record."""


def vhost_row(
    node: ManagedNode, vhost: VirtualHost, elsewhere: Elsewhere, spans: SampleSpans = NO_SAMPLES
) -> dict[str, Any]:
    """Return what is set of a virtual host, and what is in it on all nodes."""
    row = vhost_figures(node.view, vhost, spans) | settings_row(node, vhost)
    for each in elsewhere.named(vhost.name):
        add_vhost(row, each)
    return row


def settings_row(node: ManagedNode, vhost: VirtualHost) -> dict[str, Any]:
    """Return what is set of a virtual host."""
    settings = vhost.settings
    tags = [tag for tag in settings.tags.split(",") if tag]
    metadata: dict[str, Any] = {"description": settings.description, "tags": tags}
    if settings.default_queue_type:
        metadata["default_queue_type"] = settings.default_queue_type
    if settings.protected_from_deletion:
        metadata["protected_from_deletion"] = True
    return {
        "cluster_state": {member.node_id: "running" for member in node.facts.members()},
        "default_queue_type": settings.default_queue_type or "undefined",
        "description": settings.description,
        "metadata": metadata,
        "name": vhost.name,
        "redeclaration": settings.redeclaration or "strict",
        "protected_from_deletion": settings.protected_from_deletion,
        "tags": tags,
        "tracing": False,
    }


async def list_vhosts(node: ManagedNode, call: Call) -> Any:
    """Return the virtual hosts with the figures of all nodes; without any if the request wants none."""
    found = await visible(node, call.caller)
    is_plain = call.says("disable_stats")
    spans = spans_of(call.query)
    elsewhere = Elsewhere() if is_plain else await node.view.others.read("vhosts")

    def row(vhost: VirtualHost) -> Row:
        return settings_row(node, vhost) if is_plain else vhost_row(node, vhost, elsewhere, spans)

    async def rows_of(_: Sequence[VirtualHost]) -> Callable[[VirtualHost], Row]:
        return row

    return partly(await listed_in_pages(node, call, found, rows_of, {"name": _name}, name_of=_name), elsewhere)


def _name(vhost: VirtualHost) -> str:
    return vhost.name


async def get_vhost(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    elsewhere = await node.view.others.read("vhosts")
    row = vhost_row(node, vhost, elsewhere, spans_of(call.query))
    return partly(HttpAnswer(body=as_json(row)), elsewhere)


# Limits


def limits_of(settings: VirtualHostSettingsRecord) -> dict[str, int]:
    """Return the limits of a virtual host that are set."""
    values = {name: int(getattr(settings, field)) for name, field in LIMITS.items()}
    return {name: limit for name, limit in values.items() if limit >= 0}


async def list_limits(node: ManagedNode, call: Call) -> Any:
    found = [
        {"vhost": vhost.name, "value": limits_of(vhost.settings)}
        for vhost in await visible_here(node, call)
        if limits_of(vhost.settings)
    ]
    return await listed(node, call, found, lambda row: row, name_of=lambda row: str(row["vhost"]))


async def set_limit(node: ManagedNode, call: Call) -> Any:
    value = whole_number(required(await call.json_object(), "value"), "value")
    await _change_limit(node, call, value)
    return empty(NO_CONTENT)


async def clear_limit(node: ManagedNode, call: Call) -> Any:
    if call.names["limit"] not in limits_of(vhost_of(node, call).settings):
        raise NotThere
    await _change_limit(node, call, -1)
    return empty(NO_CONTENT)


async def _change_limit(node: ManagedNode, call: Call, value: int) -> None:
    settings, field = vhost_of(node, call).settings, LIMITS.get(call.names["limit"])
    if field is None:
        raise BadRequest(f"there is no limit '{call.names['limit']}': there are {', '.join(LIMITS)}")
    changed: dict[str, Any] = {field: max(value, -1)}
    await node.administration.create_vhost(replace(settings, **changed))


# Changes


async def put_vhost(node: ManagedNode, call: Call) -> Any:
    name, given = call.names["vhost"], await call.json_object()
    known = node.vhosts.get(name)
    metadata = given.get("metadata")
    if isinstance(metadata, dict):
        given = {**metadata, **given}
    if given.get("tracing") in (True, "true"):
        raise BadRequest("tracing is not served by this broker")
    settings = VirtualHostSettingsRecord(name) if known is None else known.settings
    changed: dict[str, Any] = {}
    if "description" in given:
        changed["description"] = str(given["description"] or "")
    if "tags" in given:
        changed["tags"] = _tags(given["tags"])
    queue_type = given.get("default_queue_type", given.get("defaultqueuetype"))
    if queue_type is not None:
        changed["default_queue_type"] = "" if queue_type in ("", "undefined") else str(queue_type)
    if "redeclaration" in given:
        wanted = str(given["redeclaration"] or "")
        changed["redeclaration"] = "" if wanted == "strict" else wanted
    if "protected_from_deletion" in given:
        changed["protected_from_deletion"] = given["protected_from_deletion"] in (True, "true")
    await node.administration.create_vhost(replace(settings, **changed))
    if known is None:
        await _admit(node, call.caller.name, name)
    return created(known is None)


async def _admit(node: ManagedNode, user: str, vhost: str) -> None:
    """Let who has made a virtual host do everything there, if permissions of this user are kept here."""
    directory = node.administration.directory
    if directory.user(user) is not None and directory.permission(user, vhost) is None:
        await node.administration.set_permissions(PermissionRecord(user, vhost, ".*", ".*", ".*"))


def _tags(given: object) -> str:
    if isinstance(given, str):
        given = [tag.strip() for tag in given.split(",")]
    if not isinstance(given, list):
        raise BadRequest("the 'tags' are a list of texts, or one text with commas")
    return ",".join(dict.fromkeys(str(tag) for tag in given if tag))


async def delete_vhost(node: ManagedNode, call: Call) -> Any:
    name = vhost_of(node, call).name
    try:
        await node.administration.delete_vhost(name)
    except AdministrationError:
        if name in node.vhosts:
            raise
        raise NotThere from None
    return empty(NO_CONTENT)


async def protect_vhost(node: ManagedNode, call: Call) -> Any:
    return await _set_protection(node, call, is_protected=True)


async def unprotect_vhost(node: ManagedNode, call: Call) -> Any:
    return await _set_protection(node, call, is_protected=False)


async def _set_protection(node: ManagedNode, call: Call, *, is_protected: bool) -> Any:
    settings = vhost_of(node, call).settings
    await node.administration.create_vhost(replace(settings, protected_from_deletion=is_protected))
    return empty(NO_CONTENT)


async def start_vhost(node: ManagedNode, call: Call) -> Any:
    """A virtual host of this broker runs wherever a node does."""
    vhost_of(node, call)
    if call.names["node"] not in {member.node_id for member in node.facts.members()}:
        raise NotThere
    return empty(NO_CONTENT)


_PROTECTION: Final = "/vhosts/{vhost}/deletion/protection"

ROUTES = (
    ApiRoute("GET", "/vhosts", Needs.LOGIN, list_vhosts, "List the virtual hosts"),
    ApiRoute("GET", "/vhosts/{vhost}", Needs.VISIBLE, get_vhost, "Show a virtual host"),
    ApiRoute("PUT", "/vhosts/{vhost}", Needs.ADMINISTRATOR, put_vhost, "Create or change a virtual host"),
    ApiRoute("DELETE", "/vhosts/{vhost}", Needs.ADMINISTRATOR, delete_vhost, "Delete a virtual host with all in it"),
    ApiRoute("POST", _PROTECTION, Needs.ADMINISTRATOR, protect_vhost, "Protect a virtual host from deletion"),
    ApiRoute("DELETE", _PROTECTION, Needs.ADMINISTRATOR, unprotect_vhost, "Let a virtual host be deleted again"),
    ApiRoute("POST", "/vhosts/{vhost}/start/{node}", Needs.ADMINISTRATOR, start_vhost, "Start a virtual host: it runs"),
    ApiRoute("GET", "/vhost-limits", Needs.LOGIN, list_limits, "List the limits of all virtual hosts"),
    ApiRoute("GET", "/vhost-limits/{vhost}", Needs.VISIBLE, list_limits, "List the limits of a virtual host"),
    ApiRoute("PUT", "/vhost-limits/{vhost}/{limit}", Needs.ADMINISTRATOR, set_limit, "Set a limit of a virtual host"),
    ApiRoute(
        "DELETE", "/vhost-limits/{vhost}/{limit}", Needs.ADMINISTRATOR, clear_limit, "Clear a limit of a virtual host"
    ),
)
