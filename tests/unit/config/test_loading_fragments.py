"""Every fragment of andes §1 parses as it stands, in either spelling."""

from __future__ import annotations

from typing import Any

import pytest

from broker.config.binding import origin_key
from broker.config.loading import Loaded
from broker.errors import ConfigError


def accepted(loaded: Loaded, path: str, file: str = "broker.xml") -> Any:
    """Return what the file says in an element that has no effect; numbers in the path count from 0."""
    place = tuple(int(part) if part.isdigit() else part for part in path.split("/"))
    return loaded.config.accepted[file][place].value


@pytest.mark.parametrize(
    "name", ["rdbmsBasedCoordination", "RDBMSBasedCoordination", "RdbmsBasedCoordination", "rdbmsbasedcoordination"]
)
def test_the_coordination_fragment_stands_alone_in_any_case(load_files, name):
    fragment = f"""<{name} enabled="true">
        <heartbeatInterval>6000</heartbeatInterval>
        <coordinatorEntryCreationWaitTime>3500</coordinatorEntryCreationWaitTime>
        <eventPollingInterval>4500</eventPollingInterval>
    </{name}>"""
    loaded = load_files({"broker.xml": fragment})
    coordination = loaded.config.coordination.rdbms_based_coordination
    assert coordination.enabled
    assert coordination.heartbeat_interval_ms == 6000
    assert coordination.coordinator_entry_creation_wait_time_ms == 3500
    assert coordination.event_polling_interval_ms == 4500
    assert loaded.warnings == []


@pytest.mark.parametrize("name", ["RDBMSBasedClusterEventSynchronization", "rdbmsBasedClusterEventSynchronization"])
@pytest.mark.parametrize(
    "around",
    ["{}", "<broker>{}</broker>", "<broker><coordination>{}</coordination></broker>", "<broker><x>{}</x></broker>"],
)
def test_event_synchronization_is_found_anywhere_in_either_spelling(load_files, name, around):
    fragment = f'<{name} enabled="false"><eventSyncInterval>1500</eventSyncInterval></{name}>'
    loaded = load_files({"broker.xml": around.format(fragment)})
    synchronization = loaded.config.coordination.rdbms_based_cluster_event_synchronization
    assert synchronization.enabled is False
    assert synchronization.event_sync_interval_ms == 1500


def test_partition_detection_stands_alone_with_its_own_prolog(load_files):
    fragment = """<?xml version="1.0"?>
<!-- When a network partition occurs -->
<networkPartitionsDetection enabled = "true">
    <minimumClusterSize>2</minimumClusterSize>
</networkPartitionsDetection>
"""
    loaded = load_files({"broker.xml": fragment})
    detection = loaded.config.recovery.network_partitions_detection
    assert (detection.enabled, detection.minimum_cluster_size) == (True, 2)


def test_blank_lines_before_the_prolog_are_forgiven_and_lines_still_count(load_files):
    fragment = '\n\n<?xml version="1.0"?>\n<minimumClusterSize>none</minimumClusterSize>'
    with pytest.raises(ConfigError, match=r"^conf/broker\.xml:4: .*minimumClusterSize: 'none' is not an integer"):
        load_files({"broker.xml": fragment})


def test_the_nested_place_wins_over_a_stray_one(load_files):
    loaded = load_files(
        {
            "broker.xml": """<broker>
<rdbmsBasedCoordination enabled="true"><heartbeatInterval>9000</heartbeatInterval></rdbmsBasedCoordination>
<coordination><rdbmsBasedCoordination enabled="false"/></coordination>
</broker>"""
        }
    )
    assert not loaded.config.coordination.rdbms_based_coordination.enabled
    assert loaded.config.coordination.rdbms_based_coordination.heartbeat_interval_ms == 5000
    assert loaded.warnings == [
        "conf/broker.xml:2: element 'rdbmsBasedCoordination' in broker is ignored: coordination has one"
    ]


def test_of_two_stray_ones_the_first_counts_and_the_second_is_said_to_be_ignored(load_files):
    loaded = load_files(
        {
            "broker.xml": """<broker>
<rdbmsBasedCoordination enabled="true"><heartbeatInterval>9000</heartbeatInterval></rdbmsBasedCoordination>
<x><rdbmsBasedCoordination><heartbeatInterval>7000</heartbeatInterval></rdbmsBasedCoordination></x>
</broker>"""
        }
    )
    assert loaded.config.coordination.rdbms_based_coordination.heartbeat_interval_ms == 9000
    ignored = "conf/broker.xml:3: element 'rdbmsBasedCoordination' in x is ignored: coordination has one"
    assert ignored in loaded.warnings


def test_an_empty_element_has_its_default_and_is_no_origin_of_it(load_files):
    loaded = load_files(
        {
            "broker.xml": """<broker><coordination><rdbmsBasedCoordination>
<heartbeatInterval/>
<eventPollingInterval>4100</eventPollingInterval>
</rdbmsBasedCoordination></coordination></broker>"""
        }
    )
    section = ("coordination", "rdbmsBasedCoordination")
    origins = loaded.config.origins
    assert loaded.config.coordination.rdbms_based_coordination.heartbeat_interval_ms == 5000
    assert origin_key("broker.xml", (*section, "eventPollingInterval")) in origins
    assert origin_key("broker.xml", (*section, "heartbeatInterval")) not in origins
    assert loaded.warnings == [
        "conf/broker.xml:2: coordination/rdbmsBasedCoordination/heartbeatInterval is empty; the default '5000' applies"
    ]


def test_several_fragments_side_by_side_are_one_file(load_files):
    fragments = """<?xml version="1.0" encoding="ISO-8859-1"?>
<nodeID>caf\xe9</nodeID>
<thriftServerHost>10.0.0.1</thriftServerHost>
<!-- and -->
<slots><windowSize>10</windowSize></slots>
<RDBMSBasedClusterEventSynchronization enabled="false"/>
""".encode("iso-8859-1")
    loaded = load_files({"broker.xml": fragments})
    config = loaded.config
    assert config.coordination.node_id == "café"
    assert config.coordination.thrift_server_host == "10.0.0.1"
    assert config.performance_tuning.slots.window_size == 10
    assert config.coordination.rdbms_based_cluster_event_synchronization.enabled is False


BROKER_XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!-- comments first -->
<broker>
  <coordination>
    <nodeID>node1</nodeID>
    <thriftServerHost>10.0.0.1</thriftServerHost><thriftServerPort>7611</thriftServerPort>
    <thriftSOTimeout>180000</thriftSOTimeout>
    <thriftServerReconnectTimeout>5</thriftServerReconnectTimeout>
    <thriftServerMaxWorkerThreads>200</thriftServerMaxWorkerThreads>
    <clusterNotificationTimeout>10</clusterNotificationTimeout>
  </coordination>
  <transports>
    <amqp enabled="true">
      <bindAddress>0.0.0.0</bindAddress>
      <defaultConnection enabled="true" port="5672" />
      <sslConnection enabled="true" port="8672">
        <keyStore><location>server.pem</location><password>wso2carbon</password><certType>SunX509</certType></keyStore>
        <trustStore><location>ca.pem</location><password>wso2carbon</password><certType>SunX509</certType></trustStore>
        <sslEnabledProtocols>TLSv1.2</sslEnabledProtocols>
        <ciphers>TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, AES128-SHA</ciphers>
      </sslConnection>
      <maximumRedeliveryAttempts>10</maximumRedeliveryAttempts>
      <allowSharedTopicSubscriptions>true</allowSharedTopicSubscriptions>
      <allowStrictNameValidation>true</allowStrictNameValidation>
      <sendExpiredMessagesToDLC>true</sendExpiredMessagesToDLC>
    </amqp>
    <mqtt enabled="true">
      <bindAddress>0.0.0.0</bindAddress>
      <defaultConnection enabled="true" port="1883" />
      <sslConnection enabled="true" port="8883">
        <keyStore><location>server.pem</location><password>wso2carbon</password></keyStore>
        <trustStore><location>ca.pem</location><password>wso2carbon</password></trustStore>
      </sslConnection>
      <inboundBufferSize>32768</inboundBufferSize><deliveryBufferSize>32768</deliveryBufferSize>
      <security>
        <authentication>REQUIRED</authentication>
        <authenticator class="org.wso2.carbon.andes.authentication.andes.OAuth2BasedMQTTAuthenticator">
          <property name="hostURL">https://localhost:9443/services/</property>
          <property name="password">canary-mqtt</property>
        </authenticator>
        <authorization>REQUIRED</authorization>
        <authorizer class="org.wso2.carbon.andes.authorization.andes.CarbonPermissionBasedMQTTAuthorizer">
          <property name="connectionPermission">/permission/admin/mqtt/connect</property>
        </authorizer>
      </security>
    </mqtt>
  </transports>
  <persistence>
    <messageStore class="org.wso2.andes.store.rdbms.RDBMSMessageStoreImpl">
      <property name="dataSource">WSO2MBStoreDB</property>
      <property name="storeUnavailableSQLStateClasses">08</property>
      <property name="integrityViolationSQLStateClasses">23,27,44</property>
      <property name="dataErrorSQLStateClasses">21,22</property>
      <property name="transactionRollbackSQLStateClasses">40</property>
    </messageStore>
    <contextStore class="org.wso2.andes.store.rdbms.RDBMSAndesContextStoreImpl">
      <property name="dataSource">WSO2MBStoreDB</property>
    </contextStore>
    <cache><size>256</size><concurrencyLevel>4</concurrencyLevel><expirySeconds>2</expirySeconds>
      <valueReferenceType>strong</valueReferenceType><printStats>false</printStats></cache>
    <idGenerator>org.wso2.andes.server.cluster.coordination.TimeStampBasedMessageIdGenerator</idGenerator>
    <storeHealthCheckInterval>10</storeHealthCheckInterval>
  </persistence>
  <transaction><maxBatchSizeInKB>5120</maxBatchSizeInKB><maxParallelDtxChannels>20</maxParallelDtxChannels>
    <maxWaitTimeout>30</maxWaitTimeout></transaction>
  <performanceTuning>
    <slots>
      <windowSize>1000</windowSize><messageAccumulationTimeout>2000</messageAccumulationTimeout>
      <maxSubmitDelay>1000</maxSubmitDelay><deliveryThreadCount>5</deliveryThreadCount>
      <idleTaskDelay>100</idleTaskDelay><deleteThreadCount>5</deleteThreadCount>
      <SlotDeleteQueueDepthWarningThreshold>900</SlotDeleteQueueDepthWarningThreshold>
      <thriftClientPoolSize>10</thriftClientPoolSize>
    </slots>
    <delivery>
      <maxNumberOfReadButUndeliveredMessages>1000</maxNumberOfReadButUndeliveredMessages>
      <ringBufferSize>4096</ringBufferSize><parallelContentReaders>5</parallelContentReaders>
      <parallelDecompressionHandlers>5</parallelDecompressionHandlers>
      <parallelDeliveryHandlers>5</parallelDeliveryHandlers><contentReadBatchSize>65000</contentReadBatchSize>
      <contentCache><maximumSize>100</maximumSize><expiryTime>120</expiryTime></contentCache>
      <topicMessageDeliveryStrategy><strategyName>slowest_sub_rate</strategyName>
        <deliveryTimeout>60</deliveryTimeout></topicMessageDeliveryStrategy>
    </delivery>
    <ackHandling><ackHandlerCount>1</ackHandlerCount><ackHandlerBatchSize>100</ackHandlerBatchSize>
      <maxUnackedMessages>1000</maxUnackedMessages></ackHandling>
    <contentHandling><contentChunkHandlerCount>3</contentChunkHandlerCount>
      <maxContentChunkSize>65500</maxContentChunkSize><allowCompression>false</allowCompression>
      <contentCompressionThreshold>1000</contentCompressionThreshold></contentHandling>
    <inboundEvents><parallelMessageWriters>1</parallelMessageWriters><bufferSize>65536</bufferSize>
      <messageWriterBatchSize>70</messageWriterBatchSize><purgedCountTimeout>180</purgedCountTimeout>
      <transactionMessageWriters>1</transactionMessageWriters></inboundEvents>
    <messageExpiration><preDeliveryExpiryDeletionInterval>10</preDeliveryExpiryDeletionInterval>
      <periodicMessageDeletionInterval>900</periodicMessageDeletionInterval><safetySlotCount>3</safetySlotCount>
      <moveExpiredMessagesToDLC>false</moveExpiredMessagesToDLC></messageExpiration>
  </performanceTuning>
  <managementConsole><messageBrowsePageSize>100</messageBrowsePageSize>
    <maximumMessageDisplayLength>100000</maximumMessageDisplayLength></managementConsole>
  <flowControl><global><lowLimit>800</lowLimit><highLimit>8000</highLimit></global>
    <bufferBased><lowLimit>100</lowLimit><highLimit>1000</highLimit></bufferBased></flowControl>
  <recovery><concurrentStorageQueueReads>5</concurrentStorageQueueReads>
    <vHostSyncTaskInterval>900</vHostSyncTaskInterval>
    <networkPartitionsDetection enabled = "false"><minimumClusterSize>1</minimumClusterSize>
    </networkPartitionsDetection></recovery>
  <deployment><mode>standalone</mode></deployment>
</broker>
"""


def test_the_whole_broker_xml_of_andes_parses_without_a_warning(load_files):
    loaded = load_files({"broker.xml": BROKER_XML})
    config = loaded.config
    assert loaded.warnings == []
    assert config.coordination.thrift_so_timeout_ms == 180_000
    assert config.transports.amqp.bind_address == "0.0.0.0"
    assert config.transports.amqp.ssl_connection.key_store.password.get_secret_value() == "wso2carbon"
    assert config.transports.amqp.ssl_connection.ciphers == (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "AES128-SHA",
    )
    assert config.transaction.max_uncommitted_bytes == 5120 * 1024
    assert config.deployment.mode == "standalone"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("transports/mqtt/sslConnection/@port", 8883),
        ("transports/mqtt/security/authenticator/property[*]/hostURL", "https://localhost:9443/services/"),
        ("persistence/messageStore/property[integrityViolationSQLStateClasses]", ("23", "27", "44")),
        ("performanceTuning/slots/SlotDeleteQueueDepthWarningThreshold", 900),
        ("performanceTuning/delivery/topicMessageDeliveryStrategy/strategyName", "SLOWEST_SUB_RATE"),
    ],
)
def test_elements_without_effect_are_read_too(load_files, path, value):
    assert accepted(load_files({"broker.xml": BROKER_XML}), path) == value


def test_names_that_andes_replaced_still_work_and_warn(load_files):
    loaded = load_files(
        {
            "broker.xml": """<broker><performanceTuning><slots>
<slotRetainTimeInMemory>1500</slotRetainTimeInMemory>
<windowCreationTimeout>3000</windowCreationTimeout>
<workerThreadCount>7</workerThreadCount>
</slots></performanceTuning>
<transaction><maxBatchSizeInBytes>10000000</maxBatchSizeInBytes></transaction>
<coordination><slotManagement><storage>RDBMS</storage></slotManagement></coordination>
<managementConsole><allowReRouteAllInDLC>false</allowReRouteAllInDLC></managementConsole>
<performanceTuning><messageExpiration><checkInterval>10000</checkInterval></messageExpiration></performanceTuning>
</broker>"""
        }
    )
    assert accepted(loaded, "performanceTuning/slots/messageAccumulationTimeout") == 1500
    assert accepted(loaded, "performanceTuning/slots/maxSubmitDelay") == 3000
    assert accepted(loaded, "performanceTuning/slots/deliveryThreadCount") == 7
    assert loaded.config.transaction.max_uncommitted_bytes == 10_000_000
    assert loaded.warnings[0] == (
        "conf/broker.xml:2: element 'slotRetainTimeInMemory' in performanceTuning/slots is deprecated; "
        "use 'messageAccumulationTimeout'"
    )
    assert [warning.split(":")[1] for warning in loaded.warnings] == ["2", "3", "4", "6", "9"]


def test_a_new_name_wins_over_the_one_it_replaced(load_files):
    slots = """<slots><slotRetainTimeInMemory>1500</slotRetainTimeInMemory>
<messageAccumulationTimeout>1700</messageAccumulationTimeout></slots>"""
    loaded = load_files({"broker.xml": slots})
    assert accepted(loaded, "performanceTuning/slots/messageAccumulationTimeout") == 1700


QPID_CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<broker>
  <prefix>${ANDES_HOME}</prefix><work>${QPID_WORK}</work><conf>${prefix}/etc</conf>
  <plugin-directory>${ANDES_HOME}/lib/plugins</plugin-directory>
  <cache-directory>${QPID_WORK}/cache</cache-directory>
  <connector><qpidnio>false</qpidnio>
    <protectio><enabled>false</enabled><readBufferLimitSize>262144</readBufferLimitSize>
      <writeBufferLimitSize>262144</writeBufferLimitSize></protectio>
    <transport>nio</transport><socketReceiveBuffer>32768</socketReceiveBuffer>
    <socketSendBuffer>32768</socketSendBuffer></connector>
  <management><enabled>true</enabled><jmxport>8999</jmxport>
    <ssl><enabled>false</enabled><keyStorePath>${conf}/qpid.keystore</keyStorePath>
      <keyStorePassword>password</keyStorePassword></ssl></management>
  <advanced><filterchain enableExecutorPool="true"/><enablePooledAllocator>false</enablePooledAllocator>
    <enableDirectBuffers>false</enableDirectBuffers><framesize>65535</framesize>
    <compressBufferOnQueue>false</compressBufferOnQueue><enableJMSXUserID>false</enableJMSXUserID>
    <locale>en_US</locale></advanced>
  <security><pd-auth-manager><principal-database>
    <class>org.wso2.carbon.andes.authentication.andes.CarbonBasedPrincipalDatabase</class>
    </principal-database></pd-auth-manager><msg-auth>false</msg-auth></security>
  <virtualhosts>${conf}/qpid-virtualhosts.xml</virtualhosts>
  <heartbeat><delay>60</delay><timeoutFactor>2.5</timeoutFactor></heartbeat>
  <queue><auto_register>true</auto_register><viewMessageCounts>false</viewMessageCounts></queue>
  <status-updates>ON</status-updates>
</broker>
"""


@pytest.mark.parametrize("place", ["advanced/qpid-config.xml", "qpid-config.xml"])
def test_qpid_config_parses_without_a_warning(load_files, place):
    loaded = load_files({place: QPID_CONFIG})
    qpid = loaded.config.qpid
    assert loaded.warnings == []
    assert (qpid.heartbeat.delay, qpid.heartbeat.timeout_factor) == (60, 2.5)
    assert qpid.advanced.frame_size_bytes == 65535


def test_the_heartbeat_fragment_stands_alone(load_files):
    fragment = "<heartbeat><delay>0</delay><timeoutFactor>2.0</timeoutFactor></heartbeat>"
    assert load_files({"advanced/qpid-config.xml": fragment}).config.qpid.heartbeat.delay == 0


def test_qpid_virtualhosts_parses_without_a_warning(load_files):
    loaded = load_files(
        {
            "advanced/qpid-virtualhosts.xml": """<virtualhosts><default>carbon</default><virtualhost>
<name>carbon</name><carbon>
<housekeeping><threadCount>2</threadCount><expiredMessageCheckPeriod>20000</expiredMessageCheckPeriod></housekeeping>
<exchanges><exchange><type>direct</type><name>carbon.direct</name><durable>true</durable></exchange></exchanges>
<queues><maximumQueueDepth>4235264</maximumQueueDepth><maximumMessageSize>2117632</maximumMessageSize>
<maximumMessageAge>600000</maximumMessageAge><maximumMessageCount>50</maximumMessageCount></queues>
</carbon></virtualhost></virtualhosts>"""
        }
    )
    file = "advanced/qpid-virtualhosts.xml"
    assert loaded.warnings == []
    assert accepted(loaded, "virtualhost/0/carbon/exchanges/exchange/0/name", file) == "carbon.direct"
    assert accepted(loaded, "virtualhost/0/carbon/queues/maximumMessageCount", file) == 50


CARBON_XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<Server xmlns="http://wso2.org/projects/carbon/carbon.xml">
  <Name>WSO2 Broker</Name><ServerKey>MB</ServerKey><Version>6.6.0</Version>
  <HostName>mb.example.org</HostName><MgtHostName>console.example.org</MgtHostName>
  <ServerURL>local:/${carbon.context}/services/</ServerURL>
  <Ports><Offset>3</Offset>
    <JMX><RMIRegistryPort>9999</RMIRegistryPort><RMIServerPort>11111</RMIServerPort></JMX>
    <EmbeddedLDAP><LDAPServerPort>10389</LDAPServerPort></EmbeddedLDAP></Ports>
  <ServerRoles><Role>MessageBroker</Role><Role>.*</Role></ServerRoles>
  <ServiceUserRoles><Role><Name>admin</Name><Description>Administrators</Description></Role></ServiceUserRoles>
</Server>
"""


def test_the_carbon_offset_of_the_broker_profile_shifts_every_port(load_files):
    loaded = load_files({"carbon.xml": CARBON_XML})
    config = loaded.config
    assert loaded.warnings == []
    assert (config.amqp_port, config.amqps_port, config.thrift_port) == (5675, 8675, 7614)
    assert config.axis2.clustering.local_member_port == 4000
    assert accepted(loaded, "HostName", "carbon.xml") == "mb.example.org"


CONFIGURATION = """<Configuration>
  <AddAdmin>true</AddAdmin><AdminRole>admin</AdminRole>
  <AdminUser><UserName>root</UserName><Password>canary-admin</Password></AdminUser>
  <EveryOneRoleName>everyone</EveryOneRoleName>
  <Property name="isCascadeDeleteEnabled">true</Property>
  <Property name="dataSource">jdbc/WSO2UMDB</Property>
</Configuration>"""


@pytest.mark.parametrize(
    "around", ["{}", "<Realm>{}</Realm>", "<UserManager><Realm>{}<UserStoreManager/></Realm></UserManager>"]
)
def test_the_configuration_element_of_user_mgt_stands_alone_too(load_files, around):
    loaded = load_files({"user-mgt.xml": around.format(CONFIGURATION)})
    assert loaded.warnings == []
    assert loaded.config.user_mgt.admin_user_name == "root"
    assert loaded.config.user_mgt.admin_password.get_secret_value() == "canary-admin"
    realm = loaded.config.user_mgt.realm.configuration
    assert (realm.admin_role, realm.everyone_role, realm.add_admin) == ("admin", "everyone", True)
    assert realm.data_source == "jdbc/WSO2UMDB"


CLUSTERING = """<clustering class="org.wso2.carbon.core.clustering.hazelcast.HazelcastClusteringAgent" enable="true">
  <parameter name="AvoidInitiation">true</parameter>
  <parameter name="membershipScheme">wka</parameter>
  <parameter name="domain">wso2.ei.domain</parameter>
  <parameter name="mcastPort">45564</parameter><parameter name="mcastTTL">100</parameter>
  <parameter name="mcastTimeout">60</parameter>
  <parameter name="localMemberHost">127.0.0.1</parameter><parameter name="localMemberPort">4100</parameter>
  <parameter name="properties">
    <property name="backendServerURL" value="https://${hostName}:${httpsPort}/services/"/>
    <property name="subDomain" value="worker"/>
  </parameter>
  <members>
    <member><hostName>127.0.0.1</hostName><port>4100</port></member>
    <member><hostName>192.168.1.2-4</hostName><port>4200</port></member>
  </members>
  <groupManagement enable="false">
    <applicationDomain name="wso2.as.domain" description="AS group" agent="a.B" subDomain="worker" port="2222"/>
  </groupManagement>
</clustering>"""


ACCEPTED_OF_CLUSTERING = {
    "parameter[properties]/property[*]/backendServerURL": "https://${hostName}:${httpsPort}/services/",
    "groupManagement/applicationDomain/0/@subDomain": "worker",
}


@pytest.mark.parametrize("place", ["axis2.xml", "axis2/axis2.xml"])
@pytest.mark.parametrize(
    "around", ["{}", "<axisconfig><parameter name='hotdeployment'>true</parameter>{}</axisconfig>"]
)
def test_the_clustering_element_of_axis2_stands_alone_too(load_files, place, around):
    loaded = load_files({place: around.format(CLUSTERING), "broker.xml": "<mode>standalone</mode>"})
    assert loaded.warnings == []
    clustering = loaded.config.axis2.clustering
    assert (clustering.enabled, clustering.membership_scheme, clustering.domain) == (True, "wka", "wso2.ei.domain")
    others = (("192.168.1.2", 4200), ("192.168.1.3", 4200), ("192.168.1.4", 4200))
    assert clustering.members.addresses == (("127.0.0.1", 4100), *others)
    assert {path: accepted(loaded, f"clustering/{path}", "axis2.xml") for path in ACCEPTED_OF_CLUSTERING} == (
        ACCEPTED_OF_CLUSTERING
    )


def test_single_parameters_of_axis2_stand_alone(load_files):
    fragments = """<parameter name="localMemberHost">10.0.0.7</parameter>
<parameter name="localMemberPort">4200</parameter>"""
    clustering = load_files({"axis2.xml": fragments}).config.axis2.clustering
    assert (clustering.local_member_host, clustering.local_member_port) == ("10.0.0.7", 4200)


def test_a_local_member_whose_placeholder_nothing_resolves_is_at_the_machines_own_address(load_files):
    loaded = load_files({"axis2.xml": '<parameter name="localMemberHost">${local.ip}</parameter>'})
    assert loaded.config.axis2.clustering.local_member_host == "default"
    assert loaded.warnings == [
        "conf/axis2.xml:1: clustering/parameter[localMemberHost]: unknown placeholder '${local.ip}'; known are"
        " ${env:NAME}, ${sys:NAME} and ${carbon.home}; 'default' is taken"
    ]


REGISTRY = """<dbConfig name="sharedregistry"><dataSource>jdbc/WSO2RegistryDB</dataSource></dbConfig>
<remoteInstance url="https://localhost:9443/registry">
  <id>instanceid</id><dbConfig>sharedregistry</dbConfig><readOnly>false</readOnly><enableCache>true</enableCache>
  <registryRoot>/</registryRoot><cacheId>root@jdbc:mysql://localhost:3306/regdb</cacheId>
</remoteInstance>
<mount path="/_system/config" overwrite="true">
  <instanceId>instanceid</instanceId><targetPath>/_system/mbconfig</targetPath></mount>
<mount path="/_system/governance" overwrite="virtual">
  <instanceId>instanceid</instanceId><targetPath>/_system/governance</targetPath></mount>
<staticConfiguration><versioningProperties>true</versioningProperties><versioningComments>true</versioningComments>
  <versioningTags>true</versioningTags><versioningRatings>true</versioningRatings></staticConfiguration>"""


REGISTRY_SOURCES = """
<datasource><name>WSO2_MB_STORE_DB</name><jndiConfig><name>WSO2MBStoreDB</name></jndiConfig></datasource>
<datasource><name>REGISTRY</name><jndiConfig><name>jdbc/WSO2RegistryDB</name></jndiConfig>
<definition><configuration><url>jdbc:mysql://localhost:3306/regdb</url></configuration></definition></datasource>
"""


@pytest.mark.parametrize("around", ["{}", "<wso2registry>{}<versionResourcesOnChange/></wso2registry>"])
def test_the_registry_mounts_parse_alone_and_in_their_file(load_files, around):
    loaded = load_files({"registry.xml": around.format(REGISTRY), "master-datasources.xml": REGISTRY_SOURCES})
    registry = loaded.config.registry
    assert loaded.warnings == []
    assert registry.data_source_of("sharedregistry") == "jdbc/WSO2RegistryDB"
    assert accepted(loaded, "remoteInstance/0/cacheId", "registry.xml") == "root@jdbc:mysql://localhost:3306/regdb"
    assert [mount.target_path for mount in registry.mounts] == ["/_system/mbconfig", "/_system/governance"]


def test_hazelcast_properties_parse_without_a_warning(load_files):
    loaded = load_files(
        {
            "hazelcast.properties": "hazelcast.max.no.heartbeat.seconds=300\n"
            "hazelcast.shutdownhook.enabled=false\nhazelcast.logging.type=log4j\nhazelcast.io.thread.count=3\n"
        }
    )
    assert loaded.warnings == []
    assert (loaded.config.hazelcast.max_no_heartbeat, loaded.config.hazelcast.heartbeat_interval) == (300, 5)
    assert accepted(loaded, "hazelcast.logging.type", "hazelcast.properties") == "log4j"


def test_a_root_that_belongs_nowhere_is_refused(load_files):
    with pytest.raises(
        ConfigError,
        match=r"^conf/broker\.xml:1: 'beans' is neither the root element 'broker' nor an element that belongs below",
    ):
        load_files({"broker.xml": "<beans/>"})
