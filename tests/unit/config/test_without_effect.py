from __future__ import annotations

import pytest

from broker.config.without_effect import accepted_without_effect

SHIPPED_BY_WSO2 = {
    "broker.xml": """<broker>
  <transports><mqtt enabled="true"><bindAddress>0.0.0.0</bindAddress>
    <sslConnection enabled="true"><keyStore><location>k.jks</location><password>canary</password></keyStore>
    </sslConnection>
    <security><authenticator class="org.example.Authenticator"/></security></mqtt></transports>
  <transaction><dbConnectionPoolSize>10</dbConnectionPoolSize></transaction>
  <performanceTuning><slots><timerPeriod>1000</timerPeriod></slots><failover></failover></performanceTuning>
  <managementConsole><allowReRouteAllInDLC>false</allowReRouteAllInDLC></managementConsole>
  <slotManagement><storage>RDBMS</storage></slotManagement>
</broker>""",
    "datasources/master-datasources.xml": """<datasources-configuration><datasources><datasource><name>MB</name>
  <description>messages</description><jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>
  <definition type="RDBMS"><configuration><url>jdbc:h2:./db</url><driverClassName>org.h2.Driver</driverClassName>
  </configuration></definition></datasource></datasources></datasources-configuration>""",
    "advanced/qpid-config.xml": """<broker><conf>${prefix}</conf><management><enabled>true</enabled>
  <ssl><enabled>false</enabled><keyStorePath>elsewhere.jks</keyStorePath></ssl></management></broker>""",
    "axis2.xml": """<axisconfig><clustering enable="false"><parameter name="domain">wso2.ei.domain</parameter>
  <parameter name="hazelcastSerializers"><serializer typeClass="org.example.A">org.example.B</serializer></parameter>
  <parameter name="licenseKey"></parameter></clustering></axisconfig>""",
    "registry.xml": '<wso2registry><remoteInstance url="https://localhost"><cacheId>a@b</cacheId></remoteInstance>'
    "</wso2registry>",
}


def line(load_files, **files):
    names = {"broker": "broker.xml", "carbon": "carbon.xml", "axis2": "axis2.xml", "hazelcast": "hazelcast.properties"}
    loaded = load_files({names[key]: content for key, content in files.items()})
    assert loaded.warnings == []
    return accepted_without_effect(loaded.config)


def test_of_files_as_wso2_ships_them_only_mqtt_asks_for_something(load_files):
    loaded = load_files(SHIPPED_BY_WSO2)
    assert loaded.warnings == []
    assert accepted_without_effect(loaded.config) == "accepted without effect: mqtt"


def test_nothing_is_said_of_the_defaults(load_files):
    assert line(load_files) == ""


@pytest.mark.parametrize(
    ("element", "name"),
    [
        ("<slotManagement><storage>HazelCast</storage></slotManagement>", "slotManagement/storage"),
        (
            "<performanceTuning><slots><deliveryThreadCount>9</deliveryThreadCount></slots></performanceTuning>",
            "deliveryThreadCount",
        ),
        ('<transports><mqtt enabled="false"><bindAddress>0.0.0.0</bindAddress></mqtt></transports>', ""),
        ("<persistence><cache><size>1</size><printStats>true</printStats></cache></persistence>", "cache"),
    ],
)
def test_an_element_is_told_when_its_value_is_not_the_default(load_files, element, name):
    expected = f"accepted without effect: {name}" if name else ""
    assert line(load_files, broker=f"<broker>{element}</broker>") == expected


def test_several_files_share_the_line(load_files):
    said = line(
        load_files,
        carbon="<Server><HostName>mb.example.org</HostName></Server>",
        axis2='<clustering enable="true"><parameter name="KUBERNETES_NAMESPACE">ei</parameter>'
        '<parameter name="KUBERNETES_SERVICES">mb</parameter>'
        '<parameter name="properties"><property name="subDomain" value="worker"/></parameter></clustering>',
        broker="<mode>standalone</mode>",
        hazelcast="hazelcast.logging.type=log4j\n",
    )
    assert said == (
        "accepted without effect: HostName, parameter[*KUBERNETES*], parameter[properties], hazelcast.logging.type"
    )


def test_the_line_stays_short_and_shows_no_values(load_files):
    slots = {"deliveryThreadCount": 1, "idleTaskDelay": 1, "deleteThreadCount": 1}
    delivery = ["ringBufferSize", "parallelContentReaders", "parallelDecompressionHandlers", "parallelDeliveryHandlers"]
    multicast = ["mcastAddress", "mcastPort", "mcastTTL", "mcastTimeout", "mcastBindAddress"]
    parameters = [*multicast, "password", "groupPassword", "accessKey", "secretKey", "region"]
    clustering = "".join(f'<parameter name="{name}">7</parameter>' for name in parameters)
    said = line(
        load_files,
        broker="<broker><deployment><mode>standalone</mode></deployment><performanceTuning><slots>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in slots.items())
        + "</slots><delivery>"
        + "".join(f"<{name}>2</{name}>" for name in delivery)
        + "</delivery></performanceTuning></broker>",
        carbon="<Server><HostName>a</HostName><MgtHostName>b</MgtHostName><ServerKey>c</ServerKey>"
        "<Ports><JMX><RMIServerPort>1</RMIServerPort></JMX></Ports></Server>",
        axis2=f'<clustering enable="true">{clustering}</clustering>',
    )
    assert said.count(",") == 17
    assert "7" not in said
