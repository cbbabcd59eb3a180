"""The TLS context that a datasource's options ask for, the same for every database server.

Knows `ssl` and libpq's words for how much is verified; knows no driver.
"""

from __future__ import annotations

import ssl

from broker.config.connection_options import ConnectionOptions
from broker.errors import ConfigError


def tls_context(options: ConnectionOptions) -> ssl.SSLContext | None:
    """Return a context for `options.tls`, None for `disable`. Raises ConfigError for files that cannot be used."""
    if options.tls == "disable":
        return None
    verifies = options.tls in ("verify-ca", "verify-full")
    try:
        # The machine's authorities take 28 ms to read, for each connection: only who verifies by them waits for that.
        context = ssl.create_default_context(cafile=options.tls_ca) if verifies else _trusting(options)
        if options.tls_cert is not None:
            context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (options.tls_ca, options.tls_cert, options.tls_key) if path)
        raise ConfigError(f"the datasource's TLS files cannot be used ({files}): {error}") from error
    context.check_hostname = options.tls == "verify-full"
    return context


def _trusting(options: ConnectionOptions) -> ssl.SSLContext:
    """Return a context that verifies nothing, but reads what is named: a wrong file shall not be found out later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if options.tls_ca is not None:
        context.load_verify_locations(options.tls_ca)
    return context
