"""The nodes of the cluster, in RabbitMQ's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from broker.management.figures.history import NO_SAMPLES, SampleSpans
from broker.management.figures.merging import Elsewhere
from broker.management.figures.nodes import attempt_rows, node_figures
from broker.management.http.access import Needs
from broker.management.http.call import NO_CONTENT, Call, HttpRefusal, NotThere, empty
from broker.management.http.elsewhere import partly
from broker.management.http.listing import Row, listed
from broker.management.http.node_view import ManagedNode, Member
from broker.management.http.overview import contexts
from broker.management.http.routing import ApiRoute
from broker.management.http.samples import spans_of
from broker.management.operated import FORGET_ATTEMPTS
from broker.management.operations import count_logins_anew


def node_row(
    node: ManagedNode, member: Member, elsewhere: Elsewhere, spans: SampleSpans = NO_SAMPLES
) -> dict[str, Any]:
    """Return a node; of another one that has not answered what is known here."""
    shared: dict[str, Any] = {
        "broker": {"coordinator": member.is_coordinator, "host": member.host, "port": member.port},
        "cluster_links": [],
        "name": member.node_id,
        "partitions": [],
        "running": True,
        "type": "disc",
    }
    if not member.is_self:
        (told, *_) = elsewhere.rows.get(member.node_id) or [{}]
        return {"being_drained": False, **told, **shared}
    store = node.facts.store()
    return {
        **node_figures(node.view, spans),
        **shared,
        "contexts": contexts(node),
        "db_dir": store.description,
    }


async def list_nodes(node: ManagedNode, call: Call) -> Any:
    members = node.facts.members()
    spans = spans_of(call.query)
    elsewhere = await node.view.others.read("nodes")

    def row(member: Member) -> Row:
        return node_row(node, member, elsewhere, spans)

    return partly(await listed(node, call, members, row, name_of=lambda each: each.node_id), elsewhere)


def member_of(node: ManagedNode, call: Call) -> Member:
    """Return the node that the path names; raise `NotThere` if there is none."""
    found = (member for member in node.facts.members() if member.node_id == call.names["node"])
    member = next(found, None)
    if member is None:
        raise NotThere
    return member


async def get_node(node: ManagedNode, call: Call) -> Any:
    member = member_of(node, call)
    elsewhere = Elsewhere() if member.is_self else await node.view.others.read("nodes")
    row = node_row(node, member, elsewhere, spans_of(call.query))
    return row | {"memory": _memory(row["mem_used"])} if call.says("memory") and "mem_used" in row else row


def _memory(used: int) -> dict[str, Any]:
    parts = dict.fromkeys(_MEMORY, 0)
    return {
        **parts,
        "other_system": used,
        "strategy": "rss",
        "total": {"allocated": used, "erlang": used, "rss": used},
    }


_MEMORY: Final = (
    "allocated_unused",
    "atom",
    "binary",
    "code",
    "connection_channels",
    "connection_other",
    "connection_readers",
    "connection_writers",
    "metrics",
    "mgmt_db",
    "mnesia",
    "msg_index",
    "other_ets",
    "other_proc",
    "plugins",
    "queue_procs",
    "queue_slave_procs",
    "quorum_ets",
    "quorum_queue_dlx_procs",
    "quorum_queue_procs",
    "reserved_unallocated",
    "stream_queue_coordinator_procs",
    "stream_queue_procs",
    "stream_queue_replica_reader_procs",
)
"""The parts of which RabbitMQ tells; Python tells only of all together."""


async def get_memory(node: ManagedNode, call: Call) -> Any:
    member = member_of(node, call)
    if member.is_self:
        return {"memory": _memory(node.view.machine().memory_used)}
    return {"memory": _memory((await _told(node, member, "nodes"))[0]["mem_used"])}


async def _told(node: ManagedNode, member: Member, kind: str) -> Sequence[Row]:
    """Return what another node tells. Raises `HttpRefusal` 503 if it does not answer."""
    rows = (await node.view.others.read(kind, member.node_id)).rows.get(member.node_id)
    if not rows:
        raise _unanswered(member)
    return rows


def _unanswered(member: Member) -> HttpRefusal:
    return HttpRefusal(503, "service_unavailable", f"node {member.node_id} does not answer: try again later")


async def list_attempts(node: ManagedNode, call: Call) -> Any:
    member = member_of(node, call)
    return list(attempt_rows(node.view)) if member.is_self else await _told(node, member, "attempts")


async def forget_attempts(node: ManagedNode, call: Call) -> Any:
    member = member_of(node, call)
    if member.is_self:
        count_logins_anew(node.view)
    elif (await node.view.operated.operate(FORGET_ATTEMPTS, {}, member.node_id)).silent:
        raise _unanswered(member)
    return empty(NO_CONTENT)


ROUTES = (
    ApiRoute("GET", "/auth/attempts/{node}", Needs.MONITORING, list_attempts, "List how many logins there were"),
    ApiRoute("DELETE", "/auth/attempts/{node}", Needs.ADMINISTRATOR, forget_attempts, "Count logins anew"),
    ApiRoute("GET", "/nodes", Needs.MONITORING, list_nodes, "List the nodes"),
    ApiRoute("GET", "/nodes/{node}", Needs.MONITORING, get_node, "Show a node"),
    ApiRoute("GET", "/nodes/{node}/memory", Needs.MONITORING, get_memory, "Show what a node's memory is used for"),
)
