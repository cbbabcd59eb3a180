"""Pages and forms of the console for administrators, and lists that are longer than a page."""

from __future__ import annotations

import pytest

from broker.codec.methods import BasicConsume, QueueBind, QueueDeclare
from broker.management.http.node_view import TimelineEntry
from tests.support.browser import Browser, text_of
from tests.support.http_api import HttpNode

EVIL = '"><script>alert(1)</script>'


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


@pytest.fixture
def browser(node: HttpNode) -> Browser:
    made = Browser(node)
    made.log_in()
    return made


def test_a_policy_is_tried_in_the_editor_before_it_is_set(node: HttpNode, browser: Browser) -> None:
    peer = node.harness.peer()
    for name in ("orders", "other"):
        peer.call(1, QueueDeclare(queue=name))
    page = browser.open("/policies/edit?name=p&vhost=%2F&pattern=%5Eorders&apply_to=queues&definition=max-length+%3D+7")
    assert "Queues: 1 matched, 1 changed" in text_of(page)
    assert "orders p nothing max-length: 7" in text_of(page)
    assert node.get("/policies") == []
    assert "Validation failed" in browser.open("/policies/edit?name=p&pattern=%28&definition=max-length+%3D+7")
    assert "no line of a definition" in browser.open("/policies/edit?name=p&pattern=x&definition=max")
    browser.send("/policies", vhost="/", name="p", pattern="^orders", apply_to="queues", definition="max-length = 7")
    page = text_of(browser.open("/policies/edit?vhost=%2F&name=p"))
    assert "Policy p" in page
    assert "max-length = 7" in page
    page = text_of(browser.open("/policies/edit?vhost=%2F&name=p&delete=true"))
    assert "Queues: 0 matched, 1 changed" in page
    assert "orders none max-length: 7 nothing" in page


def test_an_operator_policy_is_set_and_deleted(node: HttpNode, browser: Browser) -> None:
    fields = {"vhost": "/", "name": "o", "operator": "true"}
    page = browser.send("/policies", **fields, pattern="^q", apply_to="queues", definition="max-length = 7")
    assert "The operator policy o is set." in text_of(page)
    assert [each["name"] for each in node.get("/operator-policies")] == ["o"]
    assert "Operator policy o" in text_of(browser.open("/policies/edit?vhost=%2F&name=o&operator=true"))
    browser.send("/policies/delete", **fields)
    assert node.get("/operator-policies") == []


def test_values_of_policies_that_are_no_texts_are_written_as_json(node: HttpNode, browser: Browser) -> None:
    lines = "max-length = 7\nqueue-mode = lazy\nexpires = 1e3"
    page = text_of(browser.send("/policies", vhost="/", name="p", pattern="q", definition=lines, back="/policies"))
    assert "is not valid" in page
    browser.send("/policies", vhost="/", name="p", pattern="q", definition="max-length = 7\nqueue-mode = lazy")
    assert node.get("/policies")[0]["definition"] == {"max-length": 7, "queue-mode": "lazy"}


def test_a_user_is_changed_bit_by_bit(node: HttpNode, browser: Browser) -> None:
    page = text_of(browser.send("/users", name="ann", password="secret"))
    assert browser.path == "/users/ann"
    assert "The user may open no virtual host" in page
    browser.send("/users/ann/tags", **{"tag-monitoring": "1", "others": "sales, eu"})
    assert node.get("/users/ann")["tags"] == ["monitoring", "sales", "eu"]
    browser.send("/users/ann/limits", **{"max-connections": "7", "max-channels": ""})
    assert node.get("/user-limits/ann") == [{"user": "ann", "value": {"max-connections": 7}}]
    assert "'many' is no number" in text_of(browser.send("/users/ann/limits", **{"max-connections": "many"}))
    browser.send("/users/ann/password", password="other")
    assert node.get("/users/ann")["tags"] == ["monitoring", "sales", "eu"]
    browser.send("/permissions", user="ann", vhost="/", configure="^a", write="^b", read="^c")
    browser.send("/topic-permissions", user="ann", vhost="/", exchange="amq.topic", write="^d", read="^e")
    browser.path = "/users/ann"
    page = text_of(browser.open("/users/ann"))
    assert "/ ^a ^b ^c" in page
    assert "/ amq.topic ^d ^e" in page
    browser.send("/topic-permissions/delete", user="ann", vhost="/", exchange="amq.topic")
    browser.send("/permissions/delete", user="ann", vhost="/")
    assert node.get("/users/ann/permissions") == []
    assert node.get("/users/ann/topic-permissions") == []


def test_a_virtual_host_is_protected_and_may_be_deleted_again(node: HttpNode, browser: Browser) -> None:
    browser.send("/vhosts", name="eu", description="Europe")
    assert "is protected from deletion." in text_of(browser.send("/vhosts/protection", name="eu", protect="true"))
    page = text_of(browser.send("/vhosts/delete", name="eu", confirm="eu", back="/vhosts"))
    assert "Refusing to delete virtual host" in page
    browser.send("/vhosts/protection", name="eu")
    browser.send("/vhosts/delete", name="eu", confirm="eu")
    assert "eu" not in node.node.vhosts


def test_without_a_user_database_the_page_of_roles_says_what_there_is_instead(browser: Browser) -> None:
    assert "Users are records of this broker, and have no roles" in text_of(browser.open("/roles"))


def with_file(browser: Browser, content: bytes, **fields: str) -> str:
    """Send the form of definitions with a file; return the page that follows."""
    session = browser.console.sessions.find(browser.cookies["cordillera-console"])
    assert session is not None
    parts = {**fields, "mark": session.mark}
    octets = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in parts.items()
    )
    octets += b'--b\r\nContent-Disposition: form-data; name="file"; filename="d.json"\r\n\r\n' + content + b"\r\n--b--"
    answer = browser.ask_octets("/definitions", octets, "multipart/form-data; boundary=b")
    assert answer.status == 303, answer.body
    return text_of(browser.open(answer.headers["Location"]))


def test_definitions_are_tried_and_then_imported_without_choosing_the_file_again(
    node: HttpNode, browser: Browser
) -> None:
    content = b'{"vhosts": [{"name": "eu"}], "queues": [{"name": "q", "vhost": "eu", "durable": true}]}'
    page = with_file(browser, content, what="try")
    assert "Nothing is changed yet" in page
    assert "2 things would be made or changed" in page
    assert "eu" not in node.node.vhosts
    page = text_of(browser.send("/definitions", what="draft"))
    assert "The definitions are imported." in page
    assert "q" in node.node.vhosts["eu"].queues
    assert "What was tried is not kept any more" in text_of(browser.send("/definitions", what="draft"))
    assert "Choose a file" in with_file(browser, b"", what="import")
    assert "failed_to_parse_json" in with_file(browser, b"{", what="import")


def test_what_one_has_tried_another_does_not_import(node: HttpNode, browser: Browser) -> None:
    with_file(browser, b'{"vhosts": [{"name": "eu"}]}', what="try")
    other = Browser(node, browser.console)
    other.log_in()
    other.path = "/definitions"
    assert "What the import would do" not in text_of(other.open("/definitions"))
    assert "not kept any more" in text_of(other.send("/definitions", what="draft"))
    with_file(other, b'{"vhosts": [{"name": "us"}]}', what="try")
    assert "What the import would do" not in text_of(browser.open("/definitions")), "there is one draft for all"


def test_definitions_are_downloaded_as_a_file(browser: Browser) -> None:
    answer = browser.ask("GET", "/definitions/export?vhost=%2F")
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="definitions.json"'
    assert b'"original_vhost_name":"/"' in answer.body


# Lists


def test_long_lists_beside_others_have_pages(node: HttpNode, browser: Browser) -> None:
    peer = node.harness.peer()
    peer.call(1, QueueDeclare(queue="q"))
    for number in range(60):
        peer.call(1, QueueBind(queue="q", exchange="amq.topic", routing_key=f"key.{number:02}"))
        peer.send(1, BasicConsume(queue="q", consumer_tag=f"tag.{number:02}"))
    page = browser.open("/queues/%2F/q")
    assert "61 bindings page 1 of 2" in text_of(page)
    assert "60 consumers page 1 of 2" in text_of(page)
    assert "tag.59" not in page
    page = browser.open("/queues/%2F/q?bindings=2&consumers=2")
    assert "tag.59" in page
    assert "key.59" in page
    assert 'href="?bindings=1&amp;consumers=2"' in page
    assert "page 1 of 2" in text_of(browser.open("/exchanges/%2F/amq.topic"))


def test_many_virtual_hosts_are_found_by_typing(node: HttpNode, browser: Browser) -> None:
    assert '<select name="vhost">' in browser.open("/queues")
    for number in range(60):
        node.status("PUT", f"/vhosts/v{number:02}")
    page = browser.open("/queues")
    assert '<select name="vhost">' not in page
    assert page.count('<option value="v') <= 100
    assert browser.open("/suggestions?part=v5").count("<option") == 10
    assert "62 virtual hosts page 1 of 2" in text_of(browser.open("/vhosts"))


def test_the_log_is_shown_from_a_level_on_and_in_pages(node: HttpNode, browser: Browser) -> None:
    def logs(level: str, before: int | None, limit: int, text: str) -> list[dict[str, object]]:
        last = 500 if before is None else before - 1
        row = {"time": "2026-01-02T03:04:05.678901Z", "level": level, "module": "broker.test", "event": EVIL}
        return [{**row, "number": last - each, "fields": {"peer": EVIL}} for each in range(limit)]

    node.node.view.logs = logs  # type: ignore[assignment]
    page = browser.open("/logs?level=error")
    assert "<script>alert" not in page
    assert "2026-01-02 03:04:05.678" in page
    assert "before=401" in page
    assert "before=301" in browser.open("/logs?level=error&before=401")


def test_the_timeline_is_drawn_and_listed(node: HttpNode, browser: Browser) -> None:
    node.around.entries = [
        TimelineEntry(2000, "coordinator_changed", "NODE:2", "NODE:2"),
        TimelineEntry(1000, "member_added", "NODE:2", "NODE:2"),
    ]
    page = browser.open("/timeline")
    assert "NODE:2: a member 1 times, the coordinator 1 times" in page
    assert "became the coordinator NODE:2" in text_of(page)


def test_an_exchange_for_dead_letters_that_is_not_there_is_told_where_administrators_look(node: HttpNode) -> None:
    browser = Browser(node)
    browser.log_in()
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    node.status("PUT", "/policies/%2F/p", {"pattern": "^q", "definition": {"dead-letter-exchange": "dlx"}})
    missing = "There is no exchange 'dlx' in vhost '/': dead letters of its queues are lost."
    assert missing in text_of(browser.open("/policies"))
    assert missing in text_of(browser.open("/policies/edit?vhost=%2F&name=p"))
    assert "There is no dead-letter exchange 'dlx': dead letters of queue 'q' are lost." in text_of(
        browser.open("/queues/%2F/q")
    )
    node.status("PUT", "/exchanges/%2F/dlx", {"type": "fanout"})
    for path in ("/policies", "/policies/edit?vhost=%2F&name=p", "/queues/%2F/q"):
        assert "There is no" not in text_of(browser.open(path)).replace("There is no message", "")
