"""The console of a cluster in a real browser: what WSO2's guide has an administrator look at."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.request
from collections.abc import Iterator

import pika
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.nodes.process import BrokerProcess
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
PATIENCE = 20_000


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Visitor:
    """A page, and what its browser complains of."""

    def __init__(self, browser: Browser, base: str) -> None:
        self.page: Page = browser.new_context(ignore_https_errors=True).new_page()
        self.page.set_default_timeout(PATIENCE)
        self.base = base
        self.complaints: list[str] = []
        self.others: list[str] = []
        self.page.on("console", lambda told: self.complaints.append(told.text) if told.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: None if asked.url.startswith(base) else self.others.append(asked.url))

    def open(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def log_in(self, user: str = "guest", password: str = "guest") -> None:
        self.page.fill("input[name=name]", user)
        self.page.fill("input[name=password]", password)
        self.page.click("button.main")


def console_of(cluster: ClusterOfProcesses, node: BrokerProcess) -> str:
    return f"https://127.0.0.1:{cluster.console_port + cluster.nodes.index(node)}"


def test_the_node_list_shows_every_node_and_another_coordinator_when_the_first_is_killed(
    new_cluster: NewCluster, mariadb: DatabaseServer, browser: Browser
) -> None:
    cluster = new_cluster(mariadb, 3, has_console=True)
    cluster.start()
    coordinator = cluster.coordinator()
    witness, other = cluster.others(coordinator)
    visitor = Visitor(browser, console_of(cluster, witness))

    page = visitor.open("/carbon")
    visitor.log_in()
    page = visitor.open("/nodes")

    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(page.locator("main")).to_contain_text("Message Store Health : Healthy")
    yes = page.locator("tbody tr", has=page.locator(".badge.yes"))
    expect(yes).to_have_count(1)
    expect(yes).to_contain_text(coordinator.configuration.node_id)

    coordinator.kill9()

    expect(rows).to_have_count(2, timeout=PATIENCE)
    expect(yes).to_have_count(1)
    expect(yes).not_to_contain_text(coordinator.configuration.node_id)
    assert other.is_running()
    assert visitor.complaints == []
    assert visitor.others == []


def test_a_queue_is_made_filled_looked_at_and_purged_in_a_browser(
    new_cluster: NewCluster, mariadb: DatabaseServer, browser: Browser,
    channel_of: ChannelOf,
) -> None:  # fmt: skip
    cluster = new_cluster(mariadb, 1, has_console=True)
    cluster.start()
    [node] = cluster.nodes
    visitor = Visitor(browser, console_of(cluster, node))
    page = visitor.open("/queues")
    visitor.log_in()

    page.click("summary")
    page.fill("details input[name=name]", "orders/eu <b>")
    page.click("text=Add queue")
    expect(page.locator("h1")).to_have_text("orders/eu <b>")

    channel = channel_of(node)
    channel.basic_publish("", "orders/eu <b>", b"hello", pika.BasicProperties(delivery_mode=2))
    expect(page.locator(".number .big").first).to_have_text("1", timeout=PATIENCE)

    page.click("text=Purge or delete")
    page.click("button:has-text('Purge queue')")
    expect(page.locator(".notice")).to_contain_text("is empty")
    expect(page.locator(".number .big").first).to_have_text("0", timeout=PATIENCE)

    assert visitor.complaints == []
    assert visitor.others == []


ROLES: dict[str, tuple[tuple[str, ...], int, int]] = {
    "management": ((), 0, 0),
    "monitoring": (("Node List", "Slots", "Timeline"), 0, 0),
    "policymaker": (("Policies",), 1, 0),
    "administrator": (
        ("Node List", "Slots", "Timeline", "Policies", "Users", "Roles", "Definitions", "Logs"),
        2,
        1,
    ),
}
"""By tag: the pages beside those that everybody has, ways to add a policy, connections of others to close."""
FOR_EVERYBODY = {
    "Overview",
    "Queues",
    "Exchanges and topics",
    "Subscriptions",
    "Connections",
    "Dead letters",
    "Delayed messages",
    "Find a message",
    "Virtual hosts",
}


def put(base: str, path: str, body: dict[str, object]) -> None:
    """Change something by the HTTP API, as the administrator."""
    login = "Basic " + base64.b64encode(b"guest:guest").decode()
    request = urllib.request.Request(
        f"{base}/api{path}", json.dumps(body).encode(), {"authorization": login}, method="PUT"
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status in (201, 204)


@pytest.mark.slow
def test_users_of_the_store_see_and_do_in_a_browser_what_their_tags_permit(
    new_cluster: NewCluster, mariadb: DatabaseServer, browser: Browser, channel_of: ChannelOf
) -> None:
    cluster = new_cluster(mariadb, 1, has_console=True)
    cluster.start()
    [node] = cluster.nodes
    channel_of(node).queue_declare("orders", durable=True)
    base = f"http://127.0.0.1:{cluster.http_port}"
    for tag in (*ROLES, ""):
        name = tag or "nobody"
        put(base, f"/users/{name}", {"password": f"the secret of {name}", "tags": tag})
        put(base, f"/permissions/%2F/{name}", {"configure": "^own", "write": "^own", "read": "^own"})

    for tag, (pages, ways, others) in ROLES.items():
        visitor = Visitor(browser, base)
        page = visitor.open("/connections")
        visitor.log_in(tag, f"the secret of {tag}")
        expect(page.locator("h1")).to_have_text("Connections")
        shown = set(page.locator("nav.rail a").all_inner_texts())
        assert shown == FOR_EVERYBODY | set(pages), tag
        assert page.locator("button.danger:has-text('Close')").count() == others, tag
        visitor.open("/policies")
        assert page.locator(".actions a").count() == ways, tag
        visitor.open("/queues/%2F/orders")
        assert page.locator("main button").count() == 0, "no permission for this queue, and no button"
        mark = page.locator("header input[name=mark]").get_attribute("value")
        assert mark is not None

        forged = page.request.post(f"{base}/queues/%2F/orders/delete", form={"confirm": "orders", "mark": mark})
        assert "Access refused" in forged.text()
        without = page.request.post(f"{base}/queues/%2F/orders/delete", form={"confirm": "orders", "mark": "forged"})
        assert without.status == 403
        users = page.request.get(f"{base}/users")
        assert users.status == (200 if tag == "administrator" else 403)
        assert visitor.complaints == []
        page.context.close()

    stranger = Visitor(browser, base)
    page = stranger.open("/queues")
    stranger.log_in("nobody", "the secret of nobody")
    expect(page.locator(".notice.refused")).to_contain_text("has none of the tags")
    assert page.request.get(f"{base}/api/queues").status == 401
    assert page.request.post(f"{base}/queues/%2F/orders/delete", form={"confirm": "orders"}).status == 401
