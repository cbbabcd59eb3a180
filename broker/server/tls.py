"""TLS for the AMQP listener, from the `sslConnection` of broker.xml (contract N1, invariant I89).

Key and trust stores are PEM files.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from broker.config.broker_xml import SslConnection
from broker.errors import ConfigError

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def server_context(connection: SslConnection) -> ssl.SSLContext:
    """Return the context of the TLS listener. Raises ConfigError naming the file that cannot be used.

    A trust store makes client certificates welcome and checks those that are shown.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    versions = [_VERSIONS[name] for name in connection.ssl_enabled_protocols]
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    password = connection.key_store.password.get_secret_value()
    location = Path(connection.key_store.location)
    try:
        context.load_cert_chain(location, password=lambda: password)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"transports/amqp/sslConnection/keyStore: cannot use {location}: {_reason(error)};"
            " expected a PEM file with the private key and the certificate chain"
        ) from error
    if connection.trust_store.location:
        trusted = Path(connection.trust_store.location)
        try:
            context.load_verify_locations(trusted)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"transports/amqp/sslConnection/trustStore: cannot use {trusted}: {_reason(error)};"
                " expected a PEM file of certificates"
            ) from error
        context.verify_mode = ssl.CERT_OPTIONAL
    if connection.ciphers:
        context.set_ciphers(":".join(connection.ciphers))
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    return "not a PEM file, or the password is wrong"
