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
    try:
        context = ssl.create_default_context(cafile=options.tls_ca)
        if options.tls_cert is not None:
            context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (options.tls_ca, options.tls_cert, options.tls_key) if path)
        raise ConfigError(f"the datasource's TLS files cannot be used ({files}): {error}") from error
    context.check_hostname = options.tls == "verify-full"
    if options.tls not in ("verify-ca", "verify-full"):
        context.verify_mode = ssl.CERT_NONE
    return context
