"""That every configuration of these tests is read alike: `conftest.load_files`."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config.files import FILES
from broker.config.layout import Layout
from broker.config.loading import load
from broker.config.node_place import LAYOUTS, NodePlace, read_node_place

CONF = Path(__file__).parents[3] / "conf"
STORE = """<datasources-configuration><datasources>
<datasource><name>OTHER</name><jndiConfig><name>jdbc/Other</name></jndiConfig></datasource>
<datasource><name>MINE</name><definition type="RDBMS"><configuration>%s</configuration></definition></datasource>
</datasources></datasources-configuration>"""
BROKER = """<broker><persistence><messageStore><property name="dataSource">MINE</property></messageStore>
<contextStore><property name="dataSource">MINE</property></contextStore></persistence>
<transports><amqp><defaultConnection port="${env:AMQP}"/></amqp></transports></broker>"""


@pytest.mark.parametrize("file", [file for file in FILES if file.places in LAYOUTS], ids=lambda file: file.name)
def test_what_is_read_alone_is_a_part_of_the_files_layout(file) -> None:  # type: ignore[no-untyped-def]
    def compare(part: Layout, whole: Layout) -> int:
        entries = {entry.alias: entry for entry in whole.entries}
        assert not {entry.alias for entry in part.entries} & {*whole.renamed.values(), *whole.found_anywhere}
        count = 0
        for entry in part.entries:
            other = entries[entry.alias]
            if entry.below and other.below:
                assert entry.is_list == other.is_list
                count += compare(entry.below, other.below)
                continue
            assert (entry.default, entry.may_be_in_file) == (other.default, other.may_be_in_file)
            assert not any((other.below, other.accepted, other.is_verbatim, other.is_in_home, other.unresolved))
            count += 1
        return count

    assert compare(LAYOUTS[file.places], file.layout) == {"broker.xml": 4, "carbon.xml": 1}.get(file.name, 5)


def test_the_shipped_files_tell_the_place_of_their_node() -> None:
    expected = NodePlace("", Path("broker-data/mb.db"), "", 0, "", 5672, 8672)
    assert read_node_place(CONF, {}) == load(CONF, {}).config.node_place == expected
    environ = {"BROKER_PORT_OFFSET": "10", "RABBITMQ_NODE_PORT": "0"}
    moved = read_node_place(CONF, environ)
    assert moved == load(CONF, environ).config.node_place
    assert moved is not None
    assert (moved.amqp_port, moved.amqps_port) == (0, 8682)


@pytest.mark.parametrize(
    ("pool", "place"),
    [
        ("<url>jdbc:mariadb://db:1/mb?password=x</url>", (None, "db", 1, "mb")),
        ("<url>file:../url.txt</url>", (Path("/a/mb.db"), "", 0, "")),
        (
            "<dataSourceClassName>x.XA</dataSourceClassName>"
            "<dataSourceProps><property name='URL'>jdbc:postgresql://pg/mb</property></dataSourceProps>",
            (None, "pg", 5432, "mb"),
        ),
        ("<dataSourceProps><property name='URL'>jdbc:h2:./x</property></dataSourceProps>", None),
    ],
)
def test_the_datasource_that_is_named_counts(pool, place, load_files, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "url.txt").write_text("jdbc:sqlite:/a/mb.db\n")
    files = {"broker.xml": BROKER, "datasources/master-datasources.xml": STORE % pool}
    config = load_files(files, {"AMQP": "7"}).config
    found = read_node_place(Path("conf"), {"AMQP": "7"})
    assert found == config.node_place
    expected = place or (Path("broker-data/mb.db"), "", 0, "")
    assert found is not None
    assert (found.path, found.host, found.port, found.database, found.amqp_port) == (*expected, 7)


def test_what_is_wrong_elsewhere_in_a_configuration_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "broker.xml").write_text("<broker><limits><maxConnections>many</maxConnections></limits></broker>")
    assert read_node_place(tmp_path, {}) == load(None, {}).config.node_place


@pytest.mark.parametrize(
    "broker_xml",
    [
        BROKER,
        "<broker>",
        "<management><controlSocket>/run/x</controlSocket></management>",
        BROKER.replace("MINE", "NONE").replace("${env:AMQP}", "1"),
        "<broker><transports><amqp><defaultConnection port='99999'/></amqp></transports></broker>",
        "<broker><transports><amqp><sslConnection port='-1'/></amqp></transports></broker>",
    ],
    ids=["placeholder", "malformed", "fragment", "datasource", "port", "sign"],
)
def test_what_takes_the_whole_configuration_is_left_to_it(broker_xml: str, tmp_path: Path) -> None:
    (tmp_path / "broker.xml").write_text(broker_xml)
    assert read_node_place(tmp_path, {}) is None


def test_a_configuration_that_is_not_there_is_left_to_it(tmp_path: Path) -> None:
    assert read_node_place(tmp_path / "none", {}) is None
