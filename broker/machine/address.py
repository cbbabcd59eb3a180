"""Hosts and ports as text. An IPv6 address stands in brackets where a port may follow it, and only there."""

from __future__ import annotations

import ipaddress
from typing import Final

EVERY_ADDRESS: Final = "::"
"""To listen here means at every address of the machine, of both families."""


def endpoint(host: str, port: int) -> str:
    """Return host and port as one text, `192.0.2.1:5672` or `[::1]:5672`."""
    return f"{url_host(host)}:{port}"


def url_host(host: str) -> str:
    """Return a host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def bare_host(text: str) -> str:
    """Return a host name or an address as the system takes it, `::1` for `[::1]`. Raises ValueError."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or any(character.isspace() or character in "[]/" for character in host):
        raise ValueError(f"'{text}' is not a host name or address")
    if host != text or ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"'{text}' is not a host name or address; a port is set by itself") from None
    return host
