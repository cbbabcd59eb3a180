"""The console: who gets in, what its pages show, and what its forms do."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicConsume, BasicGet, BasicReject, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.management.console.pages import PAGES
from broker.management.console.sessions import IDLE
from broker.management.figures.merging import Elsewhere
from broker.management.http.node_view import Member, StoreFacts
from broker.ports.records import Drop, PermissionRecord, UserKey, UserRecord
from tests.support.browser import FORM, Browser, new_console, text_of
from tests.support.http_api import HttpNode, new_call

EVIL = '"><script>alert(1)</script>'


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


@pytest.fixture
def browser(node: HttpNode) -> Browser:
    made = Browser(node)
    made.log_in()
    return made


# Who gets in


def test_who_has_not_logged_in_is_asked_to_and_comes_where_it_wanted_to_go(node: HttpNode) -> None:
    browser = Browser(node)
    page = browser.open("/queues?name=orders")
    assert browser.path == "/login?next=%2Fqueues"
    assert "Password" in text_of(page)
    browser.log_in(next="/queues")
    assert browser.path == "/queues"


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        ("guest", "wrong", "The name or the password is wrong."),
        ("nobody", "nobody", "has none of the tags"),
        (EVIL, "x", "The name or the password is wrong."),
    ],
)
def test_a_login_that_is_refused_says_why_and_begins_no_session(
    node: HttpNode, user: str, password: str, said: str
) -> None:
    browser = Browser(node)
    answer = browser.ask("POST", "/login", {"name": user, "password": password})
    assert answer.status in (401, 403)
    assert said in text_of(answer.body.decode())
    assert EVIL.encode() not in answer.body
    assert browser.cookies == {}
    assert len(browser.console.sessions) == 0


def test_a_default_password_is_good_on_this_machine_only(node: HttpNode) -> None:
    answer = Browser(node, address="192.0.2.1").ask("POST", "/login", {"name": "guest", "password": "guest"})
    assert answer.status == 401
    assert "the node's own machine only" in text_of(answer.body.decode())


def test_the_cookie_is_for_no_script_and_no_other_site(node: HttpNode) -> None:
    answer = Browser(node).ask("POST", "/login", {"name": "guest", "password": "guest"})
    attributes = answer.headers["Set-Cookie"].split("; ")[1:]
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Strict"]


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/\\evil.example", "queues", "/a\r\nX: y"])
def test_a_login_leads_to_no_other_site(node: HttpNode, to: str) -> None:
    answer = Browser(node).ask("POST", "/login", {"name": "guest", "password": "guest", "next": to})
    assert (answer.status, answer.headers["Location"]) == (303, "/")


def test_a_session_ends_when_nobody_uses_it(node: HttpNode, browser: Browser) -> None:
    browser.open("/queues")
    node.harness.pass_time(IDLE + 1)
    assert browser.ask("GET", "/queues").headers["Location"] == "/login?next=%2Fqueues"


def test_a_session_ends_with_its_user_within_seconds(node: HttpNode, browser: Browser) -> None:
    node.harness.live.apply(Drop(UserKey("guest")))
    node.harness.pass_time(11)
    assert browser.ask("GET", "/queues").status == 303
    assert len(browser.console.sessions) == 0


def test_who_logs_out_is_out(browser: Browser) -> None:
    browser.path = "/"
    page = browser.send("/logout")
    assert "Log in" in text_of(page)
    assert len(browser.console.sessions) == 0


def test_another_cookie_is_nobodys(node: HttpNode) -> None:
    browser = Browser(node)
    for value in ("x", "", "\x00", '"'):
        browser.cookies = {"cordillera-console": value}
        assert browser.ask("GET", "/").status == 303


def test_a_connection_with_a_session_is_no_strangers(node: HttpNode, browser: Browser) -> None:
    """The listener lets strangers make room for others; hundreds of viewers are none."""
    for cookie, name in ((browser.cookies["cordillera-console"], "guest"), ("guess", None)):
        call = new_call("GET", "/live?page=/queues", b"", {"cookie": f"cordillera-console={cookie}"})
        answer = node.run(browser.console.handle(call))
        assert (None if call.found_caller is None else call.found_caller.name) == name
        if answer.stream is not None:
            node.run(answer.stream.aclose())


# Forms of others


def test_a_form_without_the_sessions_mark_does_nothing(node: HttpNode, browser: Browser) -> None:
    for fields in ({}, {"mark": ""}, {"mark": "guess"}):
        answer = browser.ask("POST", "/queues", {"name": "q", "vhost": "/", **fields})
        assert answer.status == 403
    assert "q" not in node.harness.vhost.queues


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}])
def test_a_form_of_another_site_does_nothing(browser: Browser, headers: dict[str, str]) -> None:
    assert browser.ask("POST", "/login", {"name": "guest", "password": "guest"}, headers).status == 403


@pytest.mark.parametrize(
    ("headers", "status"), [({"content-type": "application/json"}, 415), ({"content-type": FORM}, 413)]
)
def test_what_is_no_form_is_refused(browser: Browser, headers: dict[str, str], status: int) -> None:
    assert browser.ask("POST", "/queues", {"payload": "x" * (1 << 20)}, headers).status == status


# Pages


@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_a_page_shows_what_clients_have_named_as_text(node: HttpNode, browser: Browser, path: str) -> None:
    peer = node.harness.peer()
    peer.call(1, QueueDeclare(queue=EVIL, durable=True))
    name = quote(EVIL, safe="") if path.startswith("/queues") else "amq.topic"
    page = browser.open(path.replace("{vhost}", "%2F").replace("{name}", name).replace("{user}", "guest"))
    if path == "/definitions/export":
        assert json.loads(page)["queues"][0]["name"] == EVIL
        return
    assert "<script>alert" not in page
    assert 'lang="en"' in page or path == "/suggestions"


def test_no_page_asks_another_site_or_holds_a_script(browser: Browser) -> None:
    answer = browser.ask("GET", "/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in answer.body
    assert b"<style" not in answer.body
    assert b" style=" not in answer.body
    assert b"<script>" not in answer.body


def test_the_files_of_a_page_are_there_for_ever(browser: Browser) -> None:
    page = browser.open("/")
    found = [part.split('"')[0] for part in page.split('src="')[1:]] + [
        part.split('"')[0] for part in page.split('href="')[1:] if part.startswith("/static/")
    ]
    assert len(found) >= 4
    for address in found:
        answer = browser.ask("GET", address)
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.body


@pytest.mark.parametrize(
    "path", ["/static/x/console.css", "/static/../site.py", "/static/%2e%2e/site.py", "/nosuch", "/queues/%2F/nosuch"]
)
def test_what_is_not_there_is_not_found(browser: Browser, path: str) -> None:
    answer = browser.ask("GET", path)
    assert answer.status == 404
    assert b"Cordillera" in answer.body


def test_the_node_list_has_the_words_of_the_guide(node: HttpNode, browser: Browser) -> None:
    node.around.clustering = True
    node.around.known = [
        Member("NODE:1", "10.0.0.1", 7611, False, True, 0.2),
        Member("NODE:2", "10.0.0.2", 7612, True, False, 0.7),
    ]
    page = text_of(browser.open("/carbon/andes-cluster-mgt/nodesList.jsp"))
    assert browser.path == "/nodes"
    for words in (
        "Node Id",
        "IP Address of Node",
        "Port of Node",
        "Coordinator Node",
        "Message Store Health : Healthy",
    ):
        assert words in page
    assert page.count("Yes") == 1
    assert "NODE:2 10.0.0.2 7612 Yes" in page
    node.around.store_facts = StoreFacts(is_up=False, since=12.0, reason="no answer")
    assert "Message Store Health : Unhealthy for 12 s: no answer" in text_of(browser.open("/nodes"))


def test_a_single_node_is_its_own_coordinator_and_says_that_clustering_is_off(browser: Browser) -> None:
    page = text_of(browser.open("/nodes"))
    assert "Clustering is disabled" in page
    assert page.count("Yes") == 1


def test_who_may_not_see_nodes_is_told_so_and_is_shown_no_way_there(node: HttpNode) -> None:
    browser = Browser(node)
    page = browser.log_in("user")
    assert 'href="/nodes"' not in page
    assert browser.ask("GET", "/nodes").status == 403
    assert browser.ask("GET", "/users").status == 403


def test_bookmarks_of_wso2s_console_lead_to_their_pages(browser: Browser) -> None:
    assert browser.ask("GET", "/carbon/queues/queue_details.jsp").headers["Location"] == "/queues"
    assert browser.ask("GET", "/carbon/unknown.jsp").headers["Location"] == "/"


def test_behind_a_prefix_every_address_has_it(node: HttpNode) -> None:
    behind = HttpNode(prefix="/mq")
    browser = Browser(behind, new_console(behind, "/mq"))
    answer = browser.ask("POST", "/mq/login", {"name": "guest", "password": "guest"})
    assert answer.headers["Location"] == "/mq/"
    assert "Path=/mq;" in answer.headers["Set-Cookie"]
    page = browser.open("/mq/queues")
    assert 'href="/queues' not in page
    assert 'src="/static' not in page
    assert browser.ask("GET", "/queues").status == 404


def test_the_api_answers_beside_the_console_and_takes_no_cookie_for_a_login(browser: Browser) -> None:
    assert browser.ask("GET", "/api/overview").status == 401


def test_a_page_that_is_looked_at_again_is_not_redirected(node: HttpNode, browser: Browser) -> None:
    node.harness.pass_time(IDLE + 1)
    assert browser.ask("GET", "/queues", headers={"x-live": "1"}).status == 401


# Forms


def test_a_queue_is_added_and_deleted(node: HttpNode, browser: Browser) -> None:
    page = browser.send("/queues", name="orders/eu", vhost="/", durable="true", type="quorum")
    assert "The queue orders/eu is there." in text_of(page)
    assert node.harness.vhost.queues["orders/eu"].durable
    page = browser.send("/queues/%2F/orders%2Feu/delete", confirm="orders", back="/queues/%2F/orders%2Feu")
    assert "type the queue's name to confirm" in text_of(page)
    assert "orders/eu" in node.harness.vhost.queues
    page = browser.send("/queues/%2F/orders%2Feu/delete", confirm="orders/eu")
    assert "is deleted" in text_of(page)
    assert "orders/eu" not in node.harness.vhost.queues


def test_what_is_said_is_said_once(browser: Browser) -> None:
    assert "is there." in text_of(browser.send("/queues", name="q", vhost="/"))
    assert "is there." not in text_of(browser.open(browser.path))


def test_a_form_does_what_its_user_may_do_and_nothing_else(node: HttpNode) -> None:
    browser = Browser(node)
    browser.log_in("user")
    page = browser.send("/queues", name="others", vhost="/", back="/queues")
    assert "refused" in page
    assert "others" not in node.harness.vhost.queues
    browser.send("/queues", name="mine", vhost="/", back="/queues")
    assert "mine" in node.harness.vhost.queues


def test_a_message_is_published_and_a_queue_purged(node: HttpNode, browser: Browser) -> None:
    browser.send("/queues", name="q", vhost="/", durable="true")
    page = browser.send("/exchanges/%2F/amq.default/publish", routing_key="q", payload="hello", back="/queues/%2F/q")
    assert "The message is published." in text_of(page)
    node.harness.commit()
    assert node.harness.vhost.queues["q"].ready_count == 1
    assert "is empty" in text_of(browser.send("/queues/%2F/q/purge"))
    assert node.harness.vhost.queues["q"].ready_count == 0
    page = browser.send("/exchanges/%2F/amq.default/publish", routing_key="nosuch", payload="x", back="/exchanges")
    assert "no queue is bound" in text_of(page)


def test_a_policy_is_set_and_deleted(node: HttpNode, browser: Browser) -> None:
    page = browser.send(
        "/policies", vhost="/", name="limit", pattern="^q", apply_to="queues", priority="1", definition="max-length = 7"
    )
    assert "max-length: 7" in text_of(page)
    assert "no line of a definition" in text_of(browser.send("/policies", name="x", definition="max", back="/policies"))
    page = browser.send("/policies/delete", vhost="/", name="limit")
    assert "max-length: 7" not in text_of(page)


def test_users_and_virtual_hosts_are_changed(node: HttpNode, browser: Browser) -> None:
    assert "ann" in text_of(browser.send("/users", name="ann", password="secret", tags="monitoring"))
    page = browser.send("/permissions", user="ann", vhost="/", configure="", write=".*", read=".*")
    assert "The permissions of ann in / are set." in text_of(page)
    assert "The user ann is deleted." in text_of(browser.send("/users/delete", name="ann"))
    assert "eu" in text_of(browser.send("/vhosts", name="eu", description="Europe"))
    assert "Nothing is deleted" in text_of(browser.send("/vhosts/delete", name="eu", confirm="e", back="/vhosts"))
    assert "is deleted, with everything in it" in text_of(browser.send("/vhosts/delete", name="eu", confirm="eu"))


def test_messages_are_looked_at_and_stay(node: HttpNode, browser: Browser) -> None:
    browser.send("/queues", name="q", vhost="/", durable="true")
    for payload in ("first", EVIL):
        browser.send("/exchanges/%2F/amq.default/publish", routing_key="q", payload=payload, back="/queues/%2F/q")
    page = browser.open("/queues/%2F/q/messages")
    assert "first" in text_of(page)
    assert "<script>alert" not in page
    assert "transient" in text_of(page)
    assert node.harness.vhost.queues["q"].ready_count == 2
    assert not any(message.redelivered for message in node.harness.vhost.queues["q"].ready)


def test_subscriptions_are_shown_in_their_groups_and_closed(node: HttpNode, browser: Browser) -> None:
    peer = node.harness.peer()
    peer.call(1, QueueDeclare(queue="q"))
    peer.call(1, BasicConsume(queue="q", consumer_tag="mine"))
    page = text_of(browser.open("/subscriptions?vhost=%2F"))
    assert "Messages Delivery Pending" in page
    assert "q q not durable yes NODE:1" in page
    [consumer] = node.harness.vhost.queues["q"].consumers
    [listed] = node.get("/broker/subscriptions/%2F")
    browser.send("/subscriptions/end", vhost="/", id=listed["id"], back="/subscriptions?vhost=%2F")
    assert consumer not in node.harness.vhost.queues["q"].consumers


class Silent:
    """Another node that does not answer."""

    async def read(self, kind: str) -> Elsewhere:
        return Elsewhere({}, ("NODE:2",))


def test_nodes_that_have_not_answered_are_named_on_the_page(node: HttpNode, browser: Browser) -> None:
    assert "Not all nodes have answered" not in text_of(browser.open("/subscriptions?vhost=%2F"))
    node.node.view.others = Silent()
    assert "missing here: NODE:2" in text_of(browser.open("/subscriptions?vhost=%2F"))


def test_dead_letters_are_chosen_and_moved(node: HttpNode, browser: Browser) -> None:
    assert "No message is dead" in text_of(browser.open("/dead-letters"))
    page = browser.send("/dead-letters/carbon/restore", back="/dead-letters")
    assert "name messages by their ids, or say that all are meant" in text_of(page)
    page = text_of(browser.send("/dead-letters/carbon/restore", all="true", back="/dead-letters"))
    assert "Job 1 has begun: 0 messages are looked at to be restored." in page
    assert "1 Restore guest" in page
    assert "0 of 0" in page
    page = browser.send("/dead-letters/carbon/jobs/1/cancel", back="/dead-letters")
    assert "Job 1 ends after the messages it is at." in text_of(page)
    assert "It is not there" in text_of(browser.send("/dead-letters/carbon/jobs/7/cancel", back="/dead-letters"))


def test_the_timeline_is_the_nodes(browser: Browser) -> None:
    assert "a single node has no timeline" in text_of(browser.open("/timeline"))


def test_a_form_without_its_fields_is_refused(browser: Browser) -> None:
    browser.open("/policies")
    mark = browser.console.sessions.find(browser.cookies["cordillera-console"]).mark  # type: ignore[union-attr]
    for path in ("/policies/delete", "/users/delete"):
        answer = browser.ask("POST", path, {"mark": mark})
        assert answer.status == 400
        assert "The form has no field" in text_of(answer.body.decode())


def test_an_error_of_a_page_is_logged_and_shown_without_a_traceback(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("a secret of the code")

    monkeypatch.setattr(browser.console._paths, "page", fail)
    with capture_logs() as logs:
        answer = browser.ask("GET", "/queues")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert [log["event"] for log in logs] == ["internal error of the console"]


def test_a_page_of_users_has_so_many_and_their_own_permissions(node: HttpNode, browser: Browser) -> None:
    for number in range(60):
        node.put(
            UserRecord(f"z{number:02}", "$none$", ""), PermissionRecord(f"z{number:02}", "/", f"^z{number:02}", "", "")
        )
    first = browser.open("/users")
    assert "65 users page 1 of 2" in text_of(first)
    assert "^z00" in first
    assert "^z59" not in first
    second = browser.open("/users?page=2")
    assert "^z59" in second
    assert "^z00" not in second


def test_a_message_is_found_with_its_way(node: HttpNode, browser: Browser) -> None:
    assert "Its way" not in text_of(browser.open("/find"))
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    message = {"routing_key": "q", "payload": "", "payload_encoding": "string", "properties": {"message_id": "m <1>"}}
    assert node.status("POST", "/exchanges/%2F/amq.default/publish", message) == 200
    found = text_of(browser.open("/find?vhost=%2F&by=message_id&value=m+%3C1%3E"))
    assert "ready" in found
    assert "1 stored messages were looked at" in found or "0 stored messages were looked at" in found
    assert "No such message" in text_of(browser.open("/find?vhost=%2F&by=id&value=17"))


def test_who_holds_a_message_that_died_is_told_with_its_way(node: HttpNode, browser: Browser) -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": arguments})
    node.status("PUT", "/queues/%2F/dead", {"durable": True})
    client = node.harness.peer()
    client.publish("q", b"", properties=BasicProperties(message_id="m", delivery_mode=2))
    got: Any = client.call(1, BasicGet(queue="q"))
    client.send(1, BasicReject(got.delivery_tag, requeue=False))
    node.harness.commit()
    client.contents()
    client.send(1, BasicGet(queue="dead"))
    found = text_of(browser.open("/find?vhost=%2F&value=m"))
    assert "unacked" in found
    assert "basic.get of guest" in found
    assert "q (rejected, 1 times) › dead" in " ".join(found.split())


@pytest.mark.parametrize(
    "header", [{"x-deliver-at": 253_402_300_800_000}, {"x-deliver-at": 1_767_225_600_000_000}, {"x-delay": 1 << 62}]
)
def test_a_message_that_is_due_after_the_year_9999_is_shown(
    header: dict[str, int], node: HttpNode, browser: Browser
) -> None:
    peer = node.harness.peer()
    peer.call(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", b"x", properties=BasicProperties(headers=FieldTable.of(header), message_id="m"))
    node.harness.commit()
    (row,) = node.get("/broker/delayed/%2F")["items"]
    assert "ms after 1970" in text_of(browser.open("/delayed?vhost=%2F"))
    assert "ms after 1970" in text_of(browser.open(f"/find?vhost=%2F&by=id&value={row['id']}"))


def test_deaths_that_a_client_has_made_up_break_no_page(node: HttpNode, browser: Browser) -> None:
    odd = [
        {"queue": 7, "reason": None, "count": "z", "time": 1 << 60},
        "x",
        {"queue": "q", "reason": "expired", "count": "z"},
    ]
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    for number, headers in enumerate(
        ({"x-death": odd}, {"x-death": 5}, {"x-first-death-queue": 7, "x-last-death-queue": 1})
    ):
        table = FieldTable.of(headers)
        node.harness.peer().publish("q", b"", properties=BasicProperties(message_id=f"m{number}", headers=table))
        node.harness.commit()
        found = text_of(browser.open(f"/find?vhost=%2F&value=m{number}"))
        assert ("q (expired) › q" in " ".join(found.split())) == (number == 0)
    assert "x-first-death-queue: 7" in text_of(browser.open("/queues/%2F/q/messages"))


def test_delayed_messages_are_chosen_moved_and_cancelled(node: HttpNode, browser: Browser) -> None:
    assert "No such message waits" in text_of(browser.open("/delayed"))
    peer = node.harness.peer()
    peer.call(1, QueueDeclare(queue="q", durable=True))
    for delay in (60_000, 120_000):
        properties = BasicProperties(headers=FieldTable.of({"x-delay": delay}), message_id=EVIL)
        peer.publish("q", b"x", properties=properties)
    node.harness.commit()
    page = browser.open("/delayed?vhost=%2F")
    assert "<script>alert" not in page
    first, second = (row["id"] for row in node.get("/broker/delayed/%2F")["items"])
    page = browser.send("/delayed/%2F/cancel", **{f"id-{first}": "1"}, back="/delayed")
    assert "1 message is cancelled." in text_of(page)
    page = browser.send("/delayed/%2F/move", **{f"id-{second}": "1"}, seconds="0", back="/delayed")
    assert "1 message is moved." in text_of(page)
    page = browser.send("/delayed/%2F/move", **{f"id-{first}": "1"}, seconds="5", back="/delayed")
    assert "0 messages are moved. 1 had gone on before" in text_of(page)
    assert "Choose messages." in text_of(browser.send("/delayed/%2F/move", seconds="5", back="/delayed"))
