"""`advanced/qpid-config.xml`: heartbeats, frame size and locale of AMQP connections (andes.md §1.3, §8.5).

Knows the elements and their defaults. Most of the file configures Qpid's own network layer and has no effect here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import SecretStr

from broker.config.values import (
    NO_SECRET,
    Boolean,
    Count,
    Name,
    Port,
    Section,
    VerbatimText,
    integer,
    number,
    one_of,
    xml,
)


class Protectio(Section):
    """Qpid's write protection."""

    enabled: Boolean = xml("enabled", False)
    read_buffer_limit_size: Count = xml("readBufferLimitSize", 262_144)
    write_buffer_limit_size: Count = xml("writeBufferLimitSize", 262_144)


class Connector(Section):
    """Qpid's network layer; the ports come from `broker.xml`."""

    obsolete: ClassVar[Mapping[str, str]] = {
        "port": "transports/amqp/defaultConnection of broker.xml has the port",
        "sslport": "transports/amqp/sslConnection of broker.xml has the port",
        "ssl": "transports/amqp/sslConnection of broker.xml configures TLS",
    }

    qpidnio: Boolean = xml("qpidnio", False)
    protectio: Protectio = xml("protectio", Protectio())
    transport: str = xml("transport", "nio")
    socket_receive_buffer_bytes: Count = xml("socketReceiveBuffer", 32_768)
    socket_send_buffer_bytes: Count = xml("socketSendBuffer", 32_768)


class ManagementSsl(Section):
    """TLS of the old JMX console."""

    enabled: Boolean = xml("enabled", False)
    key_store_path: VerbatimText = xml("keyStorePath", "")
    key_store_password: SecretStr = xml("keyStorePassword", NO_SECRET)


class Management(Section):
    """The old JMX console."""

    enabled: Boolean = xml("enabled", True)
    jmxport: Port = xml("jmxport", 8999)
    ssl: ManagementSsl = xml("ssl", ManagementSsl())


class FilterChain(Section):
    """Thread pool of Qpid's filter chain."""

    enable_executor_pool: Boolean = xml("@enableExecutorPool", True)


class Advanced(Section):
    """What connection.start and connection.tune offer, and Qpid's buffers."""

    filterchain: FilterChain = xml("filterchain", FilterChain())
    enable_pooled_allocator: Boolean = xml("enablePooledAllocator", False)
    enable_direct_buffers: Boolean = xml("enableDirectBuffers", False)
    # 0-9-1 §4.2.3: no peer may ask for less than 4096.
    frame_size_bytes: Annotated[int, integer(4096, 134_217_728)] = xml("framesize", 131_072)
    compress_buffer_on_queue: Boolean = xml("compressBufferOnQueue", False)
    enable_jmsx_user_id: Boolean = xml("enableJMSXUserID", False)
    locale: Name = xml("locale", "en_US")


class PrincipalDatabase(Section):
    """The Java class that knows the users."""

    class_name: str = xml("class", "org.wso2.carbon.andes.authentication.CarbonBasedPrincipalDatabase")


class AuthManager(Section):
    """The authentication manager."""

    principal_database: PrincipalDatabase = xml("principal-database", PrincipalDatabase())


class Security(Section):
    """Authentication; this broker's users come from `user-mgt.xml`."""

    pd_auth_manager: AuthManager = xml("pd-auth-manager", AuthManager())
    msg_auth: Boolean = xml("msg-auth", False)


class Heartbeat(Section):
    """Seconds proposed in connection.tune (0: off), and how many of them may pass in silence."""

    delay: Annotated[int, integer(0, 65_535)] = xml("delay", 30)
    timeout_factor: Annotated[float, number(1, 1000)] = xml("timeoutFactor", 2.0)


class QueueDefaults(Section):
    """Qpid's queue registry."""

    auto_register: Boolean = xml("auto_register", True)
    view_message_counts: Boolean = xml("viewMessageCounts", False)


class QpidConfig(Section):
    """The whole file."""

    prefix: VerbatimText = xml("prefix", "${ANDES_HOME}")
    work: VerbatimText = xml("work", "${QPID_WORK}")
    conf: VerbatimText = xml("conf", "${prefix}/etc")
    plugin_directory: VerbatimText = xml("plugin-directory", "${ANDES_HOME}/lib/plugins")
    cache_directory: VerbatimText = xml("cache-directory", "${QPID_WORK}/cache")
    connector: Connector = xml("connector", Connector())
    management: Management = xml("management", Management())
    advanced: Advanced = xml("advanced", Advanced())
    maximum_channel_count: Annotated[int, integer(1, 65_535)] = xml("maximumChannelCount", 2047)
    security: Security = xml("security", Security())
    virtualhosts: VerbatimText = xml("virtualhosts", "${conf}/qpid-virtualhosts.xml")
    heartbeat: Heartbeat = xml("heartbeat", Heartbeat())
    queue: QueueDefaults = xml("queue", QueueDefaults())
    status_updates: Annotated[str, one_of("ON", "OFF", "true", "false")] = xml("status-updates", "ON")
