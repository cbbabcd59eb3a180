"""`broker.xml`: coordination, transports, persistence, tuning and this broker's limits (andes.md §1.2).

Knows the elements, their defaults and what they may hold. Knows neither where the file is nor who uses a value.
`docs/configuration.md` says which elements have an effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, SecretStr, model_validator

from broker.config.performance_tuning import PerformanceTuning
from broker.config.values import (
    NO_SECRET,
    Address,
    Boolean,
    Count,
    CountOrZero,
    Name,
    Names,
    Port,
    PowerOfTwo,
    Section,
    SqlStateClasses,
    conflict,
    integer,
    number,
    one_of,
    xml,
)

MAX_MESSAGE_SIZE_BYTES = 536_870_912
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
OUTDATED_TLS_VERSIONS = ("TLSv1", "TLSv1.1")
LEAST_CLUSTER_SECRET_OCTETS = 16

_ANDES_MESSAGE_STORE = "org.wso2.andes.store.rdbms.RDBMSMessageStoreImpl"
_ANDES_CONTEXT_STORE = "org.wso2.andes.store.rdbms.RDBMSAndesContextStoreImpl"
_ANDES_ID_GENERATOR = "org.wso2.andes.server.cluster.coordination.TimeStampBasedMessageIdGenerator"
_UNSPECIFIED_ADDRESSES = ("0.0.0.0", "::", "[::]")


def _thrift_host(value: object) -> str:
    if str(value) in (*_UNSPECIFIED_ADDRESSES, "*"):
        raise ValueError(f"'{value}' cannot be reached by other nodes; name one address of this machine")
    if not str(value) or " " in str(value):
        raise ValueError(f"'{value}' is not a host name or address")
    return str(value)


def _cluster_secret(value: object) -> SecretStr:
    secret = value if isinstance(value, SecretStr) else SecretStr(str(value))
    octets = len(secret.get_secret_value().encode())
    if 0 < octets < LEAST_CLUSTER_SECRET_OCTETS:
        raise ValueError(f"a secret of {octets} octets; at least {LEAST_CLUSTER_SECRET_OCTETS} are needed")
    return secret


def _store_class(value: object) -> str:
    if ".rdbms." not in str(value):
        raise ValueError(f"'{value}' is not a store of this broker; use {_ANDES_MESSAGE_STORE} or its context twin")
    return str(value)


def _tls_versions(value: object) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, tuple) else []
    by_name = {version.lower(): version for version in TLS_VERSIONS}
    for version in given:
        if version.strip().lower() not in by_name:
            raise ValueError(f"'{version.strip()}' is not one of {', '.join(TLS_VERSIONS)}")
    return tuple(by_name[version.strip().lower()] for version in given)


StoreClass = Annotated[str, BeforeValidator(_store_class)]


class RdbmsBasedCoordination(Section):
    """The election through a database row; a heartbeat older than twice the interval is dead."""

    enabled: Boolean = xml("@enabled", True)
    heartbeat_interval_ms: Count = xml("heartbeatInterval", 5000)
    coordinator_entry_creation_wait_time_ms: Count = xml("coordinatorEntryCreationWaitTime", 3000)
    event_polling_interval_ms: Count = xml("eventPollingInterval", 4000)

    @model_validator(mode="after")
    def _heartbeat_outlasts_the_wait(self) -> Self:
        wait = self.coordinator_entry_creation_wait_time_ms
        if self.heartbeat_interval_ms <= wait:
            conflict(
                "heartbeatInterval",
                f"{self.heartbeat_interval_ms} is not greater than coordinatorEntryCreationWaitTime, which is {wait}",
            )
        return self


class RdbmsBasedClusterEventSynchronization(Section):
    """Cluster events through a database table."""

    enabled: Boolean = xml("@enabled", True)
    event_sync_interval_ms: Count = xml("eventSyncInterval", 1000)


class Coordination(Section):
    """How this node finds and is found by the others."""

    obsolete: ClassVar[Mapping[str, str]] = {"slotManagement": "slots are always kept in the store"}

    node_id: Name = xml("nodeID", "default")
    thrift_server_host: Annotated[str, BeforeValidator(_thrift_host)] = xml("thriftServerHost", "localhost")
    thrift_server_port: Port = xml("thriftServerPort", 7611)
    thrift_so_timeout_ms: CountOrZero = xml("thriftSOTimeout", 0)
    thrift_server_reconnect_timeout: Count = xml("thriftServerReconnectTimeout", 5)
    thrift_server_max_worker_threads: Count = xml("thriftServerMaxWorkerThreads", 200)
    cluster_notification_timeout: Count = xml("clusterNotificationTimeout", 10)
    # This broker's own: what the nodes show each other before they talk (ADR 18).
    cluster_secret: Annotated[SecretStr, BeforeValidator(_cluster_secret)] = xml("clusterSecret", NO_SECRET)
    rdbms_based_coordination: RdbmsBasedCoordination = xml("rdbmsBasedCoordination", RdbmsBasedCoordination())
    rdbms_based_cluster_event_synchronization: RdbmsBasedClusterEventSynchronization = xml(
        "rdbmsBasedClusterEventSynchronization", RdbmsBasedClusterEventSynchronization()
    )


class Connection(Section):
    """A plain TCP listener."""

    enabled: Boolean = xml("@enabled", True)
    port: Port = xml("@port", 5672)


class KeyStore(Section):
    """A file with keys or with the certificates to trust."""

    location: str = xml("location", "")
    password: SecretStr = xml("password", NO_SECRET)
    cert_type: str = xml("certType", "SunX509")


class SslConnection(Section):
    """A TLS listener."""

    enabled: Boolean = xml("@enabled", False)
    port: Port = xml("@port", 8672)
    key_store: KeyStore = xml("keyStore", KeyStore())
    trust_store: KeyStore = xml("trustStore", KeyStore())
    ssl_enabled_protocols: Annotated[tuple[str, ...], BeforeValidator(_tls_versions)] = xml(
        "sslEnabledProtocols", ("TLSv1.2", "TLSv1.3")
    )
    ciphers: Names = xml("ciphers", ())

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if not self.enabled:
            return self
        for version in self.ssl_enabled_protocols:
            if version in OUTDATED_TLS_VERSIONS:
                conflict("sslEnabledProtocols", f"{version} is no longer safe; use TLSv1.2, TLSv1.3 or both")
        if not self.key_store.location:
            conflict("keyStore", "the connection is enabled, so keyStore/location must name a file")
        return self


class Amqp(Section):
    """The AMQP 0-9-1 listeners and what is allowed on them."""

    enabled: Boolean = xml("@enabled", True)
    bind_address: Address = xml("bindAddress", "127.0.0.1")
    default_connection: Connection = xml("defaultConnection", Connection())
    ssl_connection: SslConnection = xml("sslConnection", SslConnection())
    maximum_redelivery_attempts: CountOrZero = xml("maximumRedeliveryAttempts", 10)
    allow_shared_topic_subscriptions: Boolean = xml("allowSharedTopicSubscriptions", False)
    allow_strict_name_validation: Boolean = xml("allowStrictNameValidation", True)
    send_expired_messages_to_dlc: Boolean = xml("sendExpiredMessagesToDLC", False)


class PlugIn(Section):
    """A Java class and its properties."""

    class_name: str = xml("@class", "")
    properties: Mapping[str, str] = xml("property[*]", {})


class MqttSecurity(Section):
    """Who may use MQTT."""

    authentication: Annotated[Literal["OPTIONAL", "REQUIRED"], one_of("OPTIONAL", "REQUIRED")] = xml(
        "authentication", "OPTIONAL"
    )
    authenticator: PlugIn = xml("authenticator", PlugIn())
    authorization: Annotated[Literal["NOT_REQUIRED", "REQUIRED"], one_of("NOT_REQUIRED", "REQUIRED")] = xml(
        "authorization", "NOT_REQUIRED"
    )
    authorizer: PlugIn = xml("authorizer", PlugIn())

    @model_validator(mode="after")
    def _authorization_knows_the_user(self) -> Self:
        if self.authorization == "REQUIRED" and self.authentication != "REQUIRED":
            conflict("authorization", "REQUIRED needs authentication to be REQUIRED too")
        return self


class Mqtt(Section):
    """The MQTT listeners of Andes, which this broker does not have."""

    enabled: Boolean = xml("@enabled", False)
    bind_address: Address = xml("bindAddress", "127.0.0.1")
    default_connection: Connection = xml("defaultConnection", Connection(port=1883))
    ssl_connection: SslConnection = xml("sslConnection", SslConnection(port=8883))
    inbound_buffer_size: PowerOfTwo = xml("inboundBufferSize", 32768)
    delivery_buffer_size: PowerOfTwo = xml("deliveryBufferSize", 32768)
    security: MqttSecurity = xml("security", MqttSecurity())


class Transports(Section):
    """The protocols clients may speak."""

    bind_address: str = xml("bindAddress", "")
    amqp: Amqp = xml("amqp", Amqp())
    mqtt: Mqtt = xml("mqtt", Mqtt())

    @model_validator(mode="before")
    @classmethod
    def _hand_down_the_bind_address(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.get("bindAddress"):
            return values
        amqp = values.get("amqp", {})
        if isinstance(amqp, dict) and "bindAddress" not in amqp:
            return values | {"amqp": amqp | {"bindAddress": values["bindAddress"]}}
        return values


class MessageStore(Section):
    """The store of messages, in the datasource of that JNDI name."""

    class_name: StoreClass = xml("@class", _ANDES_MESSAGE_STORE)
    data_source: Name = xml("property[dataSource]", "WSO2MBStoreDB")
    store_unavailable_sql_state_classes: SqlStateClasses = xml("property[storeUnavailableSQLStateClasses]", ("08",))
    integrity_violation_sql_state_classes: SqlStateClasses = xml(
        "property[integrityViolationSQLStateClasses]", ("23", "27", "44")
    )
    data_error_sql_state_classes: SqlStateClasses = xml("property[dataErrorSQLStateClasses]", ("21", "22"))
    transaction_rollback_sql_state_classes: SqlStateClasses = xml(
        "property[transactionRollbackSQLStateClasses]", ("40",)
    )


class Cache(Section):
    """Andes' write-through cache of message bodies."""

    size_mb: CountOrZero = xml("size", 256)
    concurrency_level: Count = xml("concurrencyLevel", 4)
    expiry_seconds: Count = xml("expirySeconds", 2)
    value_reference_type: Annotated[Literal["strong", "weak"], one_of("strong", "weak")] = xml(
        "valueReferenceType", "strong"
    )
    print_stats: Boolean = xml("printStats", False)


class Persistence(Section):
    """Where messages and topology are kept."""

    message_store: MessageStore = xml("messageStore", MessageStore())
    context_store: MessageStore = xml("contextStore", MessageStore(class_name=_ANDES_CONTEXT_STORE))
    cache: Cache = xml("cache", Cache())
    id_generator: Name = xml("idGenerator", _ANDES_ID_GENERATOR)
    store_health_check_interval: Count = xml("storeHealthCheckInterval", 10)
    # This broker's own: what to do about a database whose settings can lose a commit (reliability.md §2.8).
    store_safety_check: Annotated[Literal["warn", "enforce"], one_of("warn", "enforce")] = xml(
        "storeSafetyCheck", "warn"
    )


class Transaction(Section):
    """What one transaction may hold; a publish beyond it is refused."""

    renamed: ClassVar[Mapping[str, str]] = {"maxBatchSizeInBytes": "maxBatchSizeInKB"}

    max_batch_size_kb: Count = xml("maxBatchSizeInKB", 10240)
    # The element of andes 3.1, in another unit, read where the new one is missing; 0 when the file does not have it.
    max_batch_size_bytes: Count = xml("maxBatchSizeInBytes", 0)
    max_parallel_dtx_channels: CountOrZero = xml("maxParallelDtxChannels", 20)
    max_wait_timeout: Count = xml("maxWaitTimeout", 30)

    @property
    def max_uncommitted_bytes(self) -> int:
        """Payload bytes that one channel may publish before it commits."""
        return self.max_batch_size_bytes or self.max_batch_size_kb * 1024


class ManagementConsole(Section):
    """What the console shows of a queue."""

    obsolete: ClassVar[Mapping[str, str]] = {"allowReRouteAllInDLC": "the console decides by permission"}

    message_browse_page_size: Count = xml("messageBrowsePageSize", 100)
    maximum_message_display_length: Count = xml("maximumMessageDisplayLength", 100_000)


class FlowLimits(Section):
    """Content chunks waiting for the store: publishing pauses above the high and resumes below the low limit."""

    low_limit: CountOrZero = xml("lowLimit", 800)
    high_limit: Count = xml("highLimit", 8000)

    @model_validator(mode="after")
    def _high_is_above_low(self) -> Self:
        if self.high_limit <= self.low_limit:
            conflict("highLimit", f"{self.high_limit} is not greater than lowLimit, which is {self.low_limit}")
        return self


class ConnectionBased(Section):
    """Defined by Andes and never read there either."""

    per_connection_message_threshold: Count = xml("perConnectionMessageThreshold", 1000)


class FlowControl(Section):
    """Back-pressure on publishers: the whole node's, and each channel's."""

    whole_node: FlowLimits = xml("global", FlowLimits())
    buffer_based: FlowLimits = xml("bufferBased", FlowLimits(low_limit=100, high_limit=1000))
    connection_based: ConnectionBased = xml("connectionBased", ConnectionBased())


class NetworkPartitionsDetection(Section):
    """When to stop serving because too few nodes are in sight."""

    enabled: Boolean = xml("@enabled", False)
    minimum_cluster_size: Count = xml("minimumClusterSize", 1)


class Recovery(Section):
    """What a node does at start, after losses and against drift."""

    concurrent_storage_queue_reads: Count = xml("concurrentStorageQueueReads", 5)
    v_host_sync_task_interval: Count = xml("vHostSyncTaskInterval", 900)
    network_partitions_detection: NetworkPartitionsDetection = xml(
        "networkPartitionsDetection", NetworkPartitionsDetection()
    )


class Deployment(Section):
    """`standalone` keeps a node alone even where clustering is configured."""

    mode: Annotated[Literal["default", "standalone"], one_of("default", "standalone")] = xml("mode", "default")


class Limits(Section):
    """This broker's own section: what a client or a node may use up (reliability.md §6)."""

    max_message_size_bytes: Annotated[int, integer(1, MAX_MESSAGE_SIZE_BYTES)] = xml("maxMessageSize", 134_217_728)
    max_consumers_per_channel: Count = xml("maxConsumersPerChannel", 1000)
    max_connections: Count = xml("maxConnections", 10_000)
    handshake_timeout: Annotated[float, number(0.1, 3600)] = xml("handshakeTimeout", 10.0)
    memory_high_watermark: Annotated[float, number(0.01, 1)] = xml("memoryHighWatermark", 0.6)
    disk_free_limit_bytes: Annotated[int, integer(0, 2**63 - 1)] = xml("diskFreeLimit", 209_715_200)
    max_queues_per_virtual_host: Count = xml("maxQueuesPerVirtualHost", 100_000)


class BrokerXml(Section):
    """The whole file."""

    found_anywhere: ClassVar[Mapping[str, str]] = {
        "rdbmsBasedCoordination": "coordination",
        "rdbmsBasedClusterEventSynchronization": "coordination",
        "networkPartitionsDetection": "recovery",
    }

    coordination: Coordination = xml("coordination", Coordination())
    transports: Transports = xml("transports", Transports())
    persistence: Persistence = xml("persistence", Persistence())
    transaction: Transaction = xml("transaction", Transaction())
    performance_tuning: PerformanceTuning = xml("performanceTuning", PerformanceTuning())
    management_console: ManagementConsole = xml("managementConsole", ManagementConsole())
    flow_control: FlowControl = xml("flowControl", FlowControl())
    recovery: Recovery = xml("recovery", Recovery())
    deployment: Deployment = xml("deployment", Deployment())
    limits: Limits = xml("limits", Limits())
