"""Dead letters below `/api/broker/dead-letters`: shown, and restored, rerouted or deleted, at once or as jobs."""

from __future__ import annotations

from typing import Any, Final

from broker.amqp.purposes import publishing, using
from broker.auth.access import Access, Operation, Permission
from broker.management.http.access import Needs, vhost_of
from broker.management.http.acting import access_of
from broker.management.http.browsing import number
from broker.management.http.call import NO_CONTENT, Call, HttpAnswer, NotThere, as_json, empty
from broker.management.http.forms import required
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.ports.names import DEAD_LETTER_CHANNEL
from broker.topology.dead_letter_commands import chosen_of, told_of_moved
from broker.topology.dead_letter_jobs import DeadLetterJob

_MOST_LISTED: Final = 1000
_CHOICE: Final[tuple[str, ...]] = ("ids", "all", "queue")
_QUERY: Final = ("after", "limit", "queue")
_ACCEPTED: Final = 202


async def _access(node: ManagedNode, call: Call) -> Access:
    """Return what the user may do where the channel is; raise unless its messages may be taken."""
    vhost = vhost_of(node, call)
    if vhost.dialect.channel is None:
        raise NotThere
    access = await access_of(node, call, vhost)
    purpose = using(access, Operation.CONSUME, vhost, DEAD_LETTER_CHANNEL)
    access.require(Permission.READ, "queue", DEAD_LETTER_CHANNEL, purpose)
    return access


async def list_dead_letters(node: ManagedNode, call: Call) -> Any:
    await _access(node, call)
    arguments: dict[str, Any] = {
        "vhost": call.names["vhost"],
        "after": number(call.query, "after", 0, (1 << 63) - 1),
        "limit": number(call.query, "limit", 100, _MOST_LISTED),
    }
    if call.query.get("queue"):
        arguments["queue"] = call.query["queue"]
    return await node.commands["list_dead_letters"](arguments)


async def _chosen(call: Call) -> dict[str, Any]:
    """Return which dead letters the body means: some by their `ids`, or `all`, also those of one `queue`."""
    given = await call.json_object()
    return {**given, "vhost": call.names["vhost"]}


async def restore(node: ManagedNode, call: Call) -> Any:
    access = await _access(node, call)
    access.require(Permission.WRITE, "exchange", "", publishing(access, "", ""))
    return await node.commands["restore_dead_letters"](await _chosen(call))


async def reroute(node: ManagedNode, call: Call) -> Any:
    access, arguments = await _access(node, call), await _chosen(call)
    _require_target(access, arguments)
    return await node.commands["reroute_dead_letters"](arguments)


def _require_target(access: Access, arguments: dict[str, Any]) -> str:
    target = str(required(arguments, "target"))
    access.require(Permission.WRITE, "exchange", "", publishing(access, "", target))
    return target


async def delete(node: ManagedNode, call: Call) -> Any:
    await _access(node, call)
    return await node.commands["delete_dead_letters"](await _chosen(call))


# Jobs


def job_row(node: ManagedNode, job: DeadLetterJob) -> dict[str, Any]:
    """Return what is told of a job."""
    return {
        "id": job.number,
        "vhost": job.vhost,
        "action": job.action,
        "queue": job.chosen.queue,
        "target": job.target or None,
        "by": job.by,
        "node": node.node_id,
        "state": job.state.value,
        "reason": job.reason or None,
        "started_ms": job.started_ms,
        "ended_ms": job.ended_ms,
        "total": job.total,
        **told_of_moved(job.moved),
    }


async def list_jobs(node: ManagedNode, call: Call) -> Any:
    await _access(node, call)
    return [job_row(node, job) for job in node.jobs.of(call.names["vhost"])]


async def start_job(node: ManagedNode, call: Call) -> Any:
    """Begin a job: `action` is restore, reroute or delete, the rest as for doing it at once."""
    access = await _access(node, call)
    given = await call.json_object()
    action, target = str(required(given, "action")), ""
    if action == "reroute":
        target = _require_target(access, given)
    elif action == "restore":
        access.require(Permission.WRITE, "exchange", "", publishing(access, "", ""))
    job = node.jobs.start(call.names["vhost"], action, chosen_of(given), target=target, by=call.caller.name)
    return HttpAnswer(_ACCEPTED, as_json(job_row(node, job)))


def _job(node: ManagedNode, call: Call) -> DeadLetterJob:
    name = call.names["job"]
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else 0
    job = node.jobs.find(call.names["vhost"], number)
    if job is None:
        raise NotThere(f"node {node.node_id} remembers no job {name}: ask the node that has begun it")
    return job


async def get_job(node: ManagedNode, call: Call) -> Any:
    await _access(node, call)
    return job_row(node, _job(node, call))


async def cancel_job(node: ManagedNode, call: Call) -> Any:
    await _access(node, call)
    node.jobs.cancel(_job(node, call))
    return empty(NO_CONTENT)


_LETTERS: Final = "/broker/dead-letters/{vhost}"
_JOBS: Final = f"{_LETTERS}/jobs"

ROUTES = (
    ApiRoute("GET", _LETTERS, Needs.VHOST, list_dead_letters, "Show what waits in the dead letter channel", _QUERY),
    ApiRoute("POST", f"{_LETTERS}/restore", Needs.VHOST, restore, "Put dead letters back", keys=_CHOICE),
    ApiRoute(
        "POST",
        f"{_LETTERS}/reroute",
        Needs.VHOST,
        reroute,
        "Put dead letters into another queue",
        keys=(*_CHOICE, "target"),
    ),
    ApiRoute("POST", f"{_LETTERS}/delete", Needs.VHOST, delete, "Delete dead letters", keys=_CHOICE),
    ApiRoute("GET", _JOBS, Needs.VHOST, list_jobs, "List the jobs that move dead letters on this node"),
    ApiRoute(
        "POST",
        _JOBS,
        Needs.VHOST,
        start_job,
        "Begin to restore, reroute or delete dead letters",
        keys=("action", *_CHOICE, "target"),
    ),
    ApiRoute("GET", f"{_JOBS}/{{job}}", Needs.VHOST, get_job, "Show how far a job is"),
    ApiRoute("DELETE", f"{_JOBS}/{{job}}", Needs.VHOST, cancel_job, "Cancel a job"),
)
