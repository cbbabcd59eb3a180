"""What the console offers leads somewhere: each role follows every link and sends every form that its pages have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode, urljoin, urlsplit

import pytest

from broker.auth.password_hash import Public
from broker.codec.methods import BasicConsume, BasicGet, BasicReject, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.ports.records import PermissionRecord, UserRecord
from tests.support.browser import Browser, text_of
from tests.support.http_api import ALL, HttpNode

ROLES = ("user", "maker", "watcher", "guest", "closed", "both", "chief", "reader")
"""Those of `HttpNode`; then users with the tags management, policymaker with monitoring, and administrator who may open
no virtual host, and one who may only read.
"""
_REFUSED = re.compile(r"authoris|refused|Not \w+ user|may not", re.IGNORECASE)
_LINK = re.compile(r'<a [^>]*?href="([^"]*)"')
_FORM = re.compile(r"<form([^>]*)>(.*?)</form>", re.DOTALL)
_MOST = 500


def new_node() -> HttpNode:
    """Return a node with something on each page."""
    node = HttpNode()
    for name, tags in (("closed", "management"), ("both", "policymaker,monitoring"), ("chief", "administrator")):
        node.put(UserRecord(name, Public(name).text, tags))
    node.put(UserRecord("reader", Public("reader").text, "management"))
    node.put(PermissionRecord("reader", "/", "", "", ".*"), PermissionRecord("reader", "carbon", "", "", ".*"))
    node.put(PermissionRecord("maker", "carbon", "", "", ""))
    node.status("PUT", "/vhosts/secret")
    node.put(PermissionRecord("guest", "secret", *ALL))
    for vhost in ("%2F", "secret"):
        node.status("PUT", f"/queues/{vhost}/mine.orders", {"durable": True})
        node.status("PUT", f"/policies/{vhost}/p", {"pattern": "^x", "definition": {"max-length": 1}})
        node.status("PUT", f"/operator-policies/{vhost}/top", {"pattern": "^x", "definition": {"max-length": 2}})
    peer = node.harness.peer()
    peer.send(1, QueueDeclare(queue="others"))
    peer.send(1, BasicConsume(queue="others", consumer_tag="c"))
    peer.publish("mine.orders", b"x", properties=BasicProperties(message_id="m", delivery_mode=2))
    jms = node.harness.peer(capabilities=(), vhost="carbon")
    jms.send(1, QueueDeclare(queue="q", durable=True))
    jms.publish("q", b"x", exchange="amq.direct", properties=BasicProperties(delivery_mode=2))
    answer = jms.call(1, BasicGet(queue="q"))
    jms.send(1, BasicReject(answer.delivery_tag, requeue=False))  # type: ignore[union-attr]
    jms.send(1, BasicConsume(queue="q", consumer_tag="d"))
    node.harness.run()
    return node


@dataclass
class Form:
    """A form as it is on a page: where it goes with each of its buttons, and what stands in it."""

    method: str
    targets: list[tuple[str, dict[str, str]]]
    fields: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)


def attribute(element: str, name: str) -> str | None:
    found = re.search(rf'\b{name}="([^"]*)"', element)
    return None if found is None else unescape(found[1])


def forms_of(page: str, path: str) -> Iterator[Form]:
    for head, content in _FORM.findall(page):
        action = attribute(head, "action") or path.partition("?")[0]
        form = Form((attribute(head, "method") or "get").upper(), [])
        for select, options in re.findall(r"<select([^>]*)>(.*?)</select>", content, re.DOTALL):
            name = attribute(select, "name") or ""
            form.choices[name] = [
                unescape(told if value is None else value).strip()
                for head, told in re.findall(r"<option([^>]*)>([^<]*)", options)
                for value in [attribute(head, "value")]
            ]
            form.fields[name] = form.choices[name][0] if form.choices[name] else ""
        for element in re.findall(r"<(?:input|textarea)\b[^>]*>", content):
            name = attribute(element, "name")
            if name is not None and ('type="checkbox"' not in element or "checked" in element):
                form.fields[name] = attribute(element, "value") or ""
        for element in re.findall(r"<button\b[^>]*>", content):
            name = attribute(element, "name")
            extra = {} if name is None else {name: attribute(element, "value") or ""}
            form.targets.append((attribute(element, "formaction") or action, extra))
        yield form


class Walk:
    """A visitor who goes wherever the pages lead."""

    def __init__(self, node: HttpNode, user: str) -> None:
        self.browser = Browser(node)
        self.browser.log_in(user)
        self.seen: set[str] = set()
        self.forms: dict[tuple[str, str], tuple[str, Form, dict[str, str]]] = {}
        self.faults: list[str] = []

    def go(self) -> None:
        waiting = ["/"]
        while waiting and len(self.seen) < _MOST:
            address = waiting.pop(0)
            waiting += [each for each in self._visit(address) if each not in self.seen and each not in waiting]
        assert len(self.seen) < _MOST, sorted(self.seen)
        for (target, _), (page, form, extra) in sorted(self.forms.items(), key=_deletes):
            for vhost in form.choices.get("vhost", [form.fields.get("vhost", "")]):
                self._send(page, target, {**form.fields, **extra, **({"vhost": vhost} if vhost else {})})

    def _visit(self, address: str) -> list[str]:
        self.seen.add(address)
        answer = self.browser.ask("GET", address)
        page = answer.body.decode()
        if answer.status != 200:
            self.faults.append(f"GET {address}: {answer.status} {text_of(page)[-100:]}")
            return []
        if not answer.content_type.startswith("text/html"):
            return []
        links = [urljoin(address, unescape(each)) for each in _LINK.findall(page)]
        for form in forms_of(page, address):
            if form.method == "GET":
                links += [f"{target}?{query}" for target, _ in form.targets for query in self._queries(form)]
            else:
                for target, extra in form.targets:
                    if target == "/logout":
                        continue
                    key = (target, str(sorted(extra.items())))
                    self.forms.setdefault(key, (address, form, extra))
        return [each for each in links if not urlsplit(each).fragment and "sort=" not in each]

    def _queries(self, form: Form) -> list[str]:
        """Return the form with each choice, one after the other, and a value where one is asked for."""
        given = {name: value or ("7" if name == "value" else "") for name, value in form.fields.items()}
        given = {name: value for name, value in given.items() if not name.startswith("sort")}
        return [urlencode(given)] + [
            urlencode({**given, name: each}) for name in ("vhost", "by") for each in form.choices.get(name, [])
        ]

    def _send(self, page: str, target: str, fields: dict[str, str]) -> None:
        """Send a form, filled in where nothing stands; nobody may be told that this is for others."""
        name = page.partition("?")[0].rpartition("/")[2]
        filled = {field: value or _FILLED.get(field, value) for field, value in fields.items()}
        filled.pop("persistent", None)  # nothing commits while the request waits
        if target.endswith("/delete") and "confirm" in filled:
            filled["confirm"] = unescape(name)
        self.browser.ask("POST", target, filled)
        (session,) = (self.browser.console.sessions.find(each) for each in self.browser.cookies.values())
        notice = session.take_notice() if session is not None else ("refused", "the session is over")
        if notice is None or (notice[0] == "refused" and _REFUSED.search(notice[1])):
            self.faults.append(f"POST {target} {filled}: {notice}")


def _deletes(form: tuple[tuple[str, str], object]) -> bool:
    """What deletes something comes last: other forms are about it."""
    return any(word in form[0][0] for word in ("delete", "purge", "end", "close"))


_FILLED = {
    "name": "mine.new",
    "pattern": "^mine",
    "definition": "max-length = 1",
    "password": "new",
    "tags": "management",
    "target": "mine.orders",
    "seconds": "1",
}


@pytest.mark.parametrize("user", ROLES)
def test_every_link_and_form_leads_where_the_visitor_may_go(user: str) -> None:
    walk = Walk(new_node(), user)
    walk.go()
    assert walk.faults == []
