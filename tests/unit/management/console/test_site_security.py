"""Every page and every form of the console: what strangers, other sites and users without the right are answered."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from broker.management.console.actions import FORMS
from broker.management.console.pages import PAGES
from broker.management.http.call import HttpAnswer
from tests.support.browser import Browser, text_of
from tests.support.http_api import HttpNode

PAGE_PATHS = [page.path for page in PAGES]
FORM_PATHS = [form.path for form in FORMS]
NAMES = {"{vhost}": "%2F", "{name}": "amq.topic", "{user}": "watcher", "{what}": "delete", "{job}": "1"}

EVERYBODY = {"user", "watcher", "maker", "guest"}
WHO_MAY = {
    "/": EVERYBODY,
    "/nodes": {"watcher", "guest"},
    "/queues": EVERYBODY,
    "/queues/{vhost}/{name}": EVERYBODY,
    "/queues/{vhost}/{name}/messages": {"maker", "guest"},
    "/exchanges": EVERYBODY,
    "/exchanges/{vhost}/{name}": EVERYBODY,
    "/connections": EVERYBODY,
    "/subscriptions": EVERYBODY,
    "/dead-letters": {"guest"},
    "/delayed": {"maker", "guest"},
    "/find": EVERYBODY,
    "/timeline": {"watcher", "guest"},
    "/slots": {"watcher", "guest"},
    "/logs": {"guest"},
    "/suggestions": EVERYBODY,
    "/policies": EVERYBODY,
    "/policies/edit": {"maker", "guest"},
    "/users": {"guest"},
    "/users/{user}": {"guest"},
    "/roles": {"guest"},
    "/vhosts": EVERYBODY,
    "/definitions": {"guest"},
    "/definitions/export": {"guest"},
}
"""Who sees which page: tags are those of RabbitMQ's API, by which every page asks."""

FIELDS = {
    "name": "watcher",
    "user": "watcher",
    "vhost": "carbon",
    "exchange": "amq.topic",
    "role": "r",
    "pattern": ".*",
    "definition": "max-length = 1",
    "password": "new",
    "confirm": "watcher",
    "file": "{}",
    "what": "import",
    "resource": "/x",
    "action": "consume",
    "routing_key": "others",
    "all": "true",
}


def at(path: str, names: dict[str, str] = NAMES) -> str:
    for name, value in names.items():
        path = path.replace(name, value)
    return path


@pytest.fixture(scope="module")
def node() -> HttpNode:
    node = HttpNode()
    node.status("PUT", "/queues/%2F/amq.topic", {}, user="guest")
    node.status("PUT", "/queues/%2F/others", {"durable": True})
    client = node.harness.peer()
    client.publish("others", b"x")
    return node


@pytest.fixture(scope="module")
def browsers(node: HttpNode) -> dict[str, Browser]:
    found = {}
    for user in sorted(EVERYBODY):
        found[user] = Browser(node)
        found[user].log_in(user)
    return found


def mark_of(browser: Browser) -> str:
    session = browser.console.sessions.find(browser.cookies["cordillera-console"])
    assert session is not None
    return session.mark


def send(browser: Browser, path: str, **fields: str) -> HttpAnswer:
    return browser.ask("POST", at(path), {**FIELDS, **fields})


@pytest.mark.parametrize("path", PAGE_PATHS)
def test_a_page_is_for_those_who_may_see_what_is_on_it(path: str, browsers: dict[str, Browser]) -> None:
    """A page that is not in the table fails here."""
    assert path in WHO_MAY, "say who may see this page"
    address = at(path) if path != "/queues/{vhost}/{name}" else "/queues/%2F/others"
    address = address.replace("/queues/%2F/amq.topic/messages", "/queues/%2F/others/messages")
    for user, browser in browsers.items():
        answer = browser.ask("GET", address)
        expected = {200} if user in WHO_MAY[path] else {403, 404}
        assert answer.status in expected, (user, answer.status, text_of(answer.body.decode())[:300])


@pytest.mark.parametrize("path", [*PAGE_PATHS, "/live", "/nosuch"])
def test_who_has_not_logged_in_sees_no_page(path: str, node: HttpNode) -> None:
    answer = Browser(node).ask("GET", at(path))
    assert answer.status == (401 if path == "/live" else 303)
    assert answer.status == 401 or answer.headers["Location"].startswith("/login?next=")


@pytest.mark.parametrize("path", FORM_PATHS)
def test_a_form_does_nothing_without_a_session_its_mark_and_the_consoles_own_site(
    path: str, node: HttpNode, browsers: dict[str, Browser]
) -> None:
    assert send(Browser(node), path).status == 401
    guest = browsers["guest"]
    assert send(guest, path).status == 403
    assert send(guest, path, mark=mark_of(browsers["maker"])).status == 403
    mark = mark_of(guest)
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert guest.ask("POST", at(path), {**FIELDS, "mark": mark}, headers).status == 403
    assert guest.ask("POST", at(path), {**FIELDS, "mark": mark}, {"content-type": "text/plain"}).status == 415
    large = 21 << 20 if path == "/definitions" else 1 << 20
    assert guest.ask("POST", at(path), {"mark": mark, "payload": "x" * large}).status == 413
    assert "other" not in node.harness.vhost.queues


@pytest.mark.parametrize("path", FORM_PATHS)
def test_a_form_of_a_user_who_may_not_changes_nothing(path: str, node: HttpNode) -> None:
    """A user with the tag management and permissions for names that begin with `mine` alone."""
    before = node.get("/definitions")
    browser = Browser(node)
    browser.log_in("user")
    names = {**NAMES, "{name}": "others"}
    address = at(path, names) if path != "/exchanges/{vhost}/{name}/publish" else "/exchanges/%2F/amq.topic/publish"
    answer = browser.ask("POST", address, {**FIELDS, "name": "others", "mark": mark_of(browser), "confirm": "others"})
    assert answer.status == 303, answer.body
    page = browser.open("/queues")
    assert 'class="notice refused"' in page, text_of(page)[:300]
    after = node.get("/definitions")
    assert {name: after[name] for name in after} == before
    assert node.get("/queues/%2F/others")["messages"] == 1


@pytest.mark.parametrize(
    "path",
    [
        "/static/../site.py",
        "/static/%2e%2e/site.py",
        "/static/..%2fsite.py",
        "/static//etc/passwd",
        "/../../etc/passwd",
        "/queues/%2F/..%2F..%2Fusers",
        "/queues/%2F/%00",
        "/users/%2e%2e",
        "/" + "a/" * 100,
        "/" + quote("<script>alert(1)</script>"),
    ],
)
def test_no_path_leads_elsewhere(path: str, browsers: dict[str, Browser]) -> None:
    answer = browsers["guest"].ask("GET", path)
    assert answer.status == 404
    assert b"<script>alert" not in answer.body
    assert b"root:" not in answer.body


@pytest.mark.parametrize("path", [*(at(path) for path in PAGE_PATHS), "/nosuch", "/static/x"])
def test_every_answer_keeps_other_sites_out(path: str, browsers: dict[str, Browser]) -> None:
    headers = browsers["guest"].ask("GET", path, headers={"origin": "https://evil.example"}).headers
    assert not {name for name in headers if name.lower().startswith("access-control")}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"])
def test_pages_are_read_and_forms_are_sent_and_nothing_else(method: str, browsers: dict[str, Browser]) -> None:
    assert browsers["guest"].ask(method, "/queues").status == 405
