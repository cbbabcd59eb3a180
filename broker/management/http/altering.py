"""Queues are altered while they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.amqp.purposes import publishing, using
from broker.auth.access import Operation, Permission
from broker.codec.field_table import FieldTable
from broker.errors import AccessRefused, NotFound, PreconditionFailed, ResourceLocked, SyntaxFault
from broker.management.http.access import Needs, vhost_of
from broker.management.http.acting import REFUSED, access_of
from broker.management.http.call import BadRequest, Call, HttpRefusal, NotAuthorised
from broker.management.http.forms import flag, json_object
from broker.management.http.node_view import ManagedNode
from broker.management.http.queues import queue_of
from broker.management.http.routing import ApiRoute
from broker.queue.settings import QueueSettings
from broker.topology.alteration import altered, with_kept_ttl
from broker.topology.argument_changes import require_meant, warnings_of
from broker.topology.queue_arguments import DEAD_LETTER_EXCHANGE, DEAD_LETTER_ROUTING_KEY

RECOMPUTED: Final = "recomputed"
KEPT: Final = "kept"
"""What becomes of the times to live of messages that are there."""


async def alter_queue(node: ManagedNode, call: Call) -> Any:
    """Change arguments of a queue: those that are null are taken away, those that are not named stay. Messages that are
    there get a new time to live, or keep theirs: `times_to_live`. With `dry_run` nothing is changed: the answer is what
    it would be, also when it is a refusal.
    """
    vhost = vhost_of(node, call)
    queue = queue_of(vhost, call)
    given = await call.json_object()
    changes: Mapping[str, Any] = json_object(given, "arguments")
    if not changes:
        raise BadRequest("say which 'arguments' change: an object, with null for what is taken away")
    is_dry_run = flag(given, "dry_run")
    times = given.get("times_to_live", RECOMPUTED)
    if times not in (RECOMPUTED, KEPT):
        raise BadRequest(f"'times_to_live' is {RECOMPUTED} or {KEPT}")
    try:
        require_meant(queue, changes)
        changes = with_kept_ttl(queue, changes, node.view.now_ms(), is_kept=times == KEPT)
        arguments = altered(queue.arguments, changes)
        access = await access_of(node, call, vhost)
        access.require(Permission.CONFIGURE, "queue", queue.name, using(access, Operation.DELETE, vhost, queue.name))
        exchange = changes.get(DEAD_LETTER_EXCHANGE)
        if isinstance(exchange, str):
            access.require(Permission.READ, "queue", queue.name, using(access, Operation.CONSUME, vhost, queue.name))
            key = changes.get(DEAD_LETTER_ROUTING_KEY)
            purpose = publishing(access, exchange, key) if isinstance(key, str) else None
            access.require(Permission.WRITE, "exchange", exchange, purpose)
        if is_dry_run:
            vhost.require_alterable(queue, arguments)
        else:
            await vhost.alter_queue(queue.name, arguments)
    except AccessRefused as error:
        raise NotAuthorised(REFUSED, error.reply_text) from None
    except NotFound as error:
        raise HttpRefusal(404, "not_found", str(error)) from None
    except (PreconditionFailed, ResourceLocked, ValueError, SyntaxFault) as error:
        raise BadRequest(str(error)) from None
    told = {"name": queue.name, "vhost": vhost.name}
    if is_dry_run:
        warnings = warnings_of(vhost, queue, QueueSettings.of(arguments))
        return {**told, "arguments": _shown(arguments), "warnings": warnings, "dry_run": True}
    return {**told, "arguments": _shown(queue.arguments), "warnings": warnings_of(vhost, queue)}


def _shown(arguments: FieldTable) -> dict[str, Any]:
    return {name: value for name, value in arguments.values.items() if isinstance(value, str | int | float)}


ROUTES = (
    ApiRoute(
        "POST",
        "/broker/queues/{vhost}/{queue}/alter",
        Needs.VHOST,
        alter_queue,
        "Change arguments of a queue",
        keys=("arguments", "times_to_live", "dry_run"),
    ),
)
