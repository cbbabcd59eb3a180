"""Health checks: 200 when all is well, 503 with a reason when it is not."""

from __future__ import annotations

from typing import Any, Final

from broker.management.http.access import Needs
from broker.management.http.call import BadRequest, Call, HttpAnswer, NotThere, as_json
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute

_OK: Final = {"status": "ok"}
_DAYS: Final = {"days": 1, "weeks": 7, "months": 30, "years": 365}
_DAY: Final = 86_400
_SPELLINGS: Final = {"amqp091": "amqp", "amqp0.9.1": "amqp", "amqps": "amqp/ssl", "http/ssl": "https"}
"""Other names of protocols."""
_MOST_TIME: Final = 10_000


def failed(reason: str, **details: Any) -> HttpAnswer:
    """Return the answer of a check that has found something."""
    return HttpAnswer(503, as_json({"status": "failed", "reason": reason, **details}))


def _alarms(node: ManagedNode) -> list[dict[str, str]]:
    """Return the alarms of this node."""
    alarm = node.facts.alarm()
    kinds = [kind for kind in ("memory", "disk") if kind in alarm] or (["store"] if alarm else [])
    return [{"node": node.node_id, "resource": kind} for kind in kinds]


async def check_local_alarms(node: ManagedNode, call: Call) -> Any:
    if alarms := _alarms(node):
        return failed("There are alarms in effect on the node", alarms=alarms)
    return _OK


async def check_alarms(node: ManagedNode, call: Call) -> Any:
    alarms, elsewhere = _alarms(node), await node.view.others.read("nodes")
    for row in elsewhere.all_rows:
        for kind, name in (("memory", "mem_alarm"), ("disk", "disk_free_alarm")):
            if row.get(name) is True:
                alarms.append({"node": str(row.get("name")), "resource": kind})
    if alarms:
        return failed("There are alarms in effect in the cluster", alarms=alarms)
    return _OK


async def check_store(node: ManagedNode, call: Call) -> Any:
    store = node.facts.store()
    told = {"store": store.description, "unsafe": list(store.unsafe)}
    return {**_OK, **told} if store.is_up else failed(store.reason, **told)


async def check_vhosts(node: ManagedNode, call: Call) -> Any:
    return _OK


async def check_quorum(node: ManagedNode, call: Call) -> Any:
    """All nodes share one store: no node's end loses a message or stops a queue. But too few that are left take no
    clients.
    """
    minimum, others = node.facts.minimum_cluster_size, len(node.facts.members()) - 1
    if node.broker.refusal:
        return {**_OK, "reason": node.broker.refusal}
    if not others:
        return {**_OK, "reason": "single node cluster"}
    if others < minimum:
        members = "1 living member" if others == 1 else f"{others} living members"
        return failed(f"without this node there is no more than {members}, and minimumClusterSize is {minimum}")
    return _OK


async def check_in_service(node: ManagedNode, call: Call) -> Any:
    """A node that is drained, or sees too few members of its cluster, takes no clients."""
    if node.view.being_drained:
        return failed("the node is drained and takes no clients")
    return failed(node.broker.refusal) if node.broker.refusal else _OK


async def check_certificates(node: ManagedNode, call: Call) -> Any:
    within, unit = call.names["within"], call.names["unit"]
    if unit not in _DAYS:
        raise BadRequest("Time unit not recognised. Supported units: days, weeks, months, years.")
    if not within.isdecimal() or not 0 < int(within) <= _MOST_TIME:
        raise BadRequest("Invalid expiration")
    until = node.view.now_ms() / 1000 + int(within) * _DAYS[unit] * _DAY
    ending = {name: end for name, end in node.facts.certificates_end().items() if end <= until}
    if not ending:
        return _OK
    return failed("Certificates expiring", expired=[{"certificate": name, "ends": end} for name, end in ending.items()])


async def check_port(node: ManagedNode, call: Call) -> Any:
    asked = call.names["port"]
    if not asked.isdecimal() or len(asked) > 5:
        raise BadRequest("Invalid port")
    ports = [listener.port for listener in node.view.listening]
    if int(asked) in ports:
        return {**_OK, "port": int(asked)}
    return failed("No active listener", missing=int(asked), ports=ports)


async def check_protocol(node: ManagedNode, call: Call) -> Any:
    asked = call.names["protocol"]
    wanted = _SPELLINGS.get(asked.lower(), asked.lower())
    protocols = list(dict.fromkeys(each.protocol for each in node.view.listening))
    if wanted in protocols:
        return {**_OK, "protocol": asked}
    return failed("No active listener", missing=asked, protocols=protocols)


async def check_node(node: ManagedNode, call: Call) -> Any:
    if "node" in call.names and call.names["node"] not in {each.node_id for each in node.facts.members()}:
        raise NotThere
    alarm, store, refusal = node.facts.alarm(), node.facts.store(), node.broker.refusal
    if alarm or refusal or not store.is_up:
        return {"status": "failed", "reason": alarm or refusal or store.reason}
    return _OK


_CHECKS: Final = "/health/checks"

ROUTES = (
    ApiRoute("GET", f"{_CHECKS}/alarms", Needs.LOGIN, check_alarms, "Check that no node has an alarm"),
    ApiRoute("GET", f"{_CHECKS}/local-alarms", Needs.LOGIN, check_local_alarms, "Check that this node has no alarm"),
    ApiRoute("GET", f"{_CHECKS}/virtual-hosts", Needs.LOGIN, check_vhosts, "Check that all virtual hosts run"),
    ApiRoute(
        "GET", f"{_CHECKS}/node-is-mirror-sync-critical", Needs.LOGIN, check_quorum, "Check that it may be stopped"
    ),
    ApiRoute("GET", f"{_CHECKS}/node-is-quorum-critical", Needs.LOGIN, check_quorum, "Check that it may be stopped"),
    ApiRoute("GET", f"{_CHECKS}/is-in-service", Needs.LOGIN, check_in_service, "Check that the node takes clients"),
    ApiRoute("GET", f"{_CHECKS}/store", Needs.LOGIN, check_store, "Check that the store answers"),
    ApiRoute(
        "GET",
        f"{_CHECKS}/certificate-expiration/{{within}}/{{unit}}",
        Needs.LOGIN,
        check_certificates,
        "Check that no certificate ends soon",
    ),
    ApiRoute("GET", f"{_CHECKS}/port-listener/{{port}}", Needs.LOGIN, check_port, "Check that a port is listened on"),
    ApiRoute(
        "GET", f"{_CHECKS}/protocol-listener/{{protocol}}", Needs.LOGIN, check_protocol, "Check that one is served"
    ),
    ApiRoute("GET", "/healthchecks/node", Needs.LOGIN, check_node, "Check this node"),
    ApiRoute("GET", "/healthchecks/node/{node}", Needs.LOGIN, check_node, "Check a node"),
)
