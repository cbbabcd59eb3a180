"""`broker.xml`: coordination, transports, persistence, tuning and this broker's limits (andes §1.2).

The models declare the elements that have an effect, their defaults and their valid values; the other elements are in
`accepted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, SecretStr, model_validator

from broker.config.authentication import Authentication
from broker.config.ssl_connection import HttpTls, MetricsTls, ProfileName, SslConnection
from broker.config.values import (
    NO_SECRET,
    Address,
    Boolean,
    Count,
    CountOrZero,
    Name,
    NodeId,
    Port,
    Section,
    conflict,
    integer,
    number,
    one_of,
    xml,
)
from broker.machine.address import EVERY_ADDRESS, bare_host

MAX_MESSAGE_SIZE_BYTES = 536_870_912
LEAST_CLUSTER_SECRET_OCTETS = 16

_UNSPECIFIED_ADDRESSES = ("0.0.0.0", "::", "[::]")


def _thrift_host(value: object) -> str:
    if str(value) in (*_UNSPECIFIED_ADDRESSES, "*"):
        raise ValueError(f"'{value}' cannot be reached by other nodes; name one address of this machine")
    return bare_host(str(value))


def _address_or_nothing(value: object) -> str:
    return EVERY_ADDRESS if value == "*" else bare_host(str(value)) if value else ""


def _cluster_secret(value: object) -> SecretStr:
    secret = value if isinstance(value, SecretStr) else SecretStr(str(value))
    octets = len(secret.get_secret_value().encode())
    if 0 < octets < LEAST_CLUSTER_SECRET_OCTETS:
        raise ValueError(f"a secret of {octets} octets; at least {LEAST_CLUSTER_SECRET_OCTETS} are needed")
    return secret


class RdbmsBasedCoordination(Section):
    """The election through a database row; a node whose heartbeat is older than twice the interval counts as dead."""

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
    """Cluster events through a database table; when it is not enabled, nodes push them to each other (ADR 78)."""

    enabled: Boolean = xml("@enabled", True)
    event_sync_interval_ms: Count = xml("eventSyncInterval", 1000)


class Coordination(Section):
    """How the nodes of a cluster find each other."""

    node_id: NodeId = xml("nodeID", "default")
    thrift_server_host: Annotated[str, BeforeValidator(_thrift_host)] = xml("thriftServerHost", "localhost")
    thrift_server_port: Port = xml("thriftServerPort", 7611)
    thrift_so_timeout_ms: CountOrZero = xml("thriftSOTimeout", 0)
    thrift_server_reconnect_timeout: Count = xml("thriftServerReconnectTimeout", 5)
    thrift_server_max_worker_threads: Count = xml("thriftServerMaxWorkerThreads", 200)
    # This broker's own element: the secret by which nodes authenticate each other (ADR 18).
    cluster_secret: Annotated[SecretStr, BeforeValidator(_cluster_secret)] = xml("clusterSecret", NO_SECRET)
    rdbms_based_coordination: RdbmsBasedCoordination = xml("rdbmsBasedCoordination", RdbmsBasedCoordination())
    rdbms_based_cluster_event_synchronization: RdbmsBasedClusterEventSynchronization = xml(
        "rdbmsBasedClusterEventSynchronization", RdbmsBasedClusterEventSynchronization()
    )


class ConnectionSection(Section):
    """A plain TCP listener."""

    enabled: Boolean = xml("@enabled", True)
    port: Port = xml("@port", 5672)
    profile: ProfileName = xml("@profile", "cordillera")


class Amqp(Section):
    """The AMQP 0-9-1 listeners and what is allowed on them."""

    enabled: Boolean = xml("@enabled", True)
    bind_address: Address = xml("bindAddress", "127.0.0.1")
    default_connection: ConnectionSection = xml("defaultConnection", ConnectionSection())
    ssl_connection: SslConnection = xml("sslConnection", SslConnection())
    allow_shared_topic_subscriptions: Boolean = xml("allowSharedTopicSubscriptions", False)
    maximum_redelivery_attempts: CountOrZero = xml("maximumRedeliveryAttempts", 10)
    send_expired_messages_to_dlc: Boolean = xml("sendExpiredMessagesToDLC", False)


class Transports(Section):
    """The protocols that clients may use."""

    bind_address: str = xml("bindAddress", "")
    amqp: Amqp = xml("amqp", Amqp())

    @model_validator(mode="before")
    @classmethod
    def _hand_down_the_bind_address(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.get("bindAddress"):
            return values
        amqp = values.get("amqp", {})
        if isinstance(amqp, dict) and "bindAddress" not in amqp:
            return values | {"amqp": amqp | {"bindAddress": values["bindAddress"]}}
        return values


class MessageStoreSection(Section):
    """The store, in the datasource with this JNDI name."""

    data_source: Name = xml("property[dataSource]", "WSO2MBStoreDB")


class ContextStore(Section):
    """The context store of WSO2: its datasource must exist, but everything is in that of the message store."""

    data_source: Name = xml("property[dataSource]", "WSO2MBStoreDB")


class Persistence(Section):
    """Where messages and topology are kept."""

    message_store: MessageStoreSection = xml("messageStore", MessageStoreSection())
    context_store: ContextStore = xml("contextStore", ContextStore())
    store_health_check_interval: Count = xml("storeHealthCheckInterval", 10)
    # This broker's own element: what to do when the settings of the database can lose a commit (invariant I91).
    store_safety_check: Annotated[Literal["warn", "enforce"], one_of("warn", "enforce")] = xml(
        "storeSafetyCheck", "warn"
    )


class TransactionSection(Section):
    """The limits of one transaction; a publish beyond them is refused."""

    renamed: ClassVar[Mapping[str, str]] = {"maxBatchSizeInBytes": "maxBatchSizeInKB"}

    max_batch_size_kb: Count = xml("maxBatchSizeInKB", 10240)
    # The same limit in bytes, as in Andes 3.1; used when the element above is missing. 0 when this one is missing too.
    max_batch_size_bytes: Count = xml("maxBatchSizeInBytes", 0)

    max_parallel_dtx_channels: CountOrZero = xml("maxParallelDtxChannels", 20)

    @property
    def max_uncommitted_bytes(self) -> int:
        """How many bytes of message bodies one channel may publish before it commits."""
        return self.max_batch_size_bytes or self.max_batch_size_kb * 1024


class Slots(Section):
    """How the messages of a queue are cut into slots, and how slots are assigned."""

    renamed: ClassVar[Mapping[str, str]] = {
        "slotRetainTimeInMemory": "messageAccumulationTimeout",
        "windowCreationTimeout": "maxSubmitDelay",
        "workerThreadCount": "deliveryThreadCount",
    }

    window_size: Count = xml("windowSize", 1000)
    thrift_client_pool_size: Count = xml("thriftClientPoolSize", 10)


class MessageExpiration(Section):
    """What becomes of messages whose time is over, in virtual hosts with a dead letter channel."""

    move_expired_messages_to_dlc: Boolean = xml("moveExpiredMessagesToDLC", False)
    expire_messages_in_dlc: Boolean = xml("expireMessagesInDLC", False)


class PerformanceTuning(Section):
    """Sizes inside the broker, and what expires."""

    slots: Slots = xml("slots", Slots())
    message_expiration: MessageExpiration = xml("messageExpiration", MessageExpiration())


def _rising(low: int, high: int) -> None:
    if high <= low:
        conflict("highLimit", f"{high} is not greater than lowLimit, which is {low}")


class GlobalFlowControl(Section):
    """How many messages of all channels of clients of JMS may wait for the store together."""

    low_limit: CountOrZero = xml("lowLimit", 800)
    high_limit: Count = xml("highLimit", 8000)

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        _rising(self.low_limit, self.high_limit)
        return self


class BufferBasedFlowControl(Section):
    """How many messages of one channel may wait for the store."""

    low_limit: CountOrZero = xml("lowLimit", 100)
    high_limit: Count = xml("highLimit", 1000)

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        _rising(self.low_limit, self.high_limit)
        return self


class FlowControl(Section):
    """When clients of JMS are asked by channel.flow to publish nothing for a while."""

    all_channels: GlobalFlowControl = xml("global", GlobalFlowControl())
    buffer_based: BufferBasedFlowControl = xml("bufferBased", BufferBasedFlowControl())


class Deployment(Section):
    """The mode of this node: `standalone` turns clustering off whatever `axis2.xml` says."""

    mode: Annotated[Literal["default", "standalone"], one_of("default", "standalone")] = xml("mode", "default")


class NetworkPartitionsDetection(Section):
    """How many living members a node must see, itself among them, to take traffic (andes §7.1)."""

    enabled: Boolean = xml("@enabled", False)
    minimum_cluster_size: Count = xml("minimumClusterSize", 1)


class Recovery(Section):
    """What a node does when the cluster is not whole."""

    network_partitions_detection: NetworkPartitionsDetection = xml(
        "networkPartitionsDetection", NetworkPartitionsDetection()
    )


class LimitsSection(Section):
    """This broker's own section: limits on what a client or the node may use (docs/limits.md)."""

    max_message_size_bytes: Annotated[int, integer(1, MAX_MESSAGE_SIZE_BYTES)] = xml("maxMessageSize", 134_217_728)
    max_consumers_per_channel: CountOrZero = xml("maxConsumersPerChannel", 0)
    max_connections: Count = xml("maxConnections", 10_000)
    max_connection_rate_per_user: CountOrZero = xml("maxConnectionRatePerUser", 0)
    max_channel_rate: CountOrZero = xml("maxChannelRate", 0)
    handshake_timeout: Annotated[float, number(0.1, 3600)] = xml("handshakeTimeout", 10.0)
    memory_high_watermark: Annotated[float, number(0.01, 1)] = xml("memoryHighWatermark", 0.6)
    disk_free_limit_bytes: Annotated[int, integer(0, 2**63 - 1)] = xml("diskFreeLimit", 209_715_200)
    max_queues_per_virtual_host: Count = xml("maxQueuesPerVirtualHost", 100_000)


QueueTypeName = Annotated[Literal["classic", "quorum"], one_of("classic", "quorum")]


class VirtualHostSection(Section):
    """What is set for one virtual host."""

    name: str = xml("@name", "")
    default_queue_type: QueueTypeName = xml("@defaultQueueType", "classic")
    dialect: Annotated[Literal["", "none", "wso2"], one_of("", "none", "wso2")] = xml("@dialect", "")

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if not self.name:
            conflict("@name", "name the virtual host")
        return self


class VirtualHosts(Section):
    """This broker's own section: what is set for virtual hosts, for all and for single ones."""

    default_queue_type: QueueTypeName = xml("@defaultQueueType", "classic")
    virtual_host: tuple[VirtualHostSection, ...] = xml("virtualHost", ())

    def dialect_of(self, vhost: str) -> str:
        """Return the dialect of `vhost`: that of WSO2's clients for `carbon`, if nothing else is said."""
        said = (each.dialect for each in self.virtual_host if each.name == vhost and each.dialect)
        return next(said, "wso2" if vhost == "carbon" else "none")

    def default_queue_type_of(self, vhost: str) -> str:
        """Return the type of queues in `vhost` that name none; the first element that names the host counts."""
        types = (each.default_queue_type for each in self.virtual_host if each.name == vhost)
        return next(types, self.default_queue_type)


class LoggingSection(Section):
    """This broker's own section: what is logged."""

    level: Annotated[Literal["debug", "info", "warning", "error"], one_of("debug", "info", "warning", "error")] = xml(
        "level", "info"
    )


def _path_prefix(value: object) -> str:
    path = str(value).strip("/")
    if path and not all(part and part.isascii() and part.replace("-", "").isalnum() for part in path.split("/")):
        raise ValueError(f"'{value}' is not a path of letters, digits and hyphens")
    return f"/{path}" if path else ""


class HttpSection(Section):
    """The HTTP API of administrators and their programs."""

    enabled: Boolean = xml("@enabled", True)
    port: Port = xml("@port", 15672)
    bind_address: Annotated[str, BeforeValidator(_address_or_nothing)] = xml("@bindAddress", "")
    """Empty for that of AMQP."""
    path_prefix: Annotated[str, BeforeValidator(_path_prefix)] = xml("@pathPrefix", "")
    rabbitmq_version: Name = xml("@rabbitmqVersion", "3.13.7")
    """What programs are told that ask for the version of RabbitMQ."""
    plain: Boolean = xml("@plain", True)
    """Is there the listener without TLS?"""
    ssl_connection: HttpTls = xml("sslConnection", HttpTls())


class MetricsSection(Section):
    """Metrics for Prometheus."""

    enabled: Boolean = xml("@enabled", True)
    port: Port = xml("@port", 15692)
    bind_address: Annotated[str, BeforeValidator(_address_or_nothing)] = xml("@bindAddress", "")
    """Empty for that of AMQP."""
    plain: Boolean = xml("@plain", True)
    """Is there the listener without TLS?"""
    ssl_connection: MetricsTls = xml("sslConnection", MetricsTls())

    @model_validator(mode="after")
    def _are_somewhere(self) -> Self:
        if self.enabled and not self.plain and not self.ssl_connection.enabled:
            conflict(
                "@plain", "without it and without sslConnection metrics are nowhere; set @enabled to false instead"
            )
        return self


class ConsoleSection(Section):
    """The console for people, on the HTTP API's port and on a port of its own with TLS."""

    enabled: Boolean = xml("@enabled", True)
    port: Port = xml("@port", 9443)
    """Of HTTPS, before the offset."""


class TracingSection(Section):
    """Spans of OpenTelemetry."""

    enabled: Boolean = xml("@enabled", False)
    endpoint: Name = xml("@endpoint", "http://127.0.0.1:4318/v1/traces")
    """Where spans are sent, by OTLP over HTTP."""
    service_name: Name = xml("@serviceName", "cordillera")


class ManagementSection(Section):
    """This broker's own section: how the node is administered."""

    http: HttpSection = xml("http", HttpSection())
    metrics: MetricsSection = xml("metrics", MetricsSection())
    console: ConsoleSection = xml("console", ConsoleSection())
    tracing: TracingSection = xml("tracing", TracingSection())
    control_socket: str = xml("controlSocket", "")
    """The path of the control socket; empty for the built-in one (`node/control_path`)."""
    admin_password_file: str = xml("adminPasswordFile", "")
    """Where the generated password of the administrator is kept; empty for the built-in place (`node/admin_password`).
    """
    drain_seconds: Annotated[float, number(0, 3600)] = xml("drainSeconds", 0.0)
    """Seconds over which a node that is stopped closes its connections; 0 for at once."""
    load_definitions: str = xml("loadDefinitions", "")
    """The path of a file of definitions that each start imports (`topology/definitions`); empty for none."""


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
    transaction: TransactionSection = xml("transaction", TransactionSection())
    performance_tuning: PerformanceTuning = xml("performanceTuning", PerformanceTuning())
    flow_control: FlowControl = xml("flowControl", FlowControl())
    recovery: Recovery = xml("recovery", Recovery())
    deployment: Deployment = xml("deployment", Deployment())
    limits: LimitsSection = xml("limits", LimitsSection())
    virtual_hosts: VirtualHosts = xml("virtualHosts", VirtualHosts())
    authentication: Authentication = xml("authentication", Authentication())
    logging: LoggingSection = xml("logging", LoggingSection())
    management: ManagementSection = xml("management", ManagementSection())
