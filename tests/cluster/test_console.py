"""The console of a cluster in a real browser: what WSO2's guide has an administrator look at."""

from __future__ import annotations

import shutil
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

    def log_in(self) -> None:
        self.page.fill("input[name=name]", "guest")
        self.page.fill("input[name=password]", "guest")
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
