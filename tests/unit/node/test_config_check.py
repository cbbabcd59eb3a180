"""What `--check-config` finds, and that a start finds the same: each variant of a configuration is tried both ways."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.config.loading import load
from broker.errors import BrokerError
from broker.node.config_check import check
from broker.node.control_path import control_path
from broker.node.process import Node, open_store

OPEN = "<defaultConnection enabled='true' port='0'/>"
QUIET = "<http enabled='false'/><metrics enabled='false'/>"
HTTP = "<http enabled='true' port='0'/><console enabled='false'/><metrics enabled='false'/>"


@dataclass
class Setting:
    """A folder with a configuration, and what stands around it."""

    folder: Path
    amqp: str = OPEN
    management: str = QUIET
    more: str = ""
    datasource: str = ""
    """A URL, without one the embedded database in this folder."""
    others: dict[str, str] = field(default_factory=dict)
    """Further files."""

    @property
    def database(self) -> Path:
        return self.folder / "data" / "store.db"

    def write(self) -> Path:
        url = self.datasource or f"jdbc:sqlite:{self.database}"
        self.put(
            "conf/broker.xml",
            f"<broker><transports><amqp>{self.amqp}</amqp></transports><management>{self.management}</management>"
            f"{self.more}</broker>",
        )
        self.put(
            "conf/datasources/master-datasources.xml",
            f"<datasources-configuration><datasources>{source('WSO2MBStoreDB', url)}{self.others.pop('sources', '')}"
            "</datasources></datasources-configuration>",
        )
        for name, text in self.others.items():
            self.put(name, text)
        return self.folder / "conf"

    def put(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def source(name: str, url: str) -> str:
    return (
        f"<datasource><name>{name}</name><jndiConfig><name>{name}</name></jndiConfig><definition type='RDBMS'>"
        f"<configuration><url>{url}</url></configuration></definition></datasource>"
    )


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Setting(tmp_path)


def told_by_check(conf: Path) -> tuple[str, list[str]]:
    """Return what the check refuses, nothing if it refuses nothing, and its lines."""
    try:
        return "", check(load(conf, {}).config)
    except BrokerError as error:
        return f"{type(error).__name__}: {error}", []


def told_by_start(conf: Path) -> str:
    """Start a node and stop it; return what prevents the start."""

    async def start() -> None:
        config = load(conf, {}).config
        node = Node(config, open_store(config))
        await node.run(lambda started: node.stop())

    try:
        asyncio.run(start())
    except BrokerError as error:
        return f"{type(error).__name__}: {error}"
    except BaseExceptionGroup as group:
        return _first(group)
    return ""


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else f"{type(error).__name__}: {error}"


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Variants, each with what is said


def tls(store: str) -> str:
    return (
        f"<sslConnection enabled='true' port='0'><keyStore><location>{store}</location><password>secret</password>"
        "</keyStore></sslConnection>"
    )


def with_no_key_store(setting: Setting) -> None:
    setting.amqp += tls("/nowhere/keys.jks")


def with_a_key_store_that_is_none(setting: Setting) -> None:
    setting.amqp += tls(str(setting.put("keys.jks", "no keys")))


def with_no_definitions(setting: Setting) -> None:
    setting.management += "<loadDefinitions>/nowhere.json</loadDefinitions>"


def defined(setting: Setting, definitions: object) -> None:
    path = setting.put("definitions.json", json.dumps(definitions))
    setting.management += f"<loadDefinitions>{path}</loadDefinitions>"


def with_definitions_of_a_type_that_is_not_there(setting: Setting) -> None:
    exchange = {"name": "x", "vhost": "/", "type": "none", "durable": True, "auto_delete": False, "arguments": {}}
    defined(setting, {"vhosts": [{"name": "/"}], "exchanges": [{**exchange, "internal": False}]})


def with_definitions_of_a_virtual_host_that_is_not_there(setting: Setting) -> None:
    permission = {"user": "guest", "vhost": "none", "configure": ".*", "write": ".*", "read": ".*"}
    defined(setting, {"permissions": [permission]})


def with_a_long_control_socket(setting: Setting) -> None:
    setting.management += f"<controlSocket>/{'a' * 120}</controlSocket>"


def with_a_file_as_control_socket(setting: Setting) -> None:
    setting.management += f"<controlSocket>{setting.put('control', '')}</controlSocket>"


def with_no_database_file(setting: Setting) -> None:
    setting.put("data/store.db", "this is no database of SQLite" * 40)


def with_the_database_gone(setting: Setting) -> None:
    setting.put("data/store.db.content/000000000001", "x")


def with_a_database_of_a_newer_version(setting: Setting) -> None:
    setting.database.parent.mkdir()
    with sqlite3.connect(setting.database) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.close()


def with_a_file_for_its_folder(setting: Setting) -> None:
    setting.put("data", "")


def with_an_address_of_another_machine(setting: Setting) -> None:
    setting.amqp = f"<bindAddress>192.0.2.1</bindAddress>{OPEN}"


def with_one_port_twice(setting: Setting) -> None:
    port = free_port()
    setting.amqp = f"<defaultConnection enabled='true' port='{port}'/>"
    setting.management = HTTP.replace("port='0'", f"port='{port}'", 1)


def with_an_address_of_another_machine_for_http(setting: Setting) -> None:
    setting.management = HTTP.replace("port='0'", "port='0' bindAddress='192.0.2.1'", 1)


def with_an_address_of_another_machine_for_metrics(setting: Setting) -> None:
    setting.management = "<http enabled='false'/><metrics enabled='true' port='0' bindAddress='192.0.2.1'/>"


def with_a_certificate_of_the_console_that_is_none(setting: Setting) -> None:
    setting.put("data/store.db.console.pem", "none")
    setting.management = "<http enabled='true' port='0'/><console enabled='true' port='0'/><metrics enabled='false'/>"


def with_a_store_that_is_not_safe(setting: Setting) -> None:
    setting.datasource = "jdbc:sqlite::memory:"
    setting.more = "<persistence><storeSafetyCheck>enforce</storeSafetyCheck></persistence>"
    setting.management += f"<controlSocket>{setting.folder / 'control'}</controlSocket>"


def with_tokens_without_a_key(setting: Setting) -> None:
    setting.more = (
        "<authentication><oauth2 enabled='true'><resourceServerId>b</resourceServerId>"
        "<jwksFile>/nowhere.json</jwksFile></oauth2></authentication>"
    )


def users_in(setting: Setting, database: Path) -> None:
    setting.others["sources"] = source("jdbc/WSO2CarbonDB", f"jdbc:sqlite:{database}")
    setting.others["conf/user-mgt.xml"] = (
        "<UserManager><Realm><Configuration><AddAdmin>true</AddAdmin>"
        "<Property name='dataSource'>jdbc/WSO2CarbonDB</Property></Configuration></Realm></UserManager>"
    )


def with_users_in_no_database(setting: Setting) -> None:
    users_in(setting, setting.folder / "none.db")


def with_users_in_an_empty_database(setting: Setting) -> None:
    database = setting.folder / "users.db"
    sqlite3.connect(database).execute("CREATE TABLE other (id INTEGER)").connection.close()
    users_in(setting, database)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


WRONG: tuple[tuple[Callable[[Setting], None], str], ...] = (
    (with_no_key_store, "/nowhere/keys.jks"),
    (with_a_key_store_that_is_none, "keys.jks"),
    (with_no_definitions, "/nowhere.json: cannot be read"),
    (with_definitions_of_a_type_that_is_not_there, "exchanges[0]"),
    (with_definitions_of_a_virtual_host_that_is_not_there, "permissions[0]"),
    (with_a_long_control_socket, "is longer than 107 octets"),
    (with_a_file_as_control_socket, "is there and is no socket"),
    (with_no_database_file, "file is not a database"),
    (with_the_database_gone, "put the database back"),
    (with_a_database_of_a_newer_version, "schema revision '9999'"),
    (with_a_file_for_its_folder, "store.db"),
    (with_an_address_of_another_machine, "cannot listen on 192.0.2.1:0 for AMQP"),
    (
        with_one_port_twice,
        "Address already in use; stop what uses the port or change transports/amqp/defaultConnection/@port",
    ),
    (with_an_address_of_another_machine_for_http, "cannot listen on 192.0.2.1:0 for the HTTP API"),
    (with_an_address_of_another_machine_for_metrics, "cannot listen on 192.0.2.1:0 for metrics"),
    (with_a_certificate_of_the_console_that_is_none, "store.db.console.pem cannot be used"),
    (with_a_store_that_is_not_safe, "mend that, or set persistence/storeSafetyCheck to warn"),
    (with_tokens_without_a_key, "authentication/oauth2/jwksFile: /nowhere.json"),
    (with_users_in_no_database, "none.db is not there"),
    (with_users_in_an_empty_database, "has no table UM_"),
)


@pytest.mark.parametrize(("spoil", "says"), WRONG, ids=[spoil.__name__ for spoil, _ in WRONG])
def test_what_prevents_a_start_is_found_and_nothing_is_changed(
    setting: Setting, spoil: Callable[[Setting], None], says: str
) -> None:
    spoil(setting)
    conf = setting.write()
    before = files_below(setting.folder)
    refused, _ = told_by_check(conf)
    assert says in refused
    assert files_below(setting.folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [spoil for spoil, _ in WRONG])
def test_the_start_says_the_same(setting: Setting, spoil: Callable[[Setting], None]) -> None:
    spoil(setting)
    conf = setting.write()
    refused, _ = told_by_check(conf)
    assert told_by_start(conf) == refused != ""


# What is right


def as_it_is(setting: Setting) -> None:
    """Nothing is changed."""


def with_good_definitions(setting: Setting) -> None:
    queue = {"name": "q", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
    defined(setting, {"vhosts": [{"name": "/"}], "queues": [queue]})


def with_http(setting: Setting) -> None:
    setting.management = HTTP


def seen_of(setting: Setting, conf: Path) -> str:
    """Return what the check says of the database, when it refuses nothing."""
    refused, lines = told_by_check(conf)
    assert refused == ""
    return lines[0].removeprefix(f"{setting.database} ")


@pytest.mark.slow
@pytest.mark.parametrize("change", [as_it_is, with_good_definitions, with_http])
def test_what_is_found_right_starts(setting: Setting, change: Callable[[Setting], None]) -> None:
    change(setting)
    conf = setting.write()
    before = files_below(setting.folder)
    assert seen_of(setting, conf) == "is new"
    assert files_below(setting.folder) == before
    assert told_by_start(conf) == ""
    before = files_below(setting.folder)
    assert seen_of(setting, conf) == "is a store of this broker"
    assert files_below(setting.folder) == before


def test_definitions_that_fit_what_is_there_already_are_no_error(setting: Setting) -> None:
    conf = setting.write()
    assert told_by_start(conf) == ""
    with_definitions_of_a_virtual_host_that_is_not_there(setting)
    refused, lines = told_by_check(setting.write())
    assert refused == ""
    assert "with an empty database the start would refuse the definitions" in lines[-1]


@pytest.mark.slow
def test_the_configuration_of_a_node_that_runs_is_right(setting: Setting) -> None:
    port = free_port()
    setting.amqp = f"<defaultConnection enabled='true' port='{port}'/>"
    conf = setting.write()
    config = load(conf, {}).config
    found: list[tuple[str, list[str]]] = []

    async def run() -> None:
        began = asyncio.Event()
        node = Node(config, open_store(config))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(node.run(lambda started: began.set()))
            await began.wait()
            found.append(await asyncio.to_thread(told_by_check, conf))
            node.stop()

    asyncio.run(run())
    [(refused, lines)] = found
    assert refused == ""
    assert lines[0].startswith(f"{setting.database} is in use by process ")
    assert lines[-1] == "a node runs with this configuration: its ports were not looked at"


def test_a_port_that_another_program_has_is_found(setting: Setting) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        setting.amqp = f"<defaultConnection enabled='true' port='{port}'/>"
        refused, _ = told_by_check(setting.write())
    assert f"cannot listen on 127.0.0.1:{port} for AMQP: Address already in use" in refused


def test_a_control_socket_that_nobody_listens_on_any_more_is_left_alone(setting: Setting) -> None:
    conf = setting.write()
    path = control_path(load(conf, {}).config.node_place)
    path.parent.mkdir()

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert told_by_check(conf)[0] == ""
    assert path.is_socket()


def test_a_database_that_cannot_be_reached_is_said_not_to_be_looked_at(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody listens at the port, and nobody else gets it meanwhile; the control socket has a short path.
    with socket.socket() as held, tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        held.bind(("127.0.0.1", 0))
        setting.datasource = f"jdbc:mariadb://127.0.0.1:{held.getsockname()[1]}/wso2_mb?user=u"
        refused, lines = told_by_check(setting.write())
    assert refused == ""
    assert [line.partition(": ")[0] for line in lines] == ["the database was not looked at"]
