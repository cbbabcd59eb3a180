"""The whole configuration, and values that follow from several files together, such as the effective ports.

The node gives each object only the section that it needs.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from broker.config.authentication import Authentication
from broker.config.axis2 import Axis2
from broker.config.broker_xml import (
    Coordination,
    Deployment,
    FlowControl,
    LimitsSection,
    LoggingSection,
    ManagementSection,
    PerformanceTuning,
    Persistence,
    Recovery,
    TransactionSection,
    Transports,
    VirtualHosts,
)
from broker.config.carbon import Carbon
from broker.config.datasources import Datasources, PoolConfiguration
from broker.config.element_kinds import Given
from broker.config.hazelcast import Hazelcast
from broker.config.log4j import Log4j
from broker.config.node_place import NodePlace
from broker.config.place import Place
from broker.config.qpid_config import QpidConfig
from broker.config.registry_xml import RegistryXml
from broker.config.store_url import StoreUrl
from broker.config.user_mgt import UserMgt
from broker.config.values import Section


class Configuration(Section):
    """All sections that have an effect; without arguments, with the built-in defaults."""

    coordination: Coordination = Coordination()
    transports: Transports = Transports()
    persistence: Persistence = Persistence()
    transaction: TransactionSection = TransactionSection()
    performance_tuning: PerformanceTuning = PerformanceTuning()
    flow_control: FlowControl = FlowControl()
    recovery: Recovery = Recovery()
    deployment: Deployment = Deployment()
    limits: LimitsSection = LimitsSection()
    virtual_hosts: VirtualHosts = VirtualHosts()
    authentication: Authentication = Authentication()
    logging: LoggingSection = LoggingSection()
    management: ManagementSection = ManagementSection()
    qpid: QpidConfig = QpidConfig()
    datasources: Datasources = Datasources()
    carbon: Carbon = Carbon()
    user_mgt: UserMgt = UserMgt()
    axis2: Axis2 = Axis2()
    registry: RegistryXml = RegistryXml()
    hazelcast: Hazelcast = Hazelcast()
    log4j: Log4j = Log4j()

    # Maps the `binding.origin_key` of a value to its origin: a file and line, or an environment variable.
    origins: Mapping[str, str] = Field({}, exclude=True, repr=False)
    # Maps each file to the content of its elements that have no effect.
    accepted: Mapping[str, Mapping[Place, Given]] = Field({}, exclude=True, repr=False)

    @property
    def is_clustered(self) -> bool:
        """Whether this node is a member of a cluster; if so, loading has checked what a member needs."""
        return self.axis2.clustering.enabled and self.deployment.mode != "standalone"

    @property
    def meets_among_peers(self) -> bool:
        """Whether this node is a member of a cluster whose nodes find out among themselves who lives (ADR 76)."""
        return self.is_clustered and not self.coordination.rdbms_based_coordination.enabled

    @property
    def minimum_cluster_size(self) -> int:
        """Living members that this node must see, itself among them, to take traffic; 1 when that does not matter."""
        detection = self.recovery.network_partitions_detection
        return detection.minimum_cluster_size if self.is_clustered and detection.enabled else 1

    @property
    def amqp_port(self) -> int:
        return self._with_offset(self.transports.amqp.default_connection.port)

    @property
    def amqps_port(self) -> int:
        return self._with_offset(self.transports.amqp.ssl_connection.port)

    @property
    def http_port(self) -> int:
        return self._with_offset(self.management.http.port)

    @property
    def https_port(self) -> int:
        return self._with_offset(self.management.http.ssl_connection.port)

    @property
    def metrics_tls_port(self) -> int:
        return self._with_offset(self.management.metrics.ssl_connection.port)

    @property
    def metrics_port(self) -> int:
        return self._with_offset(self.management.metrics.port)

    @property
    def console_port(self) -> int:
        return self._with_offset(self.management.console.port)

    @property
    def thrift_port(self) -> int:
        return self._with_offset(self.coordination.thrift_server_port)

    @property
    def datasource(self) -> PoolConfiguration:
        """The database and the pool of the message store; loading has checked that they are configured."""
        return self.datasources.resolve(self.persistence.message_store.data_source)

    @property
    def user_database(self) -> PoolConfiguration | None:
        """The database of users that `user-mgt.xml` names; None when there is none, or one of H2, which cannot be
        opened: then users are kept in the message store.
        """
        source = self.datasources.find(self.user_mgt.realm.configuration.data_source)
        if source is None or source.definition.configuration.is_h2:
            return None
        return source.definition.configuration

    @property
    def store_url(self) -> StoreUrl:
        """The message store's database."""
        return self.datasource.store_url

    @property
    def node_place(self) -> NodePlace:
        """What tells this node from others on its machine."""
        url = self.store_url
        store = (url.path, url.host, url.port, url.database)
        return NodePlace(self.management.control_socket, *store, self.amqp_port, self.amqps_port)

    def _with_offset(self, port: int) -> int:
        return port + self.carbon.offset if port else 0
