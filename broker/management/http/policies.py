"""Policies, operator policies, and parameters of components and of the cluster."""

from __future__ import annotations

import json
from typing import Any, Final

from broker.errors import AdministrationError
from broker.management.http.access import Needs, vhost_of, visible_here
from broker.management.http.call import NO_CONTENT, BadRequest, Call, NotThere, created, empty
from broker.management.http.forms import json_object, required, whole_number
from broker.management.http.listing import listed
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute, Handler
from broker.management.http.vhosts import limits_of
from broker.ports.records import GlobalParameterRecord, PolicyKey, PolicyRecord
from broker.topology.administration import to_json
from broker.topology.policy_forms import OPERATOR_POLICY, policy_of, told_operator_policy, told_policy

VHOST_LIMITS: Final = "vhost-limits"
CLUSTER_NAME: Final = "cluster_name"
"""The parameter that has the cluster's name."""


def _listing(*, is_operator: bool) -> Handler:
    async def list_policies(node: ManagedNode, call: Call) -> Any:
        vhosts = {vhost.name for vhost in await visible_here(node, call)}
        if not call.caller.is_policymaker and not call.caller.is_monitor:
            vhosts = set()
        found = [
            each for each in node.administration.policies if each.is_operator is is_operator and each.vhost in vhosts
        ]
        return await listed(node, call, found, told_policy, name_of=lambda each: each.name)

    return list_policies


def _record(node: ManagedNode, call: Call, *, is_operator: bool) -> PolicyRecord:
    vhost, name = vhost_of(node, call), call.names["policy"]
    found = (each for each in vhost.policies.records if each.name == name and each.is_operator is is_operator)
    record = next(found, None)
    if record is None:
        raise NotThere(f"there is no {vhost.phrase('policy', name)}")
    return record


def _getting(*, is_operator: bool) -> Handler:
    async def get_policy(node: ManagedNode, call: Call) -> Any:
        return told_policy(_record(node, call, is_operator=is_operator))

    return get_policy


def _putting(*, is_operator: bool) -> Handler:
    async def put_policy(node: ManagedNode, call: Call) -> Any:
        vhost, name, given = vhost_of(node, call), call.names["policy"], await call.json_object()
        required(given, "pattern")
        required(given, "definition")
        if "priority" in given:
            given["priority"] = whole_number(given["priority"], "priority")
        is_new = all(each.name != name or each.is_operator is not is_operator for each in vhost.policies.records)
        await _put(node, policy_of(vhost.name, name, given, is_operator=is_operator))
        return created(is_new)

    return put_policy


async def _put(node: ManagedNode, record: PolicyRecord) -> None:
    try:
        await node.administration.put_policy(record)
    except AdministrationError as error:
        raise BadRequest(f"Validation failed\n\n{error}\n") from error


def _deleting(*, is_operator: bool) -> Handler:
    async def delete_policy(node: ManagedNode, call: Call) -> Any:
        record = _record(node, call, is_operator=is_operator)
        await node.administration.clear_policy(PolicyKey(record.vhost, record.name, is_operator))
        return empty(NO_CONTENT)

    return delete_policy


# Parameters: those of operator policies and of limits are what is set elsewhere


async def _parameters(node: ManagedNode, call: Call) -> list[dict[str, Any]]:
    vhosts = await visible_here(node, call)
    names = {vhost.name for vhost in vhosts}
    found = [told_operator_policy(each) for each in node.administration.policies if each.is_operator]
    found += [
        {"vhost": vhost.name, "component": VHOST_LIMITS, "name": "limits", "value": limits_of(vhost.settings)}
        for vhost in vhosts
        if limits_of(vhost.settings)
    ]
    component = call.names.get("component")
    return [each for each in found if each["vhost"] in names and component in (None, each["component"])]


async def list_parameters(node: ManagedNode, call: Call) -> Any:
    return await listed(node, call, await _parameters(node, call), lambda row: row)


async def get_parameter(node: ManagedNode, call: Call) -> Any:
    found = (each for each in await _parameters(node, call) if each["name"] == call.names["name"])
    parameter = next(found, None)
    if parameter is None:
        raise NotThere
    return parameter


async def put_parameter(node: ManagedNode, call: Call) -> Any:
    component = call.names["component"]
    if component != OPERATOR_POLICY:
        raise BadRequest(f"Validation failed\n\ncomponent {component} not found: it is not supported by this broker\n")
    call.names = {"vhost": call.names["vhost"], "policy": call.names["name"]}
    vhost, name = vhost_of(node, call), call.names["policy"]
    value = json_object(await call.json_object(), "value")
    is_new = all(each.name != name or not each.is_operator for each in vhost.policies.records)
    await _put(node, policy_of(vhost.name, name, value, is_operator=True))
    return created(is_new)


async def delete_parameter(node: ManagedNode, call: Call) -> Any:
    if call.names["component"] != OPERATOR_POLICY:
        raise NotThere
    await get_parameter(node, call)
    await node.administration.clear_policy(PolicyKey(call.names["vhost"], call.names["name"], True))
    return empty(NO_CONTENT)


# Of the cluster


async def list_global_parameters(node: ManagedNode, call: Call) -> Any:
    return await listed(node, call, node.administration.global_parameters, told_parameter)


def told_parameter(record: GlobalParameterRecord) -> dict[str, Any]:
    """Return a parameter of the cluster."""
    return {"name": record.name, "value": json.loads(record.value)}


def _global(node: ManagedNode, name: str) -> GlobalParameterRecord | None:
    return next((each for each in node.administration.global_parameters if each.name == name), None)


async def get_global_parameter(node: ManagedNode, call: Call) -> Any:
    record = _global(node, call.names["name"])
    if record is None:
        raise NotThere
    return told_parameter(record)


async def put_global_parameter(node: ManagedNode, call: Call) -> Any:
    name, value = call.names["name"], required(await call.json_object(), "value")
    is_new = _global(node, name) is None
    await node.administration.put_global_parameter(GlobalParameterRecord(name, to_json(value)))
    return created(is_new)


async def delete_global_parameter(node: ManagedNode, call: Call) -> Any:
    await get_global_parameter(node, call)
    await node.administration.clear_global_parameter(call.names["name"])
    return empty(NO_CONTENT)


def cluster_name(node: ManagedNode) -> str:
    """Return the name of the cluster: that which was set, or the node's."""
    record = _global(node, CLUSTER_NAME)
    value = None if record is None else json.loads(record.value)
    return value if isinstance(value, str) and value else node.node_id


async def get_cluster_name(node: ManagedNode, call: Call) -> Any:
    return {"name": cluster_name(node)}


async def put_cluster_name(node: ManagedNode, call: Call) -> Any:
    name = required(await call.json_object(), "name")
    if not isinstance(name, str) or not name:
        raise BadRequest("the 'name' of a cluster is a text")
    await node.administration.put_global_parameter(GlobalParameterRecord(CLUSTER_NAME, to_json(name)))
    return empty(NO_CONTENT)


def _policy_routes(path: str, what: tuple[str, str], *, is_operator: bool) -> tuple[ApiRoute, ...]:
    changes = Needs.ADMINISTRATOR if is_operator else Needs.POLICIES
    one = f"{path}/{{vhost}}/{{policy}}"
    return (
        ApiRoute(
            "GET", path, Needs.LOGIN, _listing(is_operator=is_operator), f"List the {what[1]} of all virtual hosts"
        ),
        ApiRoute(
            "GET",
            f"{path}/{{vhost}}",
            Needs.VISIBLE,
            _listing(is_operator=is_operator),
            f"List the {what[1]} of a virtual host",
        ),
        ApiRoute("GET", one, Needs.POLICIES, _getting(is_operator=is_operator), f"Show {what[0]}"),
        ApiRoute("PUT", one, changes, _putting(is_operator=is_operator), f"Set {what[0]}"),
        ApiRoute("DELETE", one, changes, _deleting(is_operator=is_operator), f"Delete {what[0]}"),
    )


_PARAMETER: Final = "/parameters/{component}/{vhost}/{name}"

ROUTES = (
    *_policy_routes("/policies", ("a policy", "policies"), is_operator=False),
    *_policy_routes("/operator-policies", ("an operator policy", "operator policies"), is_operator=True),
    ApiRoute("GET", "/parameters", Needs.POLICYMAKER, list_parameters, "List the parameters of components"),
    ApiRoute(
        "GET", "/parameters/{component}", Needs.POLICYMAKER, list_parameters, "List the parameters of a component"
    ),
    ApiRoute(
        "GET",
        "/parameters/{component}/{vhost}",
        Needs.POLICIES,
        list_parameters,
        "List the parameters of a component in a virtual host",
    ),
    ApiRoute("GET", _PARAMETER, Needs.POLICIES, get_parameter, "Show a parameter"),
    ApiRoute("PUT", _PARAMETER, Needs.ADMINISTRATOR, put_parameter, "Set a parameter"),
    ApiRoute("DELETE", _PARAMETER, Needs.ADMINISTRATOR, delete_parameter, "Delete a parameter"),
    ApiRoute("GET", "/global-parameters", Needs.POLICYMAKER, list_global_parameters, "List the cluster's parameters"),
    ApiRoute("GET", "/global-parameters/{name}", Needs.POLICYMAKER, get_global_parameter, "Show one of the cluster"),
    ApiRoute("PUT", "/global-parameters/{name}", Needs.POLICYMAKER, put_global_parameter, "Set one of the cluster"),
    ApiRoute(
        "DELETE", "/global-parameters/{name}", Needs.POLICYMAKER, delete_global_parameter, "Delete one of the cluster"
    ),
    ApiRoute("GET", "/cluster-name", Needs.LOGIN, get_cluster_name, "Show the cluster's name"),
    ApiRoute("PUT", "/cluster-name", Needs.ADMINISTRATOR, put_cluster_name, "Set the cluster's name"),
)
