"""The elements without effect of the files beside `broker.xml`; see `accepted`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import SecretStr

from broker.config.element_kinds import ANYTHING, Accepted, Element, Obsolete
from broker.config.values import (
    NO_SECRET,
    Amount,
    Boolean,
    Count,
    CountOrZero,
    Name,
    Port,
    TextMap,
    VerbatimMap,
    VerbatimText,
    choice,
    integer,
)

_CLIENTS: Final = "queues are declared by clients"
_EXPLICIT: Final = "the broker commits explicitly"
_FOLDERS: Final = "the broker has no such folders"
_GIVEN_BACK: Final = "a task gives its connection back in any case"
_JAVA_POOL: Final = "it concerns Java's pool"
_NO_APPLICATIONS: Final = "a broker hosts no services or applications"
_ANY_NAME: Final = "the console answers at every name"
_ASKED_BY_THE_NODE: Final = "no page checks names and passwords before the node does"
_NO_HAZELCAST: Final = "there is no Hazelcast here"
_NO_JMX: Final = "there is no JMX here"
_NO_REMARKS: Final = "this broker writes no comments, tags or ratings"
_POOL: Final = "connections are made when they are needed, and pinged without a query"
_QPID: Final = "it tunes Qpid's network layer"
_REGISTRY_CACHE: Final = "it concerns caches of WSO2's nodes, here the database is read anew each minute"
_RUN_TIME: Final = "virtual hosts are made at run time"
_SESSIONS: Final = "the broker sets up its sessions itself"
_URL: Final = "the URL decides"
_USERS: Final = "users come from user-mgt.xml"

BESIDE_BROKER_XML: Final[Mapping[str, Mapping[str, Element]]] = {
    "advanced/qpid-config.xml": {
        "prefix": Accepted(VerbatimText, "${ANDES_HOME}", _FOLDERS),
        "work": Accepted(VerbatimText, "${QPID_WORK}", _FOLDERS),
        "conf": Accepted(VerbatimText, "${prefix}/etc", _FOLDERS, shipped=("${prefix}",)),
        "plugin-directory": Accepted(VerbatimText, "${ANDES_HOME}/lib/plugins", _FOLDERS),
        "cache-directory": Accepted(VerbatimText, "${QPID_WORK}/cache", _FOLDERS),
        "connector/qpidnio": Accepted(Boolean, False, _QPID),
        "connector/protectio/enabled": Accepted(Boolean, False, _QPID),
        "connector/protectio/readBufferLimitSize": Accepted(Count, 262_144, _QPID),
        "connector/protectio/writeBufferLimitSize": Accepted(Count, 262_144, _QPID),
        "connector/transport": Accepted(str, "nio", _QPID),
        "connector/socketReceiveBuffer": Accepted(Count, 32_768, _QPID),
        "connector/socketSendBuffer": Accepted(Count, 32_768, _QPID),
        "connector/port": Obsolete("transports/amqp/defaultConnection of broker.xml has the port"),
        "connector/sslport": Obsolete("transports/amqp/sslConnection of broker.xml has the port"),
        "connector/ssl": Obsolete("transports/amqp/sslConnection of broker.xml configures TLS"),
        "management/enabled": Accepted(Boolean, True, _NO_JMX),
        "management/jmxport": Accepted(Port, 8999, _NO_JMX),
        "management/ssl/enabled": Accepted(Boolean, False, _NO_JMX),
        "management/ssl/keyStorePath": Accepted(VerbatimText, "", _NO_JMX, shipped=("${conf}/qpid.keystore",)),
        "management/ssl/keyStorePassword": Accepted(SecretStr, NO_SECRET, _NO_JMX),
        "advanced/filterchain/@enableExecutorPool": Accepted(Boolean, True, _QPID),
        "advanced/enablePooledAllocator": Accepted(Boolean, False, _QPID),
        "advanced/enableDirectBuffers": Accepted(Boolean, False, _QPID),
        "advanced/compressBufferOnQueue": Accepted(Boolean, False, _QPID),
        "advanced/enableJMSXUserID": Accepted(Boolean, False, "messages keep the user they came with"),
        "advanced/locale": Accepted(Name, "en_US", "en_US is offered"),
        "security/pd-auth-manager/principal-database/class": Accepted(
            str,
            "org.wso2.carbon.andes.authentication.CarbonBasedPrincipalDatabase",
            _USERS,
            shipped=("org.wso2.carbon.andes.authentication.andes.CarbonBasedPrincipalDatabase",),
        ),
        "security/msg-auth": Accepted(Boolean, False, _USERS),
        "virtualhosts": Accepted(VerbatimText, "${conf}/qpid-virtualhosts.xml", _RUN_TIME),
        "queue/auto_register": Accepted(Boolean, True, _CLIENTS),
        "queue/viewMessageCounts": Accepted(Boolean, False, _CLIENTS),
        "status-updates": Accepted(
            choice("ON", "OFF", "true", "false"), "ON", "the options of the command line configure the log"
        ),
    },
    "advanced/qpid-virtualhosts.xml": {
        "*": ANYTHING,
        "virtualhost*/*": ANYTHING,
        "default": Accepted(Name, "carbon", _RUN_TIME),
        "work": Accepted(VerbatimText, "${QPID_WORK}", _RUN_TIME),
        "virtualhost*/name": Accepted(Name, "carbon", _RUN_TIME),
        "virtualhost*/carbon/housekeeping/threadCount": Accepted(Count, 2, _RUN_TIME),
        "virtualhost*/carbon/housekeeping/expiredMessageCheckPeriod": Accepted(Count, 20_000, _RUN_TIME),
        "virtualhost*/carbon/exchanges/exchange*/type": Accepted(str, "direct", _RUN_TIME),
        "virtualhost*/carbon/exchanges/exchange*/name": Accepted(str, "", _RUN_TIME),
        "virtualhost*/carbon/exchanges/exchange*/durable": Accepted(Boolean, False, _RUN_TIME),
        "virtualhost*/carbon/queues/maximumQueueDepth": Accepted(Amount, 0, _RUN_TIME),
        "virtualhost*/carbon/queues/maximumMessageSize": Accepted(Amount, 0, _RUN_TIME),
        "virtualhost*/carbon/queues/maximumMessageAge": Accepted(Amount, 0, _RUN_TIME),
        "virtualhost*/carbon/queues/maximumMessageCount": Accepted(CountOrZero, 0, _RUN_TIME),
    },
    "datasources/master-datasources.xml": {
        "providers/provider": Accepted(
            str, "org.wso2.carbon.ndatasource.rdbms.RDBMSDataSourceReader", _URL, asks=False
        ),
        "datasources/datasource*/description": Accepted(str, "", _URL, asks=False),
        "datasources/datasource*/definition/@type": Accepted(str, "RDBMS", _URL, asks=False),
        "datasources/datasource*/definition/configuration/driverClassName": Accepted(str, "", _URL, asks=False),
        "datasources/datasource*/definition/configuration/dataSourceProps/property[*]": Accepted(TextMap, {}, _URL),
        "datasources/datasource*/definition/configuration/maxIdle": Accepted(CountOrZero, 50, _POOL),
        "datasources/datasource*/definition/configuration/minIdle": Accepted(CountOrZero, 5, _POOL),
        "datasources/datasource*/definition/configuration/initialSize": Accepted(CountOrZero, 0, _POOL),
        "datasources/datasource*/definition/configuration/validationQuery": Accepted(str, "SELECT 1", _POOL),
        "datasources/datasource*/definition/configuration/defaultAutoCommit": Accepted(
            Boolean, False, _EXPLICIT, shipped=(True,)
        ),
        **{
            f"datasources/datasource*/definition/configuration/{name}": accepted
            for name, accepted in {
                "testOnReturn": Accepted(Boolean, False, _POOL),
                "testWhileIdle": Accepted(Boolean, False, _POOL),
                "numTestsPerEvictionRun": Accepted(CountOrZero, 0, _POOL),
                "timeBetweenEvictionRunsMillis": Accepted(CountOrZero, 5000, _POOL),
                "minEvictableIdleTimeMillis": Accepted(CountOrZero, 60_000, _POOL),
                "maxAge": Accepted(Amount, 0, _POOL),
                "validationQueryTimeout": Accepted(Annotated[int, integer(-1)], -1, _POOL),
                "removeAbandoned": Accepted(Boolean, False, _GIVEN_BACK),
                "removeAbandonedTimeout": Accepted(CountOrZero, 60, _GIVEN_BACK),
                "logAbandoned": Accepted(Boolean, False, _GIVEN_BACK),
                "suspectTimeout": Accepted(CountOrZero, 0, _GIVEN_BACK),
                "abandonWhenPercentageFull": Accepted(Annotated[int, integer(0, 100)], 0, _GIVEN_BACK),
                "commitOnReturn": Accepted(Boolean, False, _EXPLICIT),
                "rollbackOnReturn": Accepted(Boolean, False, _EXPLICIT),
                "initSQL": Accepted(VerbatimText, "", _SESSIONS),
                "jmxEnabled": Accepted(Boolean, True, _NO_JMX),
                "fairQueue": Accepted(Boolean, True, "tasks get connections in turn"),
                "jdbcInterceptors": Accepted(str, "", _JAVA_POOL),
                "validatorClassName": Accepted(str, "", _JAVA_POOL),
                "useEquals": Accepted(Boolean, True, _JAVA_POOL),
                "alternateUsernameAllowed": Accepted(Boolean, False, _JAVA_POOL),
                "accessToUnderlyingConnectionAllowed": Accepted(Boolean, True, _JAVA_POOL),
                "databaseProps/property[*]": Accepted(TextMap, {}, _JAVA_POOL),
            }.items()
        },
        "datasources/datasource*/definition/configuration/defaultTransactionIsolation": Accepted(str, "", _SESSIONS),
        "datasources/datasource*/definition/configuration/defaultReadOnly": Accepted(Boolean, False, _SESSIONS),
        "datasources/datasource*/definition/configuration/defaultCatalog": Accepted(str, "", _SESSIONS),
    },
    "carbon.xml": {
        "ServerKey": Accepted(Name, "MB", _ANY_NAME),
        "HostName": Accepted(Name, "localhost", _ANY_NAME),
        "MgtHostName": Accepted(Name, "localhost", _ANY_NAME),
        "ServerURL": Accepted(VerbatimText, "", _NO_APPLICATIONS, shipped=("local:/${carbon.context}/services/",)),
        "ServerRoles/*": ANYTHING,
        "ServiceUserRoles/*": ANYTHING,
        "Ports/JMX/RMIRegistryPort": Accepted(Port, 9999, _NO_JMX),
        "Ports/JMX/RMIServerPort": Accepted(Port, 11_111, _NO_JMX),
    },
    "user-mgt.xml": {
        f"Realm/UserStoreManager*/Property[{name}JavaScriptRegEx]": Accepted(
            VerbatimText, "", _ASKED_BY_THE_NODE, shipped=(r"^[\S]{3,30}$", r"^[\S]{5,30}$")
        )
        for name in ("Username", "Password", "Rolename")
    },
    "axis2.xml": {
        "clustering/@class": Accepted(
            Name, "org.wso2.carbon.core.clustering.hazelcast.HazelcastClusteringAgent", _NO_HAZELCAST
        ),
        "clustering/parameter[AvoidInitiation]": Accepted(Boolean, True, _NO_HAZELCAST),
        "clustering/parameter[password]": Accepted(SecretStr, NO_SECRET, _NO_HAZELCAST),
        "clustering/parameter[groupPassword]": Accepted(SecretStr, NO_SECRET, _NO_HAZELCAST),
        "clustering/parameter[accessKey]": Accepted(SecretStr, NO_SECRET, _NO_HAZELCAST),
        "clustering/parameter[secretKey]": Accepted(SecretStr, NO_SECRET, _NO_HAZELCAST),
        **{
            f"clustering/parameter[{name}]": Accepted(VerbatimText, "", _NO_HAZELCAST)
            for name in (
                *("licenseKey", "mgtCenterURL", "membershipSchemeClassName", "USE_DNS"),
                *("securityGroup", "connTimeout", "hostHeader", "region", "tagKey", "tagValue", "iamRole"),
            )
        },
        "clustering/parameter[*KUBERNETES*]": Accepted(VerbatimMap, {}, _NO_HAZELCAST),
        "clustering/parameter[mcastAddress]": Accepted(Name, "228.0.0.4", _NO_HAZELCAST),
        "clustering/parameter[mcastPort]": Accepted(Port, 45_564, _NO_HAZELCAST),
        "clustering/parameter[mcastTTL]": Accepted(CountOrZero, 100, _NO_HAZELCAST),
        "clustering/parameter[mcastTimeout]": Accepted(CountOrZero, 60, _NO_HAZELCAST),
        "clustering/parameter[mcastBindAddress]": Accepted(Name, "127.0.0.1", _NO_HAZELCAST),
        "clustering/parameter[properties]/property[*]": Accepted(VerbatimMap, {}, _NO_HAZELCAST),
        "clustering/groupManagement/@enable": Accepted(Boolean, False, _NO_HAZELCAST),
        "clustering/parameter[hazelcastSerializers]/*": ANYTHING,
        "clustering/groupManagement/applicationDomain*/@name": Accepted(str, "", _NO_HAZELCAST),
        "clustering/groupManagement/applicationDomain*/@description": Accepted(str, "", _NO_HAZELCAST),
        "clustering/groupManagement/applicationDomain*/@agent": Accepted(str, "", _NO_HAZELCAST),
        "clustering/groupManagement/applicationDomain*/@subDomain": Accepted(str, "", _NO_HAZELCAST),
        "clustering/groupManagement/applicationDomain*/@port": Accepted(Port, 2222, _NO_HAZELCAST),
    },
    "registry.xml": {
        "*": ANYTHING,
        "enableCache": Accepted(Boolean, True, _REGISTRY_CACHE),
        "staticConfiguration/versioningComments": Accepted(Boolean, True, _NO_REMARKS, asks=False),
        "staticConfiguration/versioningTags": Accepted(Boolean, True, _NO_REMARKS, asks=False),
        "staticConfiguration/versioningRatings": Accepted(Boolean, True, _NO_REMARKS, asks=False),
        "remoteInstance*/@url": Accepted(str, "", "an instance is opened by its dbConfig", asks=False),
        "remoteInstance*/enableCache": Accepted(Boolean, True, _REGISTRY_CACHE),
        "remoteInstance*/cacheId": Accepted(str, "", _REGISTRY_CACHE, asks=False),
        "mount*/@overwrite": Accepted(
            choice("true", "false", "virtual"),
            "false",
            "this broker keeps nothing of its own under a mount",
            asks=False,
        ),
    },
    "hazelcast.properties": {
        "*": ANYTHING,
        "hazelcast.max.no.master.confirmation.seconds": Accepted(Count, 900, _NO_HAZELCAST),
        "hazelcast.merge.first.run.delay.seconds": Accepted(Count, 60, _NO_HAZELCAST),
        "hazelcast.merge.next.run.delay.seconds": Accepted(Count, 30, _NO_HAZELCAST),
        "hazelcast.shutdownhook.enabled": Accepted(Boolean, False, _NO_HAZELCAST),
        "hazelcast.logging.type": Accepted(str, "", _NO_HAZELCAST),
    },
}
