"""A browser for the console over the broker of a harness: it keeps cookies, follows redirects and sends forms.

Knows how forms look; must not judge pages.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from html import unescape
from typing import Final
from urllib.parse import urlencode

from broker.management.console.site import Console
from broker.management.http.call import HttpAnswer, HttpCaller
from tests.support.http_api import HttpNode, new_call

FORM: Final = "application/x-www-form-urlencoded"


class Browser:
    """One person's browser."""

    def __init__(self, node: HttpNode, console: Console | None = None, *, address: str = "127.0.0.1") -> None:
        self.node = node
        self.console = console or new_console(node)
        self.address = address
        self.cookies: dict[str, str] = {}
        self.path = ""
        """Where the last page was."""

    def ask(
        self, method: str, path: str, fields: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Return the answer to one request."""
        given = {"host": "broker:15672", **(headers or {})}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        octets = b""
        if fields is not None:
            octets = urlencode(fields).encode()
            given.setdefault("content-type", FORM)
        return self._ask(method, path, octets, given)

    def ask_octets(self, path: str, octets: bytes, content_type: str) -> HttpAnswer:
        """Return the answer to a form that is sent as it is."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {"host": "broker:15672", "cookie": cookies, "content-type": content_type}
        return self._ask("POST", path, octets, given)

    def _ask(self, method: str, path: str, octets: bytes, given: Mapping[str, str]) -> HttpAnswer:
        answer = self.node.run(self.console.handle(new_call(method, path, octets, given, self.address)))
        if set_cookie := answer.headers.get("Set-Cookie"):
            name, _, value = set_cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def open(self, path: str) -> str:
        """Return the page at a path, after redirects; it must be there."""
        answer = self.ask("GET", path)
        for _ in range(5):
            if answer.status != 303:
                break
            path = answer.headers["Location"]
            answer = self.ask("GET", path)
        self.path = path
        page = answer.body.decode()
        assert answer.status == 200, (path, answer.status, page)
        return page

    def send(self, path: str, **fields: str) -> str:
        """Send a form of the page that is open, and return the page that follows."""
        mark = re.search(r'name="mark" value="([^"]+)"', self.open(self.path or "/"))
        assert mark is not None, "the page has no form"
        answer = self.ask("POST", path, {"mark": unescape(mark[1]), **fields})
        assert answer.status == 303, (answer.status, answer.body)
        return self.open(answer.headers["Location"])

    def log_in(self, user: str = "guest", **fields: str) -> str:
        """Log in, with the user's name as the password; return the page that follows."""
        answer = self.ask("POST", "/login", {"name": user, "password": user, **fields})
        assert answer.status == 303, (answer.status, answer.body)
        return self.open(answer.headers["Location"])


def new_console(node: HttpNode, prefix: str = "") -> Console:
    """Return a console of the node."""
    clock = node.harness.clock

    def again(caller: HttpCaller) -> HttpCaller | None:
        record = node.directory.user(caller.name)
        return None if record is None else HttpCaller(caller.identity, frozenset(record.tags.split(",")))

    return Console(node.api, prefix, clock.monotonic, clock.wall_ms, again, secrets.token_urlsafe)


def text_of(page: str) -> str:
    """Return the words of a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
