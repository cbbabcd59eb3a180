"""Opens the configured listeners of AMQP."""

from __future__ import annotations

import ssl

from broker.amqp.profile import PROFILES, Profile
from broker.config.configuration import Configuration
from broker.errors import ConfigError
from broker.machine.address import endpoint
from broker.node.tls_listeners import AMQPS, TlsListeners
from broker.server.listener import AmqpServer


async def open_amqp(
    server: AmqpServer, config: Configuration, certificates: TlsListeners
) -> tuple[dict[str, int], dict[str, str]]:
    """Open the listeners, the plain one last; return their ports and addresses by protocol. Raises `ConfigError`."""
    amqp = config.transports.amqp
    ports = {}
    if (context := certificates.context(AMQPS)) is not None:

        def use(tls: ssl.SSLContext) -> None:
            server.use_certificate(tls, certificates.login)

        profile = PROFILES[amqp.ssl_connection.profile]
        ports["amqps"] = await _open(server, config, config.amqps_port, "sslConnection", context, profile)
        use(context)
        certificates.on_change(AMQPS, use)
    if amqp.enabled and amqp.default_connection.enabled:
        profile = PROFILES[amqp.default_connection.profile]
        ports["amqp"] = await _open(server, config, config.amqp_port, "defaultConnection", None, profile)
    return ports, {name: f"{name}://{endpoint(amqp.bind_address, port)}" for name, port in ports.items()}


async def _open(
    server: AmqpServer, config: Configuration, port: int, element: str, tls: ssl.SSLContext | None, profile: Profile
) -> int:
    host = config.transports.amqp.bind_address
    try:
        return await server.listen(host, port, tls, profile)
    except OSError as error:
        raise cannot_listen(host, port, element, error) from error


def cannot_listen(host: str, port: int, element: str, error: OSError) -> ConfigError:
    """Return what is to be done when a listener of AMQP, configured by `element`, cannot be opened."""
    return ConfigError(
        f"cannot listen on {endpoint(host, port)} for AMQP: {error.strerror or error};"
        f" stop what uses the port or change transports/amqp/{element}/@port"
    )
