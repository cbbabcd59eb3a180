"""What the forms of the console do: each is a request of the HTTP API."""

from __future__ import annotations

from typing import Any, Final

from broker.management.console.asking import AnswerRefused
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
    """Restore, reroute or delete the dead letters that are chosen, or all of them."""
    what = visit.names["what"]
    if what not in ("restore", "reroute", "delete"):
        raise AnswerRefused(404, "There is no such form.")
    body: dict[str, Any] = {"queue": visit.query["queue"]} if visit.query.get("queue") else {}
    if visit.query.get("all") == "true":
        body["all"] = True
    else:
        body["ids"] = [_number(name.removeprefix("id-")) for name in visit.query if name.startswith("id-")]
    if what == "reroute":
        body["target"] = visit.query.get("target", "")
    told = await visit.ask.send("POST", f"/broker/dead-letters/{segment(visit.names['vhost'])}/{what}", body)
    said = f"{told['done']} {'message is' if told['done'] == 1 else 'messages are'} {_DONE[what]}."
    if told["left"]:
        reasons = sorted({each["reason"] for each in told["reasons"]})
        said += f" {told['left']} stay: {'; '.join(reasons)}."
    return said, visit.query.get("back") or "/dead-letters"


async def change_delayed(visit: Visit) -> tuple[str, str]:
    """Cancel the delayed messages that are chosen, or let them go on at another time."""
    what = visit.names["what"]
    if what not in ("cancel", "move"):
        raise AnswerRefused(404, "There is no such form.")
    ids = [_number(name.removeprefix("id-")) for name in visit.query if name.startswith("id-")]
    if not ids:
        raise AnswerRefused(400, "Choose messages.")
    body: dict[str, Any] = {"ids": ids}
    if what == "move":
        body["delay"] = 1000 * _number(visit.query.get("seconds", "0"))
    told = await visit.ask.send("POST", f"/broker/delayed/{segment(visit.names['vhost'])}/{what}", body)
    done = "cancelled" if what == "cancel" else "moved"
    said = f"{told['done']} {'message is' if told['done'] == 1 else 'messages are'} {done}."
    if told["left"]:
        said += f" {told['left']} had gone on before, or cannot be reached now."
    return said, visit.query.get("back") or "/delayed"


async def put_policy(visit: Visit) -> tuple[str, str]:
    vhost, name = visit.query.get("vhost", "/"), visit.query.get("name", "")
    body = {
        "pattern": visit.query.get("pattern", ""),
        "definition": _definition(visit.query.get("definition", "")),
        "priority": _number(visit.query.get("priority", "0")),
        "apply-to": visit.query.get("apply_to", "all"),
    }
    await visit.ask.send("PUT", f"/policies/{segment(vhost)}/{segment(name)}", body)
    return f"The policy {name} is set.", "/policies"


async def delete_policy(visit: Visit) -> tuple[str, str]:
    await visit.ask.send("DELETE", f"/policies/{segment(visit.query['vhost'])}/{segment(visit.query['name'])}")
    return f"The policy {visit.query['name']} is deleted.", "/policies"


async def put_user(visit: Visit) -> tuple[str, str]:
    name = visit.query.get("name", "")
    if not name or not visit.query.get("password"):
        raise AnswerRefused(400, "A user needs a name and a password.")
    body = {"password": visit.query["password"], "tags": visit.query.get("tags", "")}
    await visit.ask.send("PUT", f"/users/{segment(name)}", body)
    return f"The user {name} is there.", "/users"


async def delete_user(visit: Visit) -> tuple[str, str]:
    await visit.ask.send("DELETE", f"/users/{segment(visit.query['name'])}")
    return f"The user {visit.query['name']} is deleted.", "/users"


async def put_permissions(visit: Visit) -> tuple[str, str]:
    user, vhost = visit.query.get("user", ""), visit.query.get("vhost", "/")
    body = {name: visit.query.get(name, "") for name in ("configure", "write", "read")}
    await visit.ask.send("PUT", f"/permissions/{segment(vhost)}/{segment(user)}", body)
    return f"The permissions of {user} in {vhost} are set.", "/users"


async def put_vhost(visit: Visit) -> tuple[str, str]:
    name = visit.query.get("name", "")
    if not name:
        raise AnswerRefused(400, "A virtual host needs a name.")
    await visit.ask.send("PUT", f"/vhosts/{segment(name)}", {"description": visit.query.get("description", "")})
    return f"The virtual host {name} is there.", "/vhosts"


async def delete_vhost(visit: Visit) -> tuple[str, str]:
    name = visit.query.get("name", "")
    if visit.query.get("confirm") != name:
        raise AnswerRefused(400, "Nothing is deleted: type the name of the virtual host to confirm.")
    await visit.ask.send("DELETE", f"/vhosts/{segment(name)}")
    return f"The virtual host {name} is deleted, with everything in it.", "/vhosts"


def _queue(visit: Visit) -> str:
    return f"/queues/{segment(visit.names['vhost'])}/{segment(visit.names['name'])}"


def _definition(text: str) -> dict[str, Any]:
    """Return a policy's definition from lines `key = value`; numbers are numbers."""
    definition: dict[str, Any] = {}
    for line in text.splitlines():
        if line.strip():
            name, equals, value = (part.strip() for part in line.partition("="))
            if not equals or not name:
                raise AnswerRefused(400, f"'{line.strip()}' is no line of a definition: write key = value.")
            definition[name] = int(value) if value.lstrip("-").isdecimal() else value
    return definition


def _number(text: str) -> int:
    try:
        return int(text or "0")
    except ValueError:
        raise AnswerRefused(400, f"'{text}' is no number.") from None


_DONE: Final = {"restore": "restored", "reroute": "rerouted", "delete": "deleted"}

FORMS: Final = (
    ConsoleForm("/queues", add_queue),
    ConsoleForm("/queues/{vhost}/{name}/purge", purge_queue),
    ConsoleForm("/queues/{vhost}/{name}/delete", delete_queue),
    ConsoleForm("/exchanges/{vhost}/{name}/publish", publish),
    ConsoleForm("/connections/close", close_connection),
    ConsoleForm("/subscriptions/end", end_subscription),
    ConsoleForm("/dead-letters/{vhost}/{what}", move_dead_letters),
    ConsoleForm("/delayed/{vhost}/{what}", change_delayed),
    ConsoleForm("/policies", put_policy),
    ConsoleForm("/policies/delete", delete_policy),
    ConsoleForm("/users", put_user),
    ConsoleForm("/users/delete", delete_user),
    ConsoleForm("/permissions", put_permissions),
    ConsoleForm("/vhosts", put_vhost),
    ConsoleForm("/vhosts/delete", delete_vhost),
)
