from __future__ import annotations

from broker.config.loading import load
from broker.config.rendering import show


def test_every_value_is_shown_with_its_origin(load_files):
    loaded = load_files(
        {
            "broker.xml": "<broker>\n<coordination><nodeID>n1</nodeID></coordination></broker>",
        },
        {"BROKER_PORT_OFFSET": "3"},
    )
    lines = show(loaded.config).splitlines()
    assert "coordination/nodeID = n1  (conf/broker.xml:2)" in lines
    assert "coordination/thriftServerPort = 7611  (default)" in lines
    assert "transports/amqp/sslConnection/sslEnabledProtocols = TLSv1.2,TLSv1.3  (default)" in lines
    assert "transports/amqp/@enabled = true  (default)" in lines
    assert "Ports/Offset = 3  (environment variable BROKER_PORT_OFFSET)" in lines
    assert "amqp_port = 5675" in lines


def test_an_element_without_effect_is_shown_where_a_file_holds_it_and_says_why(load_files):
    loaded = load_files(
        {
            "broker.xml": "<cache>\n<printStats>TRUE</printStats></cache>",
            "axis2.xml": "<parameter name='properties'>\n<property name='a' value='b'/></parameter>",
        }
    )
    lines = show(loaded.config).splitlines()
    assert [line for line in lines if "no effect" in line] == [
        "persistence/cache/printStats = true  (conf/broker.xml:2; no effect: bodies are in memory or in the store)",
        "clustering/parameter[properties]/property[*]/a = ********"
        "  (conf/axis2.xml:2; no effect: there is no Hazelcast here)",
    ]


def test_list_items_are_numbered(load_files):
    loaded = load_files(
        {
            "datasources/master-datasources.xml": "<datasource><name>WSO2MBStoreDB</name></datasource>\n"
            "<datasource><name>b</name><description>c</description></datasource>"
        }
    )
    lines = show(loaded.config).splitlines()
    file = "conf/datasources/master-datasources.xml"
    assert f"datasources/datasource[2]/name = b  ({file}:2)" in lines
    assert f"datasources/datasource[2]/description = c  ({file}:2; no effect: the URL decides)" in lines


def test_no_secret_is_shown(load_files):
    loaded = load_files(
        {
            "broker.xml": """<broker><coordination><clusterSecret>canary-canary-canary</clusterSecret></coordination>
<transports><amqp><sslConnection>
<keyStore><password>canary</password></keyStore><trustStore><password>canary</password></trustStore>
</sslConnection></amqp><mqtt><security><authenticator class="a"><property name="adminPassword">canary</property>
<property name="pw">canary</property></authenticator></security></mqtt></transports></broker>""",
            "datasources/master-datasources.xml": """<datasource><jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>
<definition><configuration><url>mysql://me:canary@db/mb?password=canary&amp;pasword=canary&amp;a=canary</url><password>canary</password>
<dataSourceProps><property name="password">canary</property><property name="trustStorePassword">canary</property>
</dataSourceProps></configuration></definition></datasource>
<datasource><name>other</name><definition><configuration><url>jdbc:oracle:thin:me/canary@db:1521:x</url>
</configuration></definition></datasource>""",
            "advanced/qpid-config.xml": "<ssl><keyStorePassword>canary</keyStorePassword></ssl>",
            "user-mgt.xml": "<AdminUser><Password>canary</Password></AdminUser>",
            "axis2.xml": "<clustering><parameter name='password'>canary</parameter></clustering>",
            "registry.xml": "<remoteInstance><cacheId>me@jdbc:mysql://me:canary@db/x</cacheId></remoteInstance>",
        }
    )
    assert "canary" not in show(loaded.config)
    assert "keyStore/password = ********" in show(loaded.config)


def test_a_secret_is_not_in_the_text_of_an_object(load_files):
    loaded = load_files(
        {
            "datasources/master-datasources.xml": """<datasource><jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>
<definition><configuration><url>mysql://me:canary@db/mb</url><password>canary</password>
</configuration></definition></datasource>""",
        },
        {"RABBITMQ_DEFAULT_PASS": "canary", "BROKER_CLUSTER_SECRET": "canary-canary-canary"},
    )
    assert "canary" not in repr(loaded)


def test_the_defaults_say_so():
    lines = show(load(None, {}).config).splitlines()
    assert all(line.endswith("(default)") for line in lines if "/" in line and " = " in line)
