from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.config.loading import load
from broker.errors import ConfigError


@pytest.mark.parametrize("below", ["", "conf", "repository/conf"])
def test_the_folder_may_be_the_home_of_wso2s_server(tmp_path, below):
    file = tmp_path / below / "broker.xml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("<broker><limits><maxConnections>7</maxConnections></limits></broker>")
    loaded = load(tmp_path, {})
    assert (loaded.files, loaded.config.limits.max_connections) == ([file], 7)


def test_file_and_folder_mean_the_same(load_files):
    by_file = load_files({"broker.xml": "<nodeID>n1</nodeID>", "carbon.xml": "<Offset>3</Offset>"})
    by_folder = load(Path("conf"), {})
    assert by_folder == by_file
    assert by_file.files == [Path("conf/broker.xml"), Path("conf/carbon.xml")]


def test_a_configuration_cannot_be_changed():
    config = load(None, {}).config
    with pytest.raises(ValidationError):
        config.limits.max_connections = 1


def test_the_offset_is_not_added_to_port_zero(load_files):
    config = load_files(
        {"broker.xml": '<amqp><defaultConnection port="0"/></amqp>', "carbon.xml": "<Offset>3</Offset>"}
    ).config
    assert (config.amqp_port, config.thrift_port) == (0, 7614)


@pytest.mark.parametrize(
    ("transports", "expected"),
    [
        ("<bindAddress>10.0.0.1</bindAddress>", "10.0.0.1"),
        ("<bindAddress>10.0.0.1</bindAddress><amqp><bindAddress>*</bindAddress></amqp>", "::"),
        ("<amqp><bindAddress>::</bindAddress></amqp>", "::"),
        ("<amqp><bindAddress>0.0.0.0</bindAddress></amqp>", "0.0.0.0"),
        ("<amqp><bindAddress>[::1]</bindAddress></amqp>", "::1"),
        ("<bindAddress>[fe80::1%eth0]</bindAddress>", "fe80::1%eth0"),
        ("<amqp><bindAddress>::1</bindAddress></amqp>", "::1"),
    ],
)
def test_the_amqp_bind_address_falls_back_to_the_one_of_all_transports(load_files, transports, expected):
    config = load_files({"broker.xml": f"<transports>{transports}</transports>"}).config
    assert config.transports.amqp.bind_address == expected


def test_the_environment_wins_over_the_files(load_files):
    config = load_files(
        {
            "broker.xml": '<amqp><defaultConnection port="1"/></amqp>',
            "advanced/qpid-config.xml": "<heartbeat><delay>5</delay></heartbeat>",
        },
        {
            "QPID_HEARTBEATDELAY": "60",
            "QPID_HEARTBEATTIMEOUTFACTOR": "3",
            "BROKER_PORT_OFFSET": "10",
            "RABBITMQ_NODE_PORT": "5000",
            "RABBITMQ_DEFAULT_USER": "root",
            "RABBITMQ_DEFAULT_PASS": "canary",
        },
    ).config
    assert (config.qpid.heartbeat.delay, config.qpid.heartbeat.timeout_factor) == (60, 3.0)
    assert config.amqp_port == 5010
    assert config.user_mgt.admin_user_name == "root"
    assert config.user_mgt.admin_password.get_secret_value() == "canary"


def test_the_environment_also_works_without_files():
    assert load(None, {"BROKER_PORT_OFFSET": "2"}).config.amqp_port == 5674


def test_an_empty_variable_counts_as_unset():
    assert load(None, {"BROKER_PORT_OFFSET": ""}).config.amqp_port == 5672


def test_a_wrong_variable_is_named(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files({"carbon.xml": "<Offset>3</Offset>"}, {"BROKER_PORT_OFFSET": "x"})
    assert str(failure.value) == "environment variable BROKER_PORT_OFFSET: 'x' is not an integer between 0 and 65535"


def test_placeholders_are_replaced_once(load_files):
    config = load_files(
        {"broker.xml": "<nodeID>a-${env:POD}-${sys:host.name}</nodeID>"}, {"POD": "${env:X}", "HOST_NAME": "h"}
    ).config
    assert config.coordination.node_id == "a-${env:X}-h"


def test_a_placeholder_may_stand_in_an_attribute(load_files):
    content = '<amqp><defaultConnection port="${env:PORT}"/></amqp>'
    assert load_files({"broker.xml": content}, {"PORT": "7"}).config.amqp_port == 7


def test_carbon_home_comes_from_its_variable(load_files):
    content = "<keyStore><location>${carbon.home}/a.pem</location></keyStore>"
    config = load_files({"broker.xml": content}, {"CARBON_HOME": "/opt/mb"}).config
    assert config.transports.amqp.ssl_connection.key_store.location == "/opt/mb/a.pem"


@pytest.mark.parametrize(
    ("placeholder", "expected"),
    [
        ("${env:NOPE}", "environment variable 'NOPE', which '${env:NOPE}' asks for, is not set"),
        ("${sys:no.pe}", "environment variable 'NO_PE', which '${sys:no.pe}' asks for, is not set"),
        ("${carbon.home}", "environment variable 'CARBON_HOME', which '${carbon.home}' asks for, is not set"),
        ("${user.dir}", "unknown placeholder '${user.dir}'; known are ${env:NAME}, ${sys:NAME} and ${carbon.home}"),
    ],
)
def test_a_placeholder_without_a_value_is_refused(load_files, placeholder, expected):
    with pytest.raises(ConfigError) as failure:
        load_files({"broker.xml": f"<nodeID>{placeholder}</nodeID>"})
    assert str(failure.value) == f"conf/broker.xml:1: coordination/nodeID: {expected}"


@pytest.mark.parametrize("url", ["file:{}/secret", "file://{}/secret", "file:../secret"])
def test_a_password_may_lie_in_a_file(load_files, tmp_path, url):
    secret = tmp_path / "secret"
    secret.write_text("canary\n")
    secret.chmod(0o600)
    loaded = load_files({"user-mgt.xml": f"<AdminUser><Password>{url.format(tmp_path)}</Password></AdminUser>"})
    assert loaded.config.user_mgt.admin_password.get_secret_value() == "canary"
    assert loaded.warnings == []


def test_a_secret_file_that_everybody_can_read_is_reported(load_files, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("canary")
    secret.chmod(0o644)
    loaded = load_files({"user-mgt.xml": f"<AdminUser><Password>file:{secret}</Password></AdminUser>"})
    assert loaded.warnings == [
        f"conf/user-mgt.xml:1: Realm/Configuration/AdminUser/Password: secret file '{secret}' is readable by every user"
    ]


def test_a_missing_secret_file_is_refused(load_files):
    with pytest.raises(ConfigError, match=r"Password: secret file '/nowhere' cannot be read: No such file"):
        load_files({"user-mgt.xml": "<AdminUser><Password>file:/nowhere</Password></AdminUser>"})


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 65_537])
def test_a_secret_file_that_is_no_secret_is_refused(load_files, tmp_path, content):
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigError, match=r"secret file '.*' is (not UTF-8 text|larger than 65536 bytes)$"):
        load_files({"user-mgt.xml": "<AdminUser><Password>file:../secret</Password></AdminUser>"})


@pytest.mark.parametrize(
    ("xml", "warning"),
    [
        (
            "<rdbmsBasedCoordination>\n<heartbeatIntervall>1</heartbeatIntervall></rdbmsBasedCoordination>",
            "2: unknown element 'heartbeatIntervall' in coordination/rdbmsBasedCoordination; "
            "did you mean 'heartbeatInterval'?",
        ),
        ("<broker><zebra/></broker>", "1: unknown element 'zebra' in broker"),
        ("<broker><transport/></broker>", "1: unknown element 'transport' in broker; did you mean 'transports'?"),
        (
            '<amqp><defaultConnection prot="1"/></amqp>',
            "1: unknown attribute 'prot' in transports/amqp/defaultConnection; did you mean 'port'?",
        ),
        (
            '<messageStore><property name="dataSourc">x</property></messageStore>',
            "1: unknown property 'dataSourc' in persistence/messageStore; did you mean 'dataSource'?",
        ),
        ("<nodeID>a<b/></nodeID>", "1: unknown element 'b' in coordination/nodeID"),
        ("<windowSize> </windowSize>", "1: performanceTuning/slots/windowSize is empty; the default '1000' applies"),
        (
            "<mode>default</mode>\n<mode>standalone</mode>",
            "2: element 'mode' in deployment appears again; the first one counts",
        ),
        (
            "<authenticator><property>x</property></authenticator>",
            "1: element 'property' in transports/mqtt/security/authenticator has no name and is ignored",
        ),
    ],
)
def test_what_is_odd_but_harmless_is_a_warning(load_files, xml, warning):
    assert load_files({"broker.xml": xml}).warnings == [f"conf/broker.xml:{warning}"]


def test_connector_ports_of_qpid_config_are_reported_as_without_effect(load_files):
    loaded = load_files({"advanced/qpid-config.xml": "<connector><port>5672</port></connector>"})
    assert loaded.warnings == [
        "conf/advanced/qpid-config.xml:1: element 'port' in connector has no effect: "
        "transports/amqp/defaultConnection of broker.xml has the port"
    ]


def test_foreign_elements_are_reported_only_when_they_resemble_a_known_one(load_files):
    loaded = load_files({"carbon.xml": "<Server><Security><KeyStore/></Security><HostNam>x</HostNam></Server>"})
    assert loaded.warnings == ["conf/carbon.xml:1: unknown element 'HostNam' in Server; did you mean 'HostName'?"]


def test_warnings_of_one_file_are_limited(load_files):
    loaded = load_files({"broker.xml": f"<broker>{'<zebra/>' * 10_000}</broker>"})
    assert len(loaded.warnings) == 51
    assert loaded.warnings[-1] == "conf/broker.xml:1: further warnings about this file are left out"
