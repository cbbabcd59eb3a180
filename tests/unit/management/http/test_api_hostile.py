"""The table of hostile requests in docs/http-api.md: each of them is sent, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.browser import FORM, Browser
from tests.support.http_api import HttpNode, basic, new_call

DOCS = Path(__file__).parents[4] / "docs" / "http-api.md"
EVIL = "https://evil.example"
SCRIPT = "<script>alert(1)</script>"
QUEUE = b'{"durable": true}'


@dataclass(frozen=True, slots=True)
class Hostile:
    """A request: of a `user` with a password, or with the cookie of guest's session in the console."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    user: str | None = "guest"
    has_cookie: bool = False


REQUESTS = {
    # Nobody, and not enough
    "no login": Hostile("GET", "/api/queues", user=None),
    "a wrong password": Hostile("GET", "/api/queues", headers={"authorization": basic("guest", "wrong")}, user=None),
    "a header of a login that cannot be read": Hostile(
        "GET", "/api/queues", headers={"authorization": "Basic é"}, user=None
    ),
    "a default password from another machine": Hostile("GET", "/api/queues", headers={"x-from": "192.0.2.1"}),
    "a user without a tag": Hostile("GET", "/api/queues", user="nobody"),
    "a change by who may only look": Hostile("PUT", "/api/queues/%2F/q", QUEUE, user="watcher"),
    "a queue whose name the user may not configure": Hostile("PUT", "/api/queues/%2F/others", QUEUE, user="user"),
    "a user made by one who is no administrator": Hostile(
        "PUT", "/api/users/x", b'{"tags":"administrator"}', user="maker"
    ),
    "the definitions for one who is no administrator": Hostile("GET", "/api/definitions", user="watcher"),
    "the cookie of the console instead of a login": Hostile("GET", "/api/queues", user=None, has_cookie=True),
    "a form without a session": Hostile("POST", "/queues", b"name=q", {"content-type": FORM}, user=None),
    # Other sites
    "a change sent by a page of another site": Hostile("PUT", "/api/queues/%2F/q", QUEUE, {"origin": EVIL}),
    "a change sent by a page without an origin": Hostile("PUT", "/api/queues/%2F/q", QUEUE, {"origin": "null"}),
    "a change that the browser calls cross-site": Hostile(
        "DELETE", "/api/vhosts/%2F", b"", {"sec-fetch-site": "cross-site"}
    ),
    "a form of another site, with the cookie": Hostile(
        "POST", "/queues", b"name=q", {"content-type": FORM, "origin": EVIL}, user=None, has_cookie=True
    ),
    "a form without the mark of its session": Hostile(
        "POST", "/queues", b"name=q", {"content-type": FORM}, user=None, has_cookie=True
    ),
    "a login form of another site": Hostile(
        "POST", "/login", b"name=guest&password=guest", {"content-type": FORM, "origin": EVIL}, user=None
    ),
    "a question whether another origin may ask (CORS)": Hostile(
        "OPTIONS", "/api/queues", headers={"origin": EVIL}, user=None
    ),
    # Names and paths
    "a script as the name of a queue": Hostile("GET", "/api/queues/%2F/%3Cscript%3Ealert(1)%3C%2Fscript%3E"),
    "a script as the path of a page": Hostile(
        "GET", "/%3Cscript%3Ealert(1)%3C%2Fscript%3E", user=None, has_cookie=True
    ),
    "a path that leads out of the files": Hostile("GET", "/static/..%2F..%2F..%2Fetc%2Fpasswd", user=None),
    "a path that leads out of the API": Hostile("GET", "/api/../../etc/passwd"),
    "a name that leads to another route": Hostile("GET", "/api/queues/%2F/..%2F..%2Fusers"),
    "a name with a line end": Hostile("GET", "/api/queues/%2F/a%0D%0ASet-Cookie:%20x=1"),
    "an expression that takes for ever": Hostile("GET", "/api/queues?page=1&use_regex=true&name=(a%2B)%2B%241"),
    "an expression that cannot be read": Hostile("GET", "/api/queues?page=1&use_regex=true&name=("),
    # Sizes and forms
    "a body above 1 MiB": Hostile("PUT", "/api/queues/%2F/q", b" " * (1024 * 1024 + 1)),
    "definitions above 20 MiB": Hostile("POST", "/api/definitions", b" " * (20 * 1024 * 1024 + 1)),
    "a form above 1 MiB": Hostile(
        "POST", "/queues", b"name=" + b"q" * 1024 * 1024, {"content-type": FORM}, user=None, has_cookie=True
    ),
    "a form that is none": Hostile(
        "POST", "/queues", b"{}", {"content-type": "text/plain"}, user=None, has_cookie=True
    ),
    "a body that is no JSON": Hostile("PUT", "/api/queues/%2F/q", b"{"),
    "a body 100 000 levels deep": Hostile("PUT", "/api/queues/%2F/q", b"[" * 100_000),
    "a name that is not UTF-8": Hostile("PUT", "/api/vhosts/%FF"),
    "half of a surrogate pair in a body": Hostile("PUT", "/api/global-parameters/x", b'{"value": "\\ud800"}'),
    "a number of 64 bits in a body": Hostile("PUT", "/api/global-parameters/x", b'{"value": 9223372036854775808}'),
    "a page of a million rows": Hostile("GET", "/api/queues?page=1&page_size=1000000"),
    "a filter of 10 000 characters": Hostile("GET", "/api/queues?page=1&name=" + "a" * 10_000),
    "a method that is none of the route": Hostile("PATCH", "/api/queues/%2F/q", QUEUE),
    "a method that is none of a page": Hostile("DELETE", "/queues", user=None, has_cookie=True),
}
"""By what docs/http-api.md calls them."""


def documented() -> dict[str, int]:
    """Return the table: what is sent, and the status of the answer."""
    section = DOCS.read_text().partition("## Hostile requests")[2].partition("\n## ")[0]
    return {name: int(status) for name, status in re.findall(r"^\| ([^|]+?) \| (\d{3})", section, re.M)}


@pytest.fixture(scope="module")
def node() -> HttpNode:
    return HttpNode()


@pytest.fixture(scope="module")
def browser(node: HttpNode) -> Browser:
    made = Browser(node)
    made.log_in()
    return made


def test_the_table_has_these_requests() -> None:
    assert sorted(documented()) == sorted(REQUESTS)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_hostile_request_is_answered_as_the_table_says(name: str, node: HttpNode, browser: Browser) -> None:
    hostile = REQUESTS[name]
    before = node.get("/definitions")
    given = {"host": "broker:15672", **hostile.headers}
    address = given.pop("x-from", "127.0.0.1")
    if hostile.user is not None:
        given["authorization"] = basic(hostile.user, hostile.user)
    if hostile.has_cookie:
        given["cookie"] = "; ".join(f"{key}={value}" for key, value in browser.cookies.items())
    call = new_call(hostile.method, hostile.path, hostile.body, given, address)
    answer = node.run(browser.console.handle(call))

    assert answer.status == documented()[name], answer.body[:300]
    assert SCRIPT.encode() not in answer.body
    assert b"root:" not in answer.body
    assert not {each for each in answer.headers if each.lower().startswith("access-control")}
    assert not any("\n" in value or "\r" in value for value in answer.headers.values())
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert node.get("/definitions") == before
