"""Whether those who look at a broker slow down those who use it: throughput beside browsers and scrapers.

Beside that, how soon a browser shows the list of queues.

There are `--queues` queues beside those of the load. All run in turn in each round; the ratios are those of a round.
`core_rate` is the rate for each second of the broker's CPU time: browsers take the load's core, which says nothing of
the broker.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from shutil import which
from typing import Any

from benchmarks.cases.management import managed
from benchmarks.cases.throughput import PERSISTENT, TRANSIENT
from benchmarks.deliveries import PeerFault
from benchmarks.load import LoadFailed
from benchmarks.nodes.ports import HOST
from benchmarks.own_broker import OwnBroker
from benchmarks.results import Row, Values
from benchmarks.run import measure
from benchmarks.scenario import Scenario
from benchmarks.session import Session, brief
from benchmarks.target import Target
from benchmarks.web import WatchedPage, WebClient, log_in

METRICS = ["rate", "core_rate", "rate_ratio", "core_rate_ratio", "cpu_percent", "others_percent"]
PAGES = ("/", "/queues", "/queues?sort=name", "/queues?page=9", "/exchanges", "/connections", "/vhosts", "/nodes")
VIEWERS = BROWSERS = 10
PAINTS = 10
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
Watch = Callable[[OwnBroker], AbstractContextManager[object]]


def run(session: Session) -> None:
    """Measure first paints, then the load beside nobody, browsers and scrapers."""
    if session.subject.own is None:
        session.reporter.say("watched: skipped, it starts a broker of its own, and needs that --url is not given")
        return
    with managed(session) as (own, target):
        watches: dict[str, Watch] = {
            "nobody": lambda own: nullcontext(),
            "a scraper every second": partial(scraped, path="/metrics"),
            "a scraper of each object every second": partial(scraped, path="/metrics/per-object"),
        }
        watches[f"the changes of {VIEWERS} pages"] = told
        if which("chromium"):
            watches[f"{BROWSERS} pages of the console"] = browsed
            session.rounds(
                Row("watched", "the list of queues in a browser", ["paint_ms", "slowest_ms"]), painted, [target]
            )
        else:
            session.reporter.say("watched: no browsers, as there is no chromium")
        for scenario in (TRANSIENT, PERSISTENT):
            beside_each(session, own, target, replace(scenario, seconds=session.options.seconds), watches)


def beside_each(
    session: Session, own: OwnBroker, target: Target, scenario: Scenario, watches: dict[str, Watch]
) -> None:
    """Measure a scenario beside all of them, round by round."""
    rows = {name: Row("watched", f"{scenario.name}, beside {name}", METRICS) for name in watches}
    for _ in range(session.options.rounds):
        alone: Values = {}
        for name, watch in watches.items():
            text = rows[name].name
            try:
                with watch(own), session.reporter.running(text, scenario.limit) as progress:
                    values = measure(target, scenario, session.load_cores, progress)
            except (LoadFailed, OSError, RuntimeError, PeerFault) as error:
                session.failures.append(f"watched / {text}: {error}")
                session.reporter.say(f"FAILED {session.failures[-1]}")
                return
            values["core_rate"] = 100 * values["rate"] / max(values["cpu_percent"], 1.0)
            alone = alone or values
            values |= {f"{metric}_ratio": values[metric] / alone[metric] for metric in ("rate", "core_rate")}
            rows[name].add(target.name, values)
            session.reporter.say(f"{text}: {brief(values, METRICS)}")
    session.rows += rows.values()


@contextmanager
def scraped(own: OwnBroker, path: str) -> Iterator[None]:
    """Ask for a page of metrics every second."""
    stop = threading.Event()

    def scrape() -> None:
        with WebClient(own.configuration.metrics_port) as client:
            due = time.monotonic()
            while not stop.wait(max(0.0, due - time.monotonic())):
                due += 1.0
                client.ask("GET", path)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        yield
    finally:
        stop.set()
        scraper.join()


@contextmanager
def told(own: OwnBroker) -> Iterator[None]:
    """Read what is told of pages of the console, as browsers on other machines do."""
    port = own.configuration.http_port
    cookie = log_in(port)
    pages = [WatchedPage(port, PAGES[number % len(PAGES)], cookie) for number in range(VIEWERS)]
    readers = [threading.Thread(target=page.read) for page in pages]
    for reader in readers:
        reader.start()
    try:
        yield
    finally:
        for page in pages:
            page.close()
        for reader in readers:
            reader.join()


@contextmanager
def browsed(own: OwnBroker) -> Iterator[None]:
    """Show pages of the console in browsers, which are told what changes."""
    with browser_of(own) as (browser, login):
        for number in range(BROWSERS):  # each in a browser of its own: one has six connections to a host
            page = browser.new_context(storage_state=login).new_page()
            page.goto(address_of(own, PAGES[number % len(PAGES)]))
            page.wait_for_load_state("load")
        yield


def painted(target: Target) -> Values:
    """Return in how many milliseconds the list of queues is seen: the median, and the slowest time."""
    assert target.own is not None
    with browser_of(target.own) as (browser, login):
        context = browser.new_context(storage_state=login, viewport={"width": 1440, "height": 900})
        times = []
        for _ in range(PAINTS):
            page = context.new_page()
            page.goto(address_of(target.own, "/queues"))
            while page.evaluate(PAINTED) < 0:  # a page of ours lets no function be made of a text, to wait for
                page.wait_for_timeout(10)
            times.append(float(page.evaluate(PAINTED)))
            page.close()
    return {"paint_ms": statistics.median(times), "slowest_ms": max(times)}


@contextmanager
def browser_of(own: OwnBroker) -> Iterator[tuple[Any, Any]]:
    """Run a browser; yield it, and the cookie of somebody who has logged in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
        try:
            context = browser.new_context()
            page = context.new_page()
            page.goto(address_of(own, "/login"))
            page.fill("input[name=name]", "guest")
            page.fill("input[name=password]", "guest")
            page.click("button.main")
            page.wait_for_selector("nav")
            login = context.storage_state()
            context.close()
            yield browser, login
        finally:
            browser.close()


def address_of(own: OwnBroker, path: str) -> str:
    """Return the address of a page of the console."""
    return f"http://{HOST}:{own.configuration.http_port}{path}"
