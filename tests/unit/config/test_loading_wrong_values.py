"""A wrong value names file, line, element and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config.loading import load
from broker.errors import ConfigError

SLOTS = "performanceTuning/slots"
INTEGER = "is not an integer between"


def nested(path: str, text: str) -> str:
    """Put `text` on line 3 below the elements of `path`; a last `@name` is an attribute there."""
    *parents, last = path.split("/")
    if last.startswith("@"):
        inner = f'\n<{parents[-1]} {last[1:]}="{text}"/>'
        parents = parents[:-1]
    else:
        inner = f"\n<{last}>{text}</{last}>"
    opening = "".join(f"<{name}>" for name in parents)
    closing = "".join(f"</{name}>" for name in reversed(parents))
    return f"<!-- first line -->\n{{root}}{opening}{inner}{closing}{{end}}"


WRONG = [
    ("broker.xml", "coordination/thriftServerPort", "abc", f"'abc' {INTEGER} 0 and 65535"),
    ("broker.xml", "coordination/thriftServerPort", "65536", f"'65536' {INTEGER} 0 and 65535"),
    ("broker.xml", "coordination/thriftServerPort", "-1", f"'-1' {INTEGER} 0 and 65535"),
    ("broker.xml", "coordination/thriftServerPort", "7_611", f"'7_611' {INTEGER} 0 and 65535"),
    ("broker.xml", "coordination/thriftServerPort", "٧", f"'٧' {INTEGER} 0 and 65535"),
    (
        "broker.xml",
        "coordination/thriftServerHost",
        "0.0.0.0",
        "'0.0.0.0' cannot be reached by other nodes; name one address of this machine",
    ),
    (
        "broker.xml",
        "coordination/thriftServerHost",
        "::",
        "'::' cannot be reached by other nodes; name one address of this machine",
    ),
    ("broker.xml", "coordination/thriftServerHost", "a b", "'a b' is not a host name or address"),
    ("broker.xml", "coordination/thriftServerHost", "[::1", "'[::1' is not a host name or address"),
    ("broker.xml", "transports/amqp/bindAddress", "a b", "'a b' is not a host name or address"),
    (
        "broker.xml",
        "transports/amqp/bindAddress",
        "[::1]:5672",
        "'[::1]:5672' is not a host name or address",
    ),
    (
        "broker.xml",
        "transports/amqp/bindAddress",
        "127.0.0.1:5672",
        "'127.0.0.1:5672' is not a host name or address; a port is set by itself",
    ),
    ("broker.xml", "coordination/nodeID", "a b", "'a b' is not a name without blanks"),
    ("broker.xml", "coordination/thriftSOTimeout", "1.5", f"'1.5' {INTEGER} 0 and 2147483647"),
    (
        "broker.xml",
        "coordination/rdbmsBasedCoordination/heartbeatInterval",
        "3000",
        "3000 is not greater than coordinatorEntryCreationWaitTime, which is 3000",
    ),
    ("broker.xml", "coordination/rdbmsBasedCoordination/@enabled", "yes", "'yes' is not true or false"),
    ("broker.xml", "persistence/storeSafetyCheck", "off", "'off' is not one of warn, enforce"),
    (
        "broker.xml",
        "transports/amqp/defaultConnection/@profile",
        "rabbitmq-4.2",
        "'rabbitmq-4.2' is not one of cordillera, rabbitmq-3.13, strict-spec",
    ),
    ("broker.xml", "transports/amqp/defaultConnection/@port", "five", f"'five' {INTEGER} 0 and 65535"),
    (
        "broker.xml",
        "transports/amqp/sslConnection/sslEnabledProtocols",
        "SSLv4",
        "'SSLv4' is not one of SSLv2Hello, SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3",
    ),
    (
        "broker.xml",
        "transports/amqp/sslConnection/@enabled",
        "true",
        None,
    ),
    (
        "broker.xml",
        "transports/mqtt/inboundBufferSize",
        "1000",
        "'1000' is not a power of two between 1 and 2147483647",
    ),
    (
        "broker.xml",
        "transports/mqtt/security/authorization",
        "REQUIRED",
        "REQUIRED needs authentication to be REQUIRED too",
    ),
    ("broker.xml", "transports/mqtt/security/authorization", "MAYBE", "'MAYBE' is not one of NOT_REQUIRED, REQUIRED"),
    ("broker.xml", "persistence/idGenerator", "a b", "'a b' is not a name without blanks"),
    ("broker.xml", "persistence/cache/valueReferenceType", "soft", "'soft' is not one of strong, weak"),
    ("broker.xml", "transaction/maxBatchSizeInKB", "0", f"'0' {INTEGER} 1 and 2147483647"),
    ("broker.xml", "transaction/maxBatchSizeInBytes", "0", f"'0' {INTEGER} 1 and 2147483647"),
    ("broker.xml", f"{SLOTS}/windowSize", "0", f"'0' {INTEGER} 1 and 2147483647"),
    (
        "broker.xml",
        "performanceTuning/delivery/ringBufferSize",
        "5000",
        "'5000' is not a power of two between 1 and 2147483647",
    ),
    (
        "broker.xml",
        "performanceTuning/delivery/topicMessageDeliveryStrategy/strategyName",
        "DISCARD",
        "'DISCARD' is not one of DISCARD_NONE, SLOWEST_SUB_RATE, DISCARD_ALLOWED",
    ),
    ("broker.xml", "flowControl/global/highLimit", "800", "800 is not greater than lowLimit, which is 800"),
    ("broker.xml", "flowControl/bufferBased/highLimit", "99", "99 is not greater than lowLimit, which is 100"),
    ("broker.xml", "deployment/mode", "cluster", "'cluster' is not one of default, standalone"),
    ("broker.xml", "recovery/networkPartitionsDetection/minimumClusterSize", "0", f"'0' {INTEGER} 1 and 2147483647"),
    ("broker.xml", "virtualHosts/@defaultQueueType", "stream", "'stream' is not one of classic, quorum"),
    ("broker.xml", "limits/maxMessageSize", "536870913", f"'536870913' {INTEGER} 1 and 536870912"),
    ("broker.xml", "limits/memoryHighWatermark", "60", "'60' is not a number between 0.01 and 1"),
    ("broker.xml", "limits/handshakeTimeout", "nan", "'nan' is not a number between 0.1 and 3600"),
    ("advanced/qpid-config.xml", "heartbeat/delay", "65536", f"'65536' {INTEGER} 0 and 65535"),
    ("advanced/qpid-config.xml", "heartbeat/timeoutFactor", "two", "'two' is not a number between 1 and 1000"),
    ("advanced/qpid-config.xml", "advanced/framesize", "4095", f"'4095' {INTEGER} 4096 and 134217728"),
    ("advanced/qpid-config.xml", "maximumChannelCount", "0", f"'0' {INTEGER} 1 and 65535"),
    ("advanced/qpid-config.xml", "status-updates", "LOUD", "'LOUD' is not one of ON, OFF, true, false"),
    ("carbon.xml", "Ports/Offset", "three", f"'three' {INTEGER} 0 and 65535"),
    ("user-mgt.xml", "Realm/Configuration/AddAdmin", "1", "'1' is not true or false"),
    ("user-mgt.xml", "Realm/Configuration/AdminUser/Password", "", "a password must not be empty"),
    ("axis2.xml", "clustering/@enable", "on", "'on' is not true or false"),
    (
        "axis2.xml",
        "clustering/members/member/hostName",
        "192.168.1.9-2",
        "'192.168.1.9-2' is not an ascending range of addresses",
    ),
    ("registry.xml", "mount/@overwrite", "maybe", "'maybe' is not one of true, false, virtual"),
    ("registry.xml", "dbConfig/dataSource", "a b", "'a b' is not a name without blanks"),
    (
        "datasources/master-datasources.xml",
        "datasources/datasource/definition/configuration/maxActive",
        "many",
        f"'many' {INTEGER} 1 and 2147483647",
    ),
]
ROOTS = {
    "broker.xml": "broker",
    "advanced/qpid-config.xml": "broker",
    "carbon.xml": "Server",
    "user-mgt.xml": "UserManager",
    "axis2.xml": "axisconfig",
    "registry.xml": "wso2registry",
    "datasources/master-datasources.xml": "datasources-configuration",
}


@pytest.mark.parametrize(("file", "path", "text", "expected"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_value_stops_the_start_with_its_place(load_files, file, path, text, expected):
    content = nested(path, text).format(root=f"<{ROOTS[file]}>", end=f"</{ROOTS[file]}>")
    if expected is None:
        path = "transports/amqp/sslConnection/keyStore"
        expected = "the connection is enabled, so keyStore/location must name a file"
    with pytest.raises(ConfigError) as failure:
        load_files({file: content})
    assert str(failure.value) == f"conf/{file}:3: {path}: {expected}"


def tls_listener(versions):
    return f"""<sslConnection enabled="true" port="8672">
<keyStore><location>server.pem</location></keyStore>
<sslEnabledProtocols>{versions}</sslEnabledProtocols></sslConnection>"""


@pytest.mark.parametrize("versions", ["TLSv1.1", "TLSv1,TLSv1.1", "SSLv3", "SSLv2Hello, SSLv3, TLSv1"])
def test_a_tls_listener_to_which_no_safe_version_is_left_is_refused(load_files, versions):
    with pytest.raises(ConfigError) as failure:
        load_files({"broker.xml": tls_listener(versions)})
    assert str(failure.value) == (
        "conf/broker.xml:3: transports/amqp/sslConnection/sslEnabledProtocols: "
        f"{', '.join(versions.replace(' ', '').split(','))}: none of them is safe any more;"
        " use TLSv1.2, TLSv1.3 or both"
    )


@pytest.mark.parametrize(
    ("versions", "left_out", "served"),
    [
        ("TLSv1,TLSv1.1,TLSv1.2", "TLSv1, TLSv1.1", ("TLSv1.2",)),
        ("TLSv1.3,SSLv3,TLSv1.2", "SSLv3", ("TLSv1.3", "TLSv1.2")),
        ("TLSv1", "TLSv1", ("TLSv1.2", "TLSv1.3")),  # as WSO2 ships it
    ],
)
def test_outdated_versions_of_a_tls_listener_are_left_out_with_a_warning(load_files, versions, left_out, served):
    loaded = load_files({"broker.xml": tls_listener(versions)})
    assert loaded.config.transports.amqp.ssl_connection.tls_versions == served
    assert loaded.warnings == [
        "conf/broker.xml:3: transports/amqp/sslConnection/sslEnabledProtocols: "
        f"{left_out} is no longer safe and left out; clients get {' or '.join(served)}"
    ]


def test_outdated_tls_is_accepted_where_nothing_listens(load_files):
    content = """<broker><transports><mqtt><sslConnection enabled="true">
<sslEnabledProtocols>TLSv1</sslEnabledProtocols></sslConnection></mqtt></transports></broker>"""
    assert load_files({"broker.xml": content}).warnings == []


def test_outdated_tls_is_accepted_where_tls_is_disabled(load_files):
    content = '<sslConnection enabled="false"><sslEnabledProtocols>tlsv1</sslEnabledProtocols></sslConnection>'
    ssl = load_files({"broker.xml": content}).config.transports.amqp.ssl_connection
    assert ssl.ssl_enabled_protocols == ("TLSv1",)


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (
            '<messageStore class="org.wso2.andes.store.cassandra.CassandraStore"/>',
            "persistence/messageStore/@class: 'org.wso2.andes.store.cassandra.CassandraStore' is not a store "
            "of this broker; use org.wso2.andes.store.rdbms.RDBMSMessageStoreImpl or its context twin",
        ),
        (
            '<messageStore><property name="dataErrorSQLStateClasses">21,2</property></messageStore>',
            "persistence/messageStore/property[dataErrorSQLStateClasses]: '2' is not a SQLState class of two digits or "
            "capital letters",
        ),
        (
            '<messageStore><property name="dataSource">Nope</property></messageStore>',
            "persistence/messageStore/property[dataSource]: no datasource has the JNDI name 'Nope'; "
            "known are WSO2MBStoreDB",
        ),
    ],
)
def test_a_wrong_store_is_refused(load_files, xml, expected):
    with pytest.raises(ConfigError) as failure:
        load_files({"broker.xml": xml})
    assert str(failure.value).splitlines()[0] == f"conf/broker.xml:1: {expected}"


def test_all_wrong_values_are_reported_together_by_file_and_line(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files(
            {
                "broker.xml": "<broker>\n<deployment><mode>x</mode></deployment>\n"
                "<coordination><thriftServerPort>y</thriftServerPort></coordination></broker>",
                "carbon.xml": "<Server><Ports><Offset>z</Offset></Ports></Server>",
                "registry.xml": "<wso2registry>",
            }
        )
    assert str(failure.value).splitlines() == [
        "conf/broker.xml:2: deployment/mode: 'x' is not one of default, standalone",
        "conf/broker.xml:3: coordination/thriftServerPort: 'y' is not an integer between 0 and 65535",
        "conf/carbon.xml:1: Ports/Offset: 'z' is not an integer between 0 and 65535",
        "conf/registry.xml:1: not well-formed XML: no element found",
    ]


def test_a_port_above_65535_after_the_offset_is_refused(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files(
            {
                "broker.xml": '<!-- -->\n<amqp><defaultConnection port="65000"/></amqp>',
                "carbon.xml": "<Offset>1000</Offset>",
            }
        )
    assert str(failure.value) == (
        "conf/broker.xml:2: transports/amqp/defaultConnection/@port: '65000' plus the port offset 1000 is above 65535"
    )


def test_a_message_is_one_line_of_bounded_length_whatever_the_value_holds(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files({"broker.xml": f"<nodeID>a\n\tb\u2028\u0085{'c' * 10_000}</nodeID>"})
    assert str(failure.value) == f"conf/broker.xml:1: coordination/nodeID: 'a  b  {'c' * 10_000}"[:500] + "…"


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"^nowhere/broker\.xml: no such file$"):
        load(Path("nowhere/broker.xml"), {})


def test_a_folder_without_broker_xml_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"/broker\.xml: no such file$"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("versions", "ciphers", "text"),
    [
        ("TLSv1.2", "aNULL", "'aNULL' does not authenticate the server or does not encrypt"),
        ("TLSv1.2,TLSv1.3", "HIGH, nonsense", "'nonsense' is no cipher suite of OpenSSL"),
        ("TLSv1.2", "TLS_AES_128_GCM_SHA256", "'TLS_AES_128_GCM_SHA256' is a cipher suite of TLS 1.3"),
        ("TLSv1.3", "HIGH", "they are for TLS 1.2, which sslEnabledProtocols leaves out"),
    ],
)
def test_a_wrong_cipher_suite_of_a_tls_listener_is_refused(load_files, versions, ciphers, text):
    content = f"""<sslConnection enabled="true"><keyStore><location>k.pem</location></keyStore>
<sslEnabledProtocols>{versions}</sslEnabledProtocols>
<ciphers>{ciphers}</ciphers></sslConnection>"""
    with pytest.raises(ConfigError) as refused:
        load_files({"broker.xml": f"<broker><transports><amqp>{content}</amqp></transports></broker>"})
    assert str(refused.value).startswith(f"conf/broker.xml:3: transports/amqp/sslConnection/ciphers: {text}")


def test_cipher_suites_of_a_tls_listener_that_is_off_are_not_judged(load_files):
    content = '<sslConnection enabled="false"><ciphers>nonsense</ciphers></sslConnection>'
    load_files({"broker.xml": f"<broker><transports><amqp>{content}</amqp></transports></broker>"})


@pytest.mark.parametrize(
    ("elements", "place", "text"),
    [
        (
            "<clientAuth>true</clientAuth>",
            "clientAuth",
            "certificates of clients are required, so trustStore/location must name a file",
        ),
        (
            "<certificateLogin>dns</certificateLogin>",
            "certificateLogin",
            "'dns' needs certificates of clients: name a trustStore, and leave clientAuth at want or true",
        ),
        (
            "<trustStore><location>t</location></trustStore><clientAuth>false</clientAuth>"
            "<certificateLogin>commonname</certificateLogin>",
            "certificateLogin",
            "'commonName' needs certificates of clients: name a trustStore, and leave clientAuth at want or true",
        ),
        ("<clientAuth>maybe</clientAuth>", "clientAuth", "'maybe' is not one of false, want, true"),
        (
            "<certificateLogin>on</certificateLogin>",
            "certificateLogin",
            "'on' is not one of off, commonName, subject, dns, email, uri",
        ),
    ],
)
def test_what_is_said_of_certificates_of_clients_must_be_possible(load_files, elements, place, text):
    content = f"""<sslConnection enabled="true"><keyStore><location>k.pem</location></keyStore>
{elements}</sslConnection>"""
    with pytest.raises(ConfigError) as refused:
        load_files({"broker.xml": content})
    assert str(refused.value) == f"conf/broker.xml:2: transports/amqp/sslConnection/{place}: {text}"
