"""Whether a node is in a cluster, and what keeps it from being a member."""

from __future__ import annotations

import pytest

from broker.config.broker_xml import LEAST_CLUSTER_SECRET_OCTETS
from broker.config.loading import load
from broker.errors import ConfigError
from broker.thrift.secret import LEAST_SECRET_OCTETS

AXIS2 = "<axisconfig>\n<clustering enable='true'/></axisconfig>"
SECRET = "0123456789abcdef"


def datasource(url: str) -> str:
    return f"""<datasource><name>WSO2MBStoreDB</name><definition><configuration><url>{url}</url></configuration>
</definition></datasource>"""


MARIADB = datasource("jdbc:mariadb://db/mb")
SERVERS = [MARIADB, datasource("jdbc:mysql://db/mb"), datasource("jdbc:postgresql://db/mb")]


def refusals(load_files, files, environ=None) -> list[str]:
    with pytest.raises(ConfigError) as failure:
        load_files(files, environ)
    return str(failure.value).splitlines()


@pytest.mark.parametrize("source", SERVERS)
def test_a_node_with_clustering_and_a_database_server_is_in_a_cluster(load_files, source):
    loaded = load_files({"axis2.xml": AXIS2, "master-datasources.xml": source})
    assert (loaded.config.is_clustered, loaded.warnings) == (True, [])


def test_a_node_is_alone_unless_clustering_is_enabled(load_files):
    assert not load(None, {}).config.is_clustered
    assert not load_files({"master-datasources.xml": MARIADB}).config.is_clustered


@pytest.mark.parametrize("mode", ["standalone", "STANDALONE"])
def test_a_standalone_node_is_alone_and_may_have_any_database(load_files, mode):
    loaded = load_files({"axis2.xml": AXIS2, "broker.xml": f"<mode>{mode}</mode>"})
    assert not loaded.config.is_clustered


@pytest.mark.parametrize(
    "sources", [{}, *({"master-datasources.xml": datasource(url)} for url in ("jdbc:sqlite:a.db", "jdbc:h2:mem:a"))]
)
def test_a_cluster_without_a_database_server_is_refused(load_files, sources):
    assert refusals(load_files, {"axis2.xml": AXIS2} | sources) == [
        "conf/axis2.xml:2: clustering/@enable: a cluster needs MariaDB, MySQL or PostgreSQL, which its nodes share; "
        "name such a database as 'WSO2MBStoreDB' in datasources/master-datasources.xml, or set deployment/mode of "
        "broker.xml to standalone"
    ]


@pytest.mark.parametrize("url", ["jdbc:oracle:thin:@db/mb", "jdbc:mariadb://db/mb?sslMode=nonsense"])
def test_a_wrong_datasource_is_complained_about_once(load_files, url):
    (complaint,) = refusals(load_files, {"axis2.xml": AXIS2, "master-datasources.xml": datasource(url)})
    assert complaint.startswith("conf/master-datasources.xml:1: ")


def test_a_datasource_that_is_not_there_is_complained_about_once(load_files):
    store = '<messageStore><property name="dataSource">Nope</property></messageStore>'
    (complaint,) = refusals(load_files, {"axis2.xml": AXIS2, "broker.xml": store, "master-datasources.xml": MARIADB})
    assert "no datasource has the JNDI name 'Nope'" in complaint


PEERS = '<broker>\n<RDBMSBasedCoordination enabled="false"/>{}</broker>'
CLUSTERING = """<axisconfig>
<clustering enable="true">
<parameter name="membershipScheme">{scheme}</parameter>
<parameter name="localMemberHost">{host}</parameter>{more}
</clustering></axisconfig>"""


def peers(scheme: str = "wka", host: str = "127.0.0.1", more: str = "", broker: str = "") -> dict[str, str]:
    return {
        "axis2.xml": CLUSTERING.format(scheme=scheme, host=host, more=more),
        "master-datasources.xml": MARIADB,
        "broker.xml": PEERS.format(broker),
    }


def test_nodes_that_do_not_meet_in_the_database_meet_as_peers(load_files):
    loaded = load_files(peers())
    assert (loaded.config.meets_among_peers, loaded.warnings) == (True, [])
    assert not load_files(peers() | {"broker.xml": "<broker/>"}).config.meets_among_peers
    assert not load_files(peers() | {"axis2.xml": "<axisconfig/>"}).config.meets_among_peers


@pytest.mark.parametrize("scheme", ["multicast", "aws", "kubernetes"])
def test_peers_that_no_list_names_are_refused_with_what_to_do(load_files, scheme):
    advice = (
        "is not served; set parameter membershipScheme to wka and name the nodes in members, or set"
        " coordination/rdbmsBasedCoordination/@enabled of broker.xml to true"
    )
    place = "clustering/parameter[membershipScheme]"
    assert refusals(load_files, peers(scheme)) == [
        f"conf/axis2.xml:3: {place}: the membership scheme '{scheme}' {advice}"
    ]
    assert refusals(load_files, peers() | {"axis2.xml": AXIS2}) == [
        f"conf/axis2.xml:2: clustering/@enable: the membership scheme 'multicast' {advice}"
    ]


@pytest.mark.parametrize("host", ["10.0.0.5", "default", "2001:db8::1"])
def test_peers_beyond_loopback_need_the_secret(load_files, host):
    assert refusals(load_files, peers(host=host)) == [
        f"conf/broker.xml:2: coordination/clusterSecret: localMemberHost '{host}' is not loopback, so the nodes need a"
        " shared secret; set it here or in the environment variable BROKER_CLUSTER_SECRET, the same on all nodes"
    ]
    assert load_files(peers(host=host), {"BROKER_CLUSTER_SECRET": SECRET}).config.meets_among_peers
    bound = '<parameter name="localMemberBindAddress">*</parameter>'
    assert len(refusals(load_files, peers(more=bound))) == 1


def test_a_local_member_that_is_every_address_is_refused_where_peers_call_it(load_files):
    assert refusals(load_files, peers(host="0.0.0.0")) == [
        "conf/axis2.xml:4: clustering/parameter[localMemberHost]: '0.0.0.0' cannot be reached by other nodes; name one"
        " address of this machine"
    ]


def test_more_addresses_than_can_be_asked_are_refused(load_files):
    members = "<members><member><hostName>10.0.{}.0-255</hostName></member><member/></members>"
    (complaint,) = refusals(load_files, peers(more=members.format(0)))
    assert complaint.endswith("257 addresses; at most 256 can be asked")


@pytest.mark.parametrize(
    ("minimum", "warning"),
    [
        (2, ""),
        (4, "4 are more than the 3 members that axis2.xml and this node name"),
        (3, ""),
    ],
)
def test_a_minimum_that_the_known_members_cannot_reach_is_a_warning(load_files, minimum, warning):
    members = "<members><member><hostName>10.0.0.1-2</hostName></member></members>"
    detection = f'<networkPartitionsDetection enabled="true"><minimumClusterSize>{minimum}</minimumClusterSize>'
    loaded = load_files(peers(more=members, broker=f"{detection}</networkPartitionsDetection>"))
    place = "conf/broker.xml:2: recovery/networkPartitionsDetection/minimumClusterSize: "
    assert loaded.warnings == ([f"{place}{warning}"] if warning else [])


def test_the_single_name_of_a_headless_service_may_stand_for_all_members(load_files):
    members = "<members><member><hostName>broker.messaging.svc</hostName></member></members>"
    detection = '<networkPartitionsDetection enabled="true"><minimumClusterSize>3</minimumClusterSize>'
    assert load_files(peers(more=members, broker=f"{detection}</networkPartitionsDetection>")).warnings == []


def test_a_minimum_that_two_parts_of_the_cluster_can_reach_is_a_warning(load_files):
    members = "<members><member><hostName>10.0.0.1-4</hostName></member></members>"
    detection = '<networkPartitionsDetection enabled="true"><minimumClusterSize>2</minimumClusterSize>'
    loaded = load_files(peers(more=members, broker=f"{detection}</networkPartitionsDetection>"))
    assert loaded.warnings == [
        "conf/broker.xml:2: recovery/networkPartitionsDetection/minimumClusterSize: 2 of 5 known members: two parts of"
        " the cluster may serve at once; 3 is more than half"
    ]


@pytest.mark.parametrize("name", ["RDBMSBasedClusterEventSynchronization", "rdbmsBasedClusterEventSynchronization"])
def test_events_go_through_the_database_unless_that_is_switched_off(load_files, name):
    broker_xml = f'<broker>\n<{name} enabled="false"/></broker>'
    loaded = load_files({"axis2.xml": AXIS2, "master-datasources.xml": MARIADB, "broker.xml": broker_xml})
    assert loaded.warnings == []
    assert not loaded.config.coordination.rdbms_based_cluster_event_synchronization.enabled
    assert load(None, {}).config.coordination.rdbms_based_cluster_event_synchronization.enabled


PARTITIONS = """<broker>
<networkPartitionsDetection enabled="{}">
<minimumClusterSize>{}</minimumClusterSize></networkPartitionsDetection></broker>"""


def test_the_minimum_counts_where_partitions_are_detected(load_files):
    files = {"axis2.xml": AXIS2, "master-datasources.xml": MARIADB}
    detected = load_files(files | {"broker.xml": PARTITIONS.format("true", 3)})
    assert (detected.config.minimum_cluster_size, detected.warnings) == (3, [])
    assert load_files(files | {"broker.xml": PARTITIONS.format("false", 3)}).config.minimum_cluster_size == 1


def test_a_minimum_that_every_node_reaches_alone_is_refused(load_files):
    files = {"axis2.xml": AXIS2, "master-datasources.xml": MARIADB}
    text = "a node always sees itself, so at least 2 members must be asked for; (n/2)+1 of n nodes are recommended"
    place = "recovery/networkPartitionsDetection"
    assert refusals(load_files, files | {"broker.xml": PARTITIONS.format("true", 1)}) == [
        f"conf/broker.xml:3: {place}/minimumClusterSize: {text}"
    ]
    bare = '<broker>\n<networkPartitionsDetection enabled="true"/></broker>'
    assert refusals(load_files, files | {"broker.xml": bare}) == [f"conf/broker.xml:2: {place}/@enabled: {text}"]


def test_partition_detection_of_a_node_that_is_in_no_cluster_is_a_warning(load_files):
    loaded = load_files({"broker.xml": PARTITIONS.format("true", 2)})
    assert loaded.config.minimum_cluster_size == 1
    assert loaded.warnings == [
        "conf/broker.xml:2: recovery/networkPartitionsDetection/@enabled: 'true' has no effect: this node is in no"
        " cluster"
    ]


@pytest.mark.parametrize("host", ["10.0.0.5", "fe80::1", "[2001:db8::1]"])
def test_an_address_beyond_loopback_needs_the_secret(load_files, host):
    files = {
        "axis2.xml": AXIS2,
        "master-datasources.xml": MARIADB,
        "broker.xml": f"<coordination>\n<thriftServerHost>{host}</thriftServerHost></coordination>",
    }
    bare = host.strip("[]")
    assert refusals(load_files, files) == [
        f"conf/broker.xml:1: coordination/clusterSecret: thriftServerHost '{bare}' is not loopback, so the nodes need "
        "a shared secret; set it here or in the environment variable BROKER_CLUSTER_SECRET, the same on all nodes"
    ]
    assert load_files(files, {"BROKER_CLUSTER_SECRET": SECRET}).config.is_clustered
    assert not load_files(files | {"axis2.xml": "<axisconfig/>"}).config.is_clustered


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1", "broker-1.example"])
def test_loopback_needs_no_secret_and_a_name_is_not_judged_here(load_files, host):
    broker_xml = f"<thriftServerHost>{host}</thriftServerHost>"
    files = {"axis2.xml": AXIS2, "master-datasources.xml": MARIADB, "broker.xml": broker_xml}
    assert load_files(files).config.is_clustered


def test_the_secret_comes_from_the_element_a_file_or_the_environment(load_files, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}-file\n")
    secret.chmod(0o600)

    def taken(text: str, environ=None) -> str:
        loaded = load_files({"broker.xml": f"<clusterSecret>{text}</clusterSecret>"}, environ)
        assert loaded.warnings == []
        return loaded.config.coordination.cluster_secret.get_secret_value()

    assert taken("") == ""
    assert taken(SECRET) == SECRET
    assert taken("${env:S}", {"S": SECRET}) == SECRET
    assert taken(f"file:{secret}") == f"{SECRET}-file"
    assert taken(SECRET, {"BROKER_CLUSTER_SECRET": f"{SECRET}-env"}) == f"{SECRET}-env"


def test_the_secret_may_stand_behind_an_alias(load_files):
    content = '<clusterSecret xmlns:svns="http://x" svns:secretAlias="Cluster.Secret"/>'
    loaded = load_files({"broker.xml": content}, {"BROKER_SECRET_CLUSTER_SECRET": SECRET})
    assert loaded.config.coordination.cluster_secret.get_secret_value() == SECRET


def test_a_secret_that_is_too_short_is_refused_and_not_shown(load_files):
    assert refusals(
        load_files,
        {"broker.xml": "<broker>\n<coordination><clusterSecret>canary</clusterSecret></coordination></broker>"},
    ) == ["conf/broker.xml:2: coordination/clusterSecret: a secret of 6 octets; at least 16 are needed"]
    assert refusals(load_files, {}, {"BROKER_CLUSTER_SECRET": "ключ"}) == [
        "environment variable BROKER_CLUSTER_SECRET: a secret of 8 octets; at least 16 are needed"
    ]


def test_the_service_between_nodes_needs_as_much():
    assert LEAST_CLUSTER_SECRET_OCTETS == LEAST_SECRET_OCTETS


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("1.2.3.4:4000", "'1.2.3.4:4000' has a port, which belongs in the element port; the host is '1.2.3.4'"),
        ("[::1]:4000", "'[::1]:4000' has a port, which belongs in the element port; the host is '[::1]'"),
        ("127.0.0.1,127.0.0.2", "is more than one host; each needs a member element of its own"),
        ("10.0.0.999", "is neither an IPv4 address, four numbers from 0 to 255, nor a range in the last of them"),
        ("10.0.0.-5", "is neither an IPv4 address, four numbers from 0 to 255, nor a range in the last of them"),
        ("10.0.2-3.1", "is neither an IPv4 address, four numbers from 0 to 255, nor a range in the last of them"),
        ("999.0.0.2-3", "is neither an IPv4 address, four numbers from 0 to 255, nor a range in the last of them"),
        ("10.0.0.9-2", "'10.0.0.9-2' is not an ascending range of addresses"),
        ("10.0.0.9-256", "'10.0.0.9-256' is not an ascending range of addresses"),
        ("*", "'*' is every address of a machine; name one that the other nodes reach"),
        ("0.0.0.0", "'0.0.0.0' is every address of a machine; name one that the other nodes reach"),
        ("::", "'::' is every address of a machine; name one that the other nodes reach"),
        ("two words", "'two words' is not a host name, an address or a range such as 192.168.1.2-10"),
        ("m" * 254, "has 254 characters; a host name has at most 253"),
    ],
)
def test_a_member_that_is_no_address_is_refused_with_the_reason(load_files, host, reason):
    (complaint,) = refusals(load_files, peers(more=f"<members><member><hostName>{host}</hostName></member></members>"))
    assert complaint.startswith("conf/axis2.xml:4: clustering/members/member/hostName: ")
    assert reason in complaint


def test_a_member_without_a_port_to_call_is_refused(load_files):
    (complaint,) = refusals(load_files, peers(more="<members><member><port>0</port></member></members>"))
    assert complaint.endswith("clustering/members/member/port: '0' is not an integer between 1 and 65535")


@pytest.mark.parametrize("host", ["mq1", "mq-1.example", "10.0.0.5", "10.0.0.2-6", "[2001:db8::1]", "12345"])
def test_names_addresses_and_ranges_are_members(load_files, host):
    more = f"<members><member><hostName>{host}</hostName></member></members>"
    (member, *_) = load_files(peers(more=more)).config.axis2.clustering.members.member
    assert member.host_name == host.strip("[]")


@pytest.mark.parametrize("domain", ["d" * 121, "ä" * 61, "a\u200bb"])
def test_a_domain_that_the_other_nodes_could_not_read_is_refused(load_files, domain):
    (complaint,) = refusals(load_files, peers(more=f'<parameter name="domain">{domain}</parameter>'))
    assert "clustering/parameter[domain]" in complaint
    assert "a name that the other nodes can read has at most 120, all of them printable" in complaint


def test_a_node_id_that_no_row_has_room_for_is_refused(load_files):
    (complaint,) = refusals(load_files, peers(broker=f"<coordination><nodeID>{'n' * 256}</nodeID></coordination>"))
    assert "nodeID" in complaint
    assert complaint.endswith("has at most 255, all of them printable")


@pytest.mark.parametrize(
    ("host", "members", "warning"),
    [
        ("127.0.0.1", ["localhost", "127.0.0.1"], "2 are more than the 1 members that axis2.xml and this node name"),
        ("localhost", ["127.0.0.1", "LOCALHOST."], "2 are more than the 1 members that axis2.xml and this node name"),
        ("127.0.0.1", ["127.0.0.2"], ""),
        ("mq1", ["127.0.0.1"], ""),  # it may be this node, or another
        ("::1", ["0:0:0:0:0:0:0:1"], "2 are more than the 1 members that axis2.xml and this node name"),
    ],
)
def test_a_member_that_is_spelt_in_two_ways_counts_once(load_files, host, members, warning):
    detection = '<recovery><networkPartitionsDetection enabled="true"><minimumClusterSize>2</minimumClusterSize>'
    more = "".join(f"<member><hostName>{each}</hostName></member>" for each in members)
    files = peers(
        host=host, more=f"<members>{more}</members>", broker=f"{detection}</networkPartitionsDetection></recovery>"
    )
    loaded = load_files(files, {"BROKER_CLUSTER_SECRET": SECRET})
    assert [text.rpartition(": ")[2] for text in loaded.warnings] == ([warning] if warning else [])


def test_a_silence_that_a_busy_member_may_need_is_a_warning(load_files):
    loaded = load_files(peers() | {"hazelcast.properties": "hazelcast.max.no.heartbeat.seconds=1\n"})
    assert loaded.warnings == [
        "conf/hazelcast.properties:1: hazelcast.max.no.heartbeat.seconds: after 1 s a member counts as gone although"
        " it may only be busy; set at least 4, the same on all nodes"
    ]
