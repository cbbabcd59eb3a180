"""Two database servers and two brokers from nothing: every block of the pages that say how is run as it stands, on the
host that the page says, and a server fails in the end.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, fromstring, parse

import pytest

from benchmarks.nodes.process import BROKER, PROJECT, BrokerProcess
from tests.support.debian_host import DebianHost
from tests.support.network import Network, NetworkMissing
from tests.support.waiting import wait_until

NAMES = ("db1", "db2", "mq1", "mq2")
PACKAGES = {
    "postgresql-standby.md": ("postgresql",),
    "galera.md": ("mariadb-server", "galera-4", "galera-arbitrator-4", "rsync"),
}
BLOCK = re.compile(
    r"^(?:<!-- not run: here, but on (?P<hosts>[\w ]+) by [^\n]* -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
STARTED_WITHIN = 60.0
MESSAGES = 200
_PUBLISH = """
import pika
with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", blocked_connection_timeout=60)) as connection:
    channel = connection.channel()
    channel.queue_declare("tested", durable=True)
    channel.confirm_delivery()
    for number in range({number}):
        channel.basic_publish("", "tested", b"%d" % number, pika.BasicProperties(delivery_mode=2))
"""
_FETCH = """
import pika
with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1")) as connection:
    channel = connection.channel()
    found = 0
    while channel.basic_get("tested", auto_ack=True)[0]:
        found += 1
    print(found)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Block:
    """A block of a page, the hosts it is run on, and the heading above it."""

    hosts: tuple[str, ...]
    kind: str
    text: str
    heading: str


def blocks(page: str) -> list[Block]:
    text = (PROJECT / "docs" / page).read_text()
    found = []
    for each in BLOCK.finditer(text):
        heading = re.findall(r"^## (.*)$", text[: each.start()], re.M)[-1]
        found.append(Block(tuple(re.findall(r"\w+\d", each["hosts"] or "")), each["kind"], each["text"], heading))
    assert all(block.hosts or block.kind == "xml" for block in found), "a block says on which host it is run"
    return found


def merge(element: Element, other: Element) -> None:
    """Give an element the texts, the attributes and the children of another one."""
    element.attrib |= other.attrib
    if not len(other):
        element.text = other.text
    for child in other:
        mine = element.find(child.tag)
        if mine is None:
            element.append(child)
        else:
            merge(mine, child)


def configure(folder: Path, name: str, page: str) -> None:
    """Make the configuration of a broker: what is shipped, with what the pages say."""
    shutil.copytree(PROJECT / "conf", folder)
    fragments = [block.text for block in blocks(page) if block.kind == "xml"]
    store = next(text for text in fragments if text.startswith("<url>"))
    settings = next(text for text in fragments if text.startswith("<coordination>")).replace("mq1", name)
    place = folder / "datasources" / "master-datasources.xml"
    tree = parse(place)
    sources = tree.getroot().find("datasources")
    assert sources is not None
    source = next(each for each in sources if each.findtext("jndiConfig/name") == "WSO2MBStoreDB")
    configuration = source.find("definition/configuration")
    assert configuration is not None
    merge(configuration, fromstring(f"<configuration>{store}</configuration>"))
    tree.write(place)
    write(folder / "broker.xml", f"<broker>{settings}</broker>")
    clustering = '<axisconfig><clustering enable="true"/></axisconfig>'
    write(folder / "axis2.xml", clustering)


def write(path: Path, changes: str) -> None:
    tree: ElementTree = parse(path)
    merge(tree.getroot(), fromstring(changes))
    tree.write(path)


class Site:
    """Four machines, on which a page has been followed."""

    def __init__(self, page: str, directory: Path, stack: ExitStack) -> None:
        self.page = page
        network = stack.enter_context(Network(len(NAMES), NAMES))
        self.hosts: Mapping[str, DebianHost] = {
            host.name: DebianHost(host, network.hosts, PACKAGES[page], directory / host.name) for host in network.hosts
        }
        self.brokers: list[BrokerProcess] = []
        self._directory, self._stack = directory, stack

    def follow(self, *, failing: bool = False) -> list[str]:
        """Run the blocks of the page, without or with those for when a server fails; return what they print."""
        return [
            self.hosts[name].sh(block.text)
            for block in blocks(self.page)
            if block.heading.startswith("When") is failing
            for name in block.hosts
        ]

    def start_brokers(self) -> None:
        for name in ("mq1", "mq2"):
            folder = self._directory / name / "broker"
            folder.mkdir()
            own = {"XDG_RUNTIME_DIR": "/run"}  # of its host
            broker = BrokerProcess(folder, command=self.hosts[name].host.inside(BROKER, at=PROJECT), environ=own)
            shutil.rmtree(broker.config)
            configure(broker.config, name, self.page)
            self._stack.callback(broker.close)
            broker.start(STARTED_WITHIN)
            self.brokers.append(broker)

    def publish(self, name: str) -> None:
        self._run(name, _PUBLISH.format(number=MESSAGES))

    def fetched(self, name: str) -> int:
        return int(self._run(name, _FETCH))

    def _run(self, name: str, program: str) -> str:
        command = self.hosts[name].host.inside([sys.executable, "-c", program])
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr + "\n".join(broker.log[-3000:] for broker in self.brokers)
        return done.stdout

    def wait_until_logged(self, *texts: str) -> None:
        """Return when both brokers have said all of this."""
        wait_until(
            lambda: all(text in broker.log for broker in self.brokers for text in texts),
            STARTED_WITHIN,
            f"both brokers say {texts}",
            self.brokers,
        )


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        try:
            yield Site(request.param, tmp_path, stack)
        except NetworkMissing as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("site", ["postgresql-standby.md"], indirect=True)
def test_the_page_about_postgresql_leads_to_brokers_that_survive_the_primary(site: Site) -> None:
    printed = site.follow()
    assert "standby1         | sync" in printed[-1]
    site.start_brokers()
    site.wait_until_logged("PostgreSQL 15", ", db1:5432/mb", '"durability": "full"')
    site.publish("mq1")

    site.follow(failing=True)

    site.publish("mq2")
    assert site.fetched("mq2") == 2 * MESSAGES
    site.wait_until_logged("the database is served by another server now")
    site.hosts["db2"].sh("systemctl stop postgresql")


@pytest.mark.parametrize("site", ["galera.md"], indirect=True)
def test_the_page_about_galera_leads_to_brokers_that_survive_a_server(site: Site) -> None:
    site.follow()
    shown = blocks("galera.md")[-1 - sum(block.kind == "xml" for block in blocks("galera.md"))]
    wait_until(lambda: site.hosts["db2"].sh(shown.text).split()[-1] == "3", STARTED_WITHIN, "three are in step")
    site.start_brokers()
    site.wait_until_logged("(Galera, servers: 3), db1:3306/mb", '"durability": "full"')
    site.publish("mq1")

    site.hosts["db1"].host.kill()

    site.publish("mq2")
    assert site.fetched("mq2") == 2 * MESSAGES
    site.wait_until_logged("the Galera cluster has one server with data now")
