"""What operators ask for besides RabbitMQ's API: jobs on dead letters, the log, policies tried, slots of all nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.codec.methods import BasicGet, BasicReject, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.management.figures.merging import Elsewhere
from broker.management.figures.pages import page
from broker.management.http.node_view import Member
from tests.support.http_api import HttpNode


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


def dead(node: HttpNode, count: int) -> list[int]:
    """Let messages die in the virtual host of WSO2's clients; return their ids."""
    client = node.harness.peer(vhost="carbon")
    client.send(1, QueueDeclare(queue="orders", durable=True))
    client.publish("orders", *[b"x"] * count, properties=BasicProperties(delivery_mode=2))
    node.harness.commit()
    for _ in range(count):
        client.send(1, BasicGet(queue="orders"))
        (tag,) = [m.delivery_tag for _, m in client.received() if hasattr(m, "delivery_tag")]
        client.send(1, BasicReject(tag, False))
        node.harness.commit()
    return [letter["id"] for letter in node.get("/broker/dead-letters/carbon")]


def test_dead_letters_are_moved_by_jobs_that_say_how_far_they_are(node: HttpNode) -> None:
    first, second, third = dead(node, 3)
    base = "/api/broker/dead-letters/carbon/jobs"
    answer = node.ask("POST", base, {"action": "restore", "ids": [first, second]})
    assert answer.status == 202
    job = json.loads(answer.body)
    assert (job["id"], job["action"], job["by"], job["total"], job["node"]) == (1, "restore", "guest", 2, "NODE:1")
    node.harness.commit()
    job = node.get("/broker/dead-letters/carbon/jobs/1")
    assert (job["state"], job["done"], job["left"]) == ("done", 2, 0)
    assert [each["id"] for each in node.get("/broker/dead-letters/carbon")] == [third]
    assert [each["id"] for each in node.get("/broker/dead-letters/carbon/jobs")] == [1]
    assert node.status("DELETE", "/broker/dead-letters/carbon/jobs/1") == 204
    assert node.get("/broker/dead-letters/carbon/jobs/1")["state"] == "done"
    for path in ("jobs/2", "jobs/x", "jobs/0"):
        assert node.status("GET", f"/broker/dead-letters/carbon/{path}") == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "explode", "all": True}, 400),
        ({"all": True}, 400),
        ({"action": "delete"}, 400),
        ({"action": "delete", "ids": ["x"]}, 400),
        ({"action": "delete", "ids": list(range(1, 2000))}, 400),
        ({"action": "reroute", "all": True}, 400),
        ({"action": "reroute", "all": True, "target": "nosuch"}, 400),
    ],
)
def test_what_is_no_job_is_refused(node: HttpNode, body: dict[str, Any], status: int) -> None:
    assert node.status("POST", "/broker/dead-letters/carbon/jobs", body) == status
    assert node.status("POST", "/broker/dead-letters/%2F/jobs", {"action": "delete", "all": True}) == 404
    assert node.get("/broker/dead-letters/carbon/jobs") == []


# The log


LINES = [{"number": number, "level": "info", "event": f"event {number}"} for number in (3, 2, 1)]


def test_the_last_lines_of_the_log_are_told_to_administrators(node: HttpNode) -> None:
    asked: list[tuple[Any, ...]] = []

    def logs(*given: Any) -> list[dict[str, Any]]:
        asked.append(given)
        return LINES

    node.node.view.logs = logs  # type: ignore[assignment]
    assert node.get("/broker/logs") == {"node": "NODE:1", "items": LINES}
    assert node.get("/broker/logs?level=error&before=7&limit=2&text=x&node=NODE:1")["node"] == "NODE:1"
    assert asked == [("info", None, 100, ""), ("error", 7, 2, "x")]
    assert node.status("GET", "/broker/logs", user="watcher") == 401
    for query in ("level=loud", "limit=1000", "before=x"):
        assert node.status("GET", f"/broker/logs?{query}") == 400
    assert node.status("GET", "/broker/logs?node=NODE:9") == 404


def test_the_log_of_another_node_is_asked_for(node: HttpNode) -> None:
    node.around.known = [Member("NODE:1", "", 0, True, True), Member("NODE:2", "", 0, False, False)]
    there = HttpNode()
    there.node.view.logs = lambda *given: LINES  # type: ignore[assignment]

    class Others:
        silent: tuple[str, ...] = ()

        async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
            assert node_id == "NODE:2"
            found = await page(there.node.view, kind, 0, there.harness.turns.next)
            return Elsewhere({"NODE:2": json.loads(found.rows)}, self.silent)

    others = node.node.view.others = Others()
    assert node.get("/broker/logs?node=NODE:2&level=warning&text=e") == {"node": "NODE:2", "items": LINES}
    others.silent = ("NODE:2",)
    assert node.status("GET", "/broker/logs?node=NODE:2") == 503


# Policies


def test_what_a_policy_would_do_is_shown_and_nothing_is_changed(node: HttpNode) -> None:
    client = node.harness.peer()
    for name in ("orders.a", "orders.b", "other"):
        client.call(1, QueueDeclare(queue=name))
    node.status("PUT", "/policies/%2F/old", {"pattern": "^o", "definition": {"max-length": 5}})
    wanted = {"name": "new", "pattern": "^orders", "definition": {"expires": 9000}, "priority": 7, "apply-to": "queues"}
    told = json.loads(node.ask("POST", "/api/broker/policies/%2F/preview", wanted).body)
    assert (told["queues"]["matched"], told["queues"]["changed"]) == (2, 2)
    assert told["queues"]["items"][0] == {
        "name": "orders.a",
        "matched": True,
        "policy": "new",
        "operator_policy": None,
        "now": {"max-length": 5},
        "then": {"expires": 9000},
    }
    assert told["exchanges"]["matched"] == 0
    assert [each["name"] for each in node.get("/policies")] == ["old"]
    gone = json.loads(node.ask("POST", "/api/broker/policies/%2F/preview", {"name": "old", "delete": True}).body)
    assert (gone["queues"]["matched"], gone["queues"]["changed"]) == (0, 3)
    assert gone["queues"]["items"][0]["then"] == {}
    limits = {**wanted, "is_operator": True, "definition": {"max-length": 3}}
    told = json.loads(node.ask("POST", "/api/broker/policies/%2F/preview", limits).body)
    assert told["queues"]["items"][0]["then"] == {"max-length": 3}
    assert node.status("POST", "/broker/policies/%2F/preview", limits, user="maker") == 401
    assert node.status("POST", "/broker/policies/%2F/preview", wanted, user="maker") == 200


def test_exchanges_that_a_policy_names_and_that_are_not_there_are_told(node: HttpNode) -> None:
    definition = {"dead-letter-exchange": "dlx", "alternate-exchange": "aex"}
    body = {"name": "p", "pattern": "^x", "definition": definition}
    told = json.loads(node.ask("POST", "/api/broker/policies/%2F/preview", body).body)
    assert told["warnings"] == [
        "there is no exchange 'dlx' in vhost '/': dead letters of its queues are lost",
        "there is no exchange 'aex' in vhost '/': what its exchanges cannot route is lost",
    ]
    body["definition"] = {"dead-letter-exchange": "", "alternate-exchange": "amq.fanout"}
    assert json.loads(node.ask("POST", "/api/broker/policies/%2F/preview", body).body)["warnings"] == []


@pytest.mark.parametrize(
    "wrong", [{"pattern": "("}, {"definition": {"nosuch": 1}}, {"apply-to": "all of it"}, {"priority": "high"}]
)
def test_a_policy_that_could_not_be_set_is_refused_before(node: HttpNode, wrong: dict[str, Any]) -> None:
    body = {"name": "p", "pattern": "^x", "definition": {"max-length": 1}, **wrong}
    assert node.status("POST", "/broker/policies/%2F/preview", body) == 400


def test_many_queues_that_a_policy_matches_are_counted_and_a_hundred_shown() -> None:
    node = HttpNode(max_queues=300)
    client = node.harness.peer()
    for number in range(150):
        client.call(1, QueueDeclare(queue=f"q{number}"))
    body = {"name": "p", "pattern": "^q", "definition": {"max-length": 1}}
    told = json.loads(node.ask("POST", "/api/broker/policies/%2F/preview", body).body)
    assert (told["queues"]["matched"], len(told["queues"]["items"])) == (150, 100)


# Users


def test_tags_and_passwords_are_changed_by_themselves(node: HttpNode) -> None:
    before = node.get("/users/watcher")
    assert node.status("PUT", "/broker/users/watcher/tags", {"tags": ["monitoring", "policymaker"]}) == 204
    after = node.get("/users/watcher")
    assert after["tags"] == ["monitoring", "policymaker"]
    assert after["password_hash"] == before["password_hash"]
    assert node.status("PUT", "/broker/users/watcher/password", {"password": "new"}) == 204
    assert node.status("GET", "/whoami", user="watcher") == 401
    assert node.status("PUT", "/broker/users/nosuch/tags", {"tags": []}) == 404
    assert node.status("PUT", "/broker/users/watcher/tags", {}) == 400
    assert node.status("PUT", "/broker/users/watcher/password", {"password": ""}) == 400


def test_slots_are_those_of_all_nodes(node: HttpNode) -> None:
    there = [{"vhost": "/", "queue": "q", "node": "NODE:2", "messages": 5, "start": 1, "end": 9, "lane": 2}]

    class Others:
        async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
            return Elsewhere({"NODE:2": [*there, {**there[0], "vhost": "gone"}]}, ("NODE:3",))

    node.node.view.others = Others()
    assert node.get("/broker/slots") == there
    assert node.get("/broker/slots/carbon") == []
    assert node.ask("GET", "/api/broker/slots").headers["X-Silent-Nodes"] == "NODE:3"
