"""Hosts and ports as text. An IPv6 address stands in brackets where a port may follow it, and only there."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

EVERY_ADDRESS: Final = "::"
"""To listen here means at every address of the machine, of both families."""

_LONGEST_HOST: Final = 253
"""Characters (RFC 1035)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a client is: its address, that of IPv4 where the system writes one as one of IPv6."""

    address: str
    is_loopback: bool

    @classmethod
    def of(cls, host: str) -> Self:
        """Read the address in the name of a socket."""
        address = ip_address(host)
        return cls(str(address), address.is_loopback)


def ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address, that of IPv4 where it is written as one of IPv6. Raises ValueError for a name."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(1024)
def is_name(host: str) -> bool:
    """Return whether `host` must be looked up, and is no address."""
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


@lru_cache(1024)
def network(host: str) -> str:
    """Return whose address this is, in the name of a socket: itself, or the /64 of an IPv6 one, which one machine may
    have whole.
    """
    address = ip_address(host)
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def endpoint(host: str, port: int) -> str:
    """Return host and port as one text, `192.0.2.1:5672` or `[::1]:5672`."""
    return f"{url_host(host)}:{port}"


def url_host(host: str) -> str:
    """Return a host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def is_beyond_loopback(host: str) -> bool:
    """Return whether `host` is an address other than loopback; of a name that is known when it is resolved."""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return False


def bare_host(text: str) -> str:
    """Return a host name or an address as the system takes it, `::1` for `[::1]`. Raises ValueError."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or any(character.isspace() or character in "[]/" for character in host):
        raise ValueError(f"'{text}' is not a host name or address")
    if len(host) > _LONGEST_HOST:
        raise ValueError(f"'{host:.32}…' has {len(host)} characters; a host name has at most {_LONGEST_HOST}")
    if host != text or ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"'{text}' is not a host name or address; a port is set by itself") from None
    return host
