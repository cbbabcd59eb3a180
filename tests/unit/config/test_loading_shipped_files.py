from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.config.connection_options import ConnectionOptions, connection_options
from broker.config.files import DATASOURCES, FILES
from broker.config.loading import load

CONF = Path(__file__).parents[3] / "conf"
SECTIONS = sorted(set(load(None, {}).config.model_dump()))


@pytest.mark.parametrize("section", SECTIONS)
def test_the_shipped_files_hold_the_defaults(section):
    shipped = load(CONF / "broker.xml", {}).config
    defaults = load(None, {}).config
    assert getattr(shipped, section) == getattr(defaults, section)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_shipped_files_hold_the_defaults_of_elements_without_effect_too(file):
    accepted = load(CONF, {}).config.accepted[file.name]
    values = {place: given.value for place, given in accepted.items()}
    described = {"description": "The broker's store"} if file is DATASOURCES else {}
    assert values == {place: described.get(str(place[-1]), file.layout.default(place)) for place in accepted}


def test_the_shipped_files_give_no_warning():
    assert load(CONF, {}).warnings == []


def test_every_file_is_shipped_and_read():
    assert load(CONF, {}).files == [CONF / file.name for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_file_works_when_the_others_are_missing(file, load_files):
    loaded = load_files({file.name: (CONF / file.name).read_bytes()})
    assert loaded.config.model_dump() == load(None, {}).config.model_dump()
    assert loaded.warnings == []


@pytest.mark.parametrize(
    ("scheme", "engine", "port"), [("jdbc:mariadb:", "mysql", 3306), ("jdbc:postgresql:", "postgresql", 5432)]
)
def test_the_example_of_a_database_server_works_when_it_is_no_comment(load_files, scheme, engine, port):
    shipped = (CONF / DATASOURCES.name).read_text()
    comments = re.findall(r"<!--(?:(?!-->).)*-->", shipped, re.DOTALL)
    (example,) = [text for text in comments if "<datasource>" in text and scheme in text]
    uncommented = shipped.replace(example, example.removeprefix("<!--").removesuffix("-->"))
    embedded = uncommented.rindex("<datasource>")
    uncommented = uncommented[:embedded] + uncommented[uncommented.index("</datasource>", embedded) + 13 :]
    loaded = load_files({DATASOURCES.name: uncommented}, {"DB_PASSWORD": "canary"})
    store = loaded.config.store_url
    assert loaded.warnings == []
    assert (store.engine, store.host, store.port, store.database) == (engine, "127.0.0.1", port, "wso2_mb")
    assert (store.user_name, store.password.get_secret_value()) == ("broker", "canary")
    assert connection_options(store) == (ConnectionOptions(), [])


def test_the_defaults_are_safe():
    config = load(None, {}).config
    assert config.transports.amqp.bind_address == "127.0.0.1"
    assert not config.transports.amqp.ssl_connection.enabled
    assert config.transports.amqp.ssl_connection.ssl_enabled_protocols == ("TLSv1.2", "TLSv1.3")
    assert config.limits.max_message_size_bytes == 134_217_728
    assert (config.qpid.heartbeat.delay, config.qpid.heartbeat.timeout_factor) == (30, 2.0)
    assert (config.qpid.advanced.frame_size_bytes, config.qpid.maximum_channel_count) == (131_072, 2047)
    assert (config.amqp_port, config.amqps_port, config.thrift_port) == (5672, 8672, 7611)
