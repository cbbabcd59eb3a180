"""The TLS context that a datasource's options ask for, the same for every database server.

How much is verified is said in libpq's words: `prefer`, `require`, `verify-ca`, `verify-full`.
"""

from __future__ import annotations

import ssl

from broker.config.connection_options import ConnectionOptions
from broker.errors import ConfigError


def tls_context(options: ConnectionOptions) -> ssl.SSLContext | None:
    """Return a context for `options.tls`, None for `disable`. Raises `ConfigError` for files that cannot be used."""
    if options.tls == "disable":
        return None
    verifies = options.tls in ("verify-ca", "verify-full")
    try:
        # Reading the machine's authorities takes 28 ms for each connection: it is only done to verify by them.
        context = ssl.create_default_context(cafile=options.tls_ca) if verifies else _trusting(options)
        if options.tls_cert is not None:
            context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (options.tls_ca, options.tls_cert, options.tls_key) if path)
        raise ConfigError(f"the datasource's TLS files cannot be used ({files}): {error}") from error
    context.check_hostname = options.tls == "verify-full"
    return context


def _trusting(options: ConnectionOptions) -> ssl.SSLContext:
    """Return a context that verifies nothing; a CA file that is named is still read, so that a wrong one is noticed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if options.tls_ca is not None:
        context.load_verify_locations(options.tls_ca)
    return context
