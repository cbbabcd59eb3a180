"""TLS handshakes in memory, without sockets, and contexts of clients."""

from __future__ import annotations

import ssl
import warnings
from dataclasses import dataclass

EVERY_CIPHER = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


@dataclass(frozen=True)
class Agreed:
    """Both sides of a handshake that has succeeded."""

    server: ssl.SSLObject
    client: ssl.SSLObject


def trusting_client(version: str = "", ciphers: str = "") -> ssl.SSLContext:
    """Return a client that trusts every server, with one version and these ciphers of TLS 1.2 and older, or any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if ciphers:
        context.set_ciphers(ciphers)
    if version:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> Agreed:
    """Return both sides when the server is done. Raises the ssl.SSLError of the side that gives up first."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    both = Agreed(
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    )
    waiting = [both.client, both.server]
    for _ in range(20):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
        if not waiting:
            return both
    raise AssertionError("the handshake does not end")
