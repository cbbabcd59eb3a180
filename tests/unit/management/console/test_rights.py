"""What a page offers: buttons for what its visitor may do, and no others."""

from __future__ import annotations

import re

import pytest

from tests.support.browser import Browser
from tests.support.http_api import HttpNode

QUEUE = "/queues/%2F/others"
TOPIC = "/exchanges/%2F/amq.topic"


@pytest.fixture(scope="module")
def node() -> HttpNode:
    node = HttpNode()
    node.status("PUT", "/queues/%2F/others", {"durable": True})
    node.status("PUT", "/queues/%2F/mine.orders", {"durable": True})
    node.status("PUT", "/policies/%2F/p", {"pattern": "^x", "definition": {"max-length": 1}})
    node.status("PUT", "/operator-policies/%2F/top", {"pattern": "^x", "definition": {"max-length": 2}})
    return node


def offers(node: HttpNode, user: str, path: str) -> list[str]:
    """Return the words on the buttons and links of a page, but for those of the frame."""
    browser = Browser(node)
    browser.log_in(user)
    page = browser.open(path)
    main = page[page.index('<main id="main"') :]
    return [
        " ".join(re.sub(r"<[^>]*>", "", found).split())
        for found in re.findall(r"<button[^>]*>(.*?)</button>|<summary>(.*?)</summary>", main, re.DOTALL)
        for found in found
        if found
    ]


@pytest.mark.parametrize(
    ("user", "path", "offered"),
    [
        ("guest", QUEUE, ["Publish a message", "Publish", "Purge or delete", "Purge queue", "Delete queue"]),
        ("watcher", QUEUE, []),
        ("user", QUEUE, ["Publish a message", "Publish"]),
        (
            "user",
            "/queues/%2F/mine.orders",
            ["Publish a message", "Publish", "Purge or delete", "Purge queue", "Delete queue"],
        ),
        ("guest", TOPIC, ["Publish a message", "Publish"]),
        ("user", TOPIC, []),
        ("guest", "/exchanges/%2F/amq.rabbitmq.trace", []),
        ("guest", "/queues", ["Show", "Add a queue", "Add queue"]),
        ("user", "/queues", ["Show", "Add a queue", "Add queue"]),
        ("watcher", "/queues", ["Show"]),
        ("maker", "/delayed", ["Show"]),
        ("guest", "/dead-letters", ["Show"]),
        ("watcher", "/vhosts", ["Show"]),
    ],
)
def test_a_page_offers_what_its_visitor_may_do(node: HttpNode, user: str, path: str, offered: list[str]) -> None:
    assert offers(node, user, path) == offered


@pytest.mark.parametrize(
    ("user", "editable"), [("guest", ["p", "top"]), ("maker", ["p"]), ("watcher", []), ("user", [])]
)
def test_policies_are_changed_by_those_who_may(node: HttpNode, user: str, editable: list[str]) -> None:
    browser = Browser(node)
    browser.log_in(user)
    page = browser.open("/policies")
    assert re.findall(r'aria-label="Edit (\w+)"', page) == editable
    assert ("Add a policy" in page) == bool(editable)
    assert ("Add an operator policy" in page) == ("top" in editable)


def test_connections_are_closed_by_their_owner_and_administrators(node: HttpNode) -> None:
    node.harness.peer()
    for user, may_close in (("guest", True), ("watcher", False)):
        browser = Browser(node)
        browser.log_in(user)
        page = browser.open("/connections")
        assert "guest" in page[page.index("<tbody>") :], user
        assert (">Close</button>" in page) == may_close, user
