"""The hosts that a database URL names, in the spellings of the drivers of MySQL, MariaDB and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

Address: TypeAlias = tuple[str, int]
"""Host and port."""

_ONE_AFTER_THE_OTHER: Final = ("", "sequential")
_BALANCED: Final = ("loadbalance", "load-balance", "load-balance-read", "failover")
_IN_PARENTHESES: Final = re.compile(r"\(\s*([^()]*)\)")
_APART: Final = re.compile(r",(?![^()]*\))")
"""A comma that is not within parentheses."""
_HOST: Final = re.compile(r"[\w.-]+")
_IPV6: Final = re.compile(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(%[\w.%-]+)?")
_LARGEST_PORT: Final = 65_535
_OWN_CREDENTIALS: Final = (
    "credentials of single hosts are not served: give the user and the password once, for all hosts"
    " (an '@' or ',' in them is %40 or %2C)"
)


def check_mode(mode: str) -> None:
    """Raise ValueError for a way of using several hosts, in the words of MariaDB's and MySQL's drivers, that is not
    served.
    """
    if mode in _ONE_AFTER_THE_OTHER:
        return
    if mode in _BALANCED:
        why = "the broker writes to one server at a time, so its connections cannot be spread over several"
    elif mode == "replication":
        why = "the broker reads what it has just written, which a replica may not have yet"
    else:
        why = "it is not known"
    raise ValueError(f"mode '{mode}' is not served: {why}; list the hosts without it, they are tried in their order")


def addresses(hosts: str, default_port: int) -> tuple[Address, ...]:
    """Return the addresses in a list such as `db1,db2:3307,[::1]` or `address=(host=db1)(port=3306)`.

    Raises ValueError with the reason, in which nothing of the text is: it may have a password in a wrong place.
    """
    parts = [part.strip() for part in _APART.split(hosts)]
    if len(parts) > 1 and any(not part or part.startswith(":") for part in parts):
        raise ValueError("between two commas, or beside one, a host is missing")
    return _each_once([_address(part, default_port) for part in parts])


def of_parameters(hosts: Sequence[str], ports: Sequence[str], default_port: int) -> tuple[Address, ...]:
    """Return those in the parameters `host` and `port` of an SQLAlchemy URL. Raises ValueError as `addresses`."""
    names = [name.strip() for text in hosts for name in text.split(",")]
    numbers = [number.strip() for text in ports for number in text.split(",")]
    if not all(names):
        raise ValueError("between two commas, or beside one, a host is missing")
    if numbers and len(numbers) not in (1, len(names)):
        raise ValueError("there are more or fewer ports than hosts")
    if any(name.startswith("/") for name in names):
        raise ValueError("a directory with a server's socket is not served; give the host")
    its_own = numbers if len(numbers) == len(names) else (numbers or [""]) * len(names)
    return _each_once(
        [_address(name, _port(number, default_port)) for name, number in zip(names, its_own, strict=True)]
    )


def check_credentials(credentials: str) -> None:
    """Raise ValueError when what stands before the last `@` of a URL's authority has a host in it."""
    before, at, after = credentials.partition("@")
    if (at and "," in after) or "," in before.partition(":")[0]:
        raise ValueError(_OWN_CREDENTIALS)


def _each_once(found: Sequence[Address]) -> tuple[Address, ...]:
    if len(set(found)) < len(found):
        raise ValueError("an address is there twice")
    return tuple(found)


def _address(text: str, default_port: int) -> Address:
    if text.startswith(("address=", "(")):
        return _of_pairs(text.removeprefix("address="), default_port)
    if text.startswith("["):
        inside, bracket, after = text[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise ValueError("an IPv6 address stands between '[' and ']', and behind it ':PORT' or nothing")
        return _ipv6(inside), _port(after[1:], default_port)
    host, _, port = text.partition(":")
    if ":" in port:
        if _IPV6.fullmatch(text) and ("::" in text or text.count(":") > 2):
            raise ValueError("an IPv6 address stands in brackets, as in [::1]:5432")
        raise ValueError("a host has one port, and other hosts follow behind a comma")
    return _host(host) if host else "localhost", _port(port, default_port)


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("a host has letters, digits, '.', '-' and '_' only; hosts are parted by ','")
    return text.lower()


def _ipv6(text: str) -> str:
    if not _IPV6.fullmatch(text):
        raise ValueError("what is in brackets is no IPv6 address")
    return text.lower()


def _port(text: str, default: int) -> int:
    """Return the port, or the default one if there is none. Raises ValueError."""
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) <= _LARGEST_PORT):
        raise ValueError(f"a port is a number from 1 to {_LARGEST_PORT}")
    return int(text)


def _of_pairs(text: str, default_port: int) -> Address:
    """Return the address in `(host=db1)(port=3306)` or `(host=db1,port=3306)`."""
    if "(" not in text or _IN_PARENTHESES.sub("", text).strip():
        raise ValueError("an address in parentheses is (host=HOST)(port=PORT) and nothing else")
    pairs = dict(_pairs(text))
    if {"user", "password"} & set(pairs):
        raise ValueError(_OWN_CREDENTIALS)
    if pairs.pop("type", "master").lower() not in ("master", "source", "primary"):
        raise ValueError("a server of the type 'replica' takes no writes")
    host, port = pairs.pop("host", "").strip("[]"), _port(pairs.pop("port", ""), default_port)
    if not host:
        raise ValueError("an address in parentheses has no host")
    if pairs:
        raise ValueError("an address in parentheses has more than host, port and type")
    return _ipv6(host) if ":" in host else _host(host), port


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for inside in _IN_PARENTHESES.findall(text):
        for pair in inside.split(","):
            name, _, value = pair.partition("=")
            yield name.strip().lower(), value.strip()
