"""What the forms of the console do: each is a request of the HTTP API."""

from __future__ import annotations

from typing import Any, Final

from broker.management.console import changes
from broker.management.console.asking import AnswerRefused
from broker.management.console.fields import number_of
from broker.management.console.rendering import segment
from broker.management.console.routes import ConsoleForm, Visit


async def add_queue(visit: Visit) -> tuple[str, str]:
    vhost, name = visit.query.get("vhost", "/"), visit.query.get("name", "")
    if not name:
        raise AnswerRefused(400, "A queue needs a name.")
    arguments = {"x-queue-type": visit.query["type"]} if visit.query.get("type") else {}
    body = {"durable": visit.query.get("durable") == "true", "auto_delete": False, "arguments": arguments}
    await visit.ask.send("PUT", f"/queues/{segment(vhost)}/{segment(name)}", body)
    return f"The queue {name} is there.", f"/queues/{segment(vhost)}/{segment(name)}"


async def purge_queue(visit: Visit) -> tuple[str, str]:
    await visit.ask.send("DELETE", f"{_queue(visit)}/contents")
    return f"The queue {visit.names['name']} is empty.", _queue(visit)


async def delete_queue(visit: Visit) -> tuple[str, str]:
    if visit.query.get("confirm") != visit.names["name"]:
        raise AnswerRefused(400, "Nothing is deleted: type the queue's name to confirm.")
    await visit.ask.send("DELETE", _queue(visit))
    return f"The queue {visit.names['name']} is deleted.", "/queues"


async def publish(visit: Visit) -> tuple[str, str]:
    properties: dict[str, Any] = {"delivery_mode": 2 if visit.query.get("persistent") == "true" else 1}
    for field in ("content_type", "correlation_id", "message_id"):
        if visit.query.get(field):
            properties[field] = visit.query[field]
    body = {
        "routing_key": visit.query.get("routing_key", ""),
        "payload": visit.query.get("payload", ""),
        "payload_encoding": "string",
        "properties": properties,
    }
    exchange = visit.names["name"] or "amq.default"
    answer = await visit.ask.send(
        "POST", f"/exchanges/{segment(visit.names['vhost'])}/{segment(exchange)}/publish", body
    )
    said = "The message is published." if answer["routed"] else "The message was dropped: no queue is bound for it."
    return said, visit.query.get("back") or "/exchanges"


async def close_connection(visit: Visit) -> tuple[str, str]:
    name = visit.query.get("name", "")
    await visit.ask.send("DELETE", f"/connections/{segment(name)}", **{"x-reason": "closed from the console"})
    return f"The connection {name} is closed.", "/connections"


async def end_subscription(visit: Visit) -> tuple[str, str]:
    place = f"/broker/subscriptions/{segment(visit.query.get('vhost', ''))}"
    back = visit.query.get("back") or "/subscriptions"
    if visit.query.get("name"):
        await visit.ask.send("POST", f"{place}/delete", {"name": visit.query["name"]})
        return f"The subscription {visit.query['name']} is deleted.", back
    await visit.ask.send("DELETE", f"{place}/{segment(visit.query.get('id', ''))}")
    return "The subscription is closed.", back


async def move_dead_letters(visit: Visit) -> tuple[str, str]:
    """Begin to restore, reroute or delete the dead letters that are chosen, or all of them."""
    what = visit.names["what"]
    if what not in _DONE:
        raise AnswerRefused(404, "There is no such form.")
    body: dict[str, Any] = {"action": what}
    if visit.query.get("queue"):
        body["queue"] = visit.query["queue"]
    if visit.query.get("all") == "true":
        body["all"] = True
    else:
        body["ids"] = [number_of(name.removeprefix("id-")) for name in visit.query if name.startswith("id-")]
    if what == "reroute":
        body["target"] = visit.query.get("target", "")
    job = await visit.ask.send("POST", f"/broker/dead-letters/{segment(visit.names['vhost'])}/jobs", body)
    messages = "1 message is" if job["total"] == 1 else f"{job['total']} messages are"
    return f"Job {job['id']} has begun: {messages} looked at to be {_DONE[what]}.", visit.query.get("back") or _LETTERS


async def cancel_job(visit: Visit) -> tuple[str, str]:
    place = f"/broker/dead-letters/{segment(visit.names['vhost'])}/jobs/{segment(visit.names['job'])}"
    await visit.ask.send("DELETE", place)
    return f"Job {visit.names['job']} ends after the messages it is at.", visit.query.get("back") or _LETTERS


async def change_delayed(visit: Visit) -> tuple[str, str]:
    """Cancel the delayed messages that are chosen, or let them go on at another time."""
    what = visit.names["what"]
    if what not in ("cancel", "move"):
        raise AnswerRefused(404, "There is no such form.")
    ids = [number_of(name.removeprefix("id-")) for name in visit.query if name.startswith("id-")]
    if not ids:
        raise AnswerRefused(400, "Choose messages.")
    body: dict[str, Any] = {"ids": ids}
    if what == "move":
        body["delay"] = 1000 * number_of(visit.query.get("seconds", "0"))
    told = await visit.ask.send("POST", f"/broker/delayed/{segment(visit.names['vhost'])}/{what}", body)
    done = "cancelled" if what == "cancel" else "moved"
    said = f"{told['done']} {'message is' if told['done'] == 1 else 'messages are'} {done}."
    if told["left"]:
        said += f" {told['left']} had gone on before, or cannot be reached now."
    return said, visit.query.get("back") or "/delayed"


def _queue(visit: Visit) -> str:
    return f"/queues/{segment(visit.names['vhost'])}/{segment(visit.names['name'])}"


_LETTERS: Final = "/dead-letters"
_DONE: Final = {"restore": "restored", "reroute": "rerouted", "delete": "deleted"}

FORMS: Final = (
    ConsoleForm("/queues", add_queue),
    ConsoleForm("/queues/{vhost}/{name}/purge", purge_queue),
    ConsoleForm("/queues/{vhost}/{name}/delete", delete_queue),
    ConsoleForm("/exchanges/{vhost}/{name}/publish", publish),
    ConsoleForm("/connections/close", close_connection),
    ConsoleForm("/subscriptions/end", end_subscription),
    ConsoleForm("/dead-letters/{vhost}/{what}", move_dead_letters),
    ConsoleForm("/dead-letters/{vhost}/jobs/{job}/cancel", cancel_job),
    ConsoleForm("/delayed/{vhost}/{what}", change_delayed),
    *changes.FORMS,
)
