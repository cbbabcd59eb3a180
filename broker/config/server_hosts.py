"""The hosts that a database URL names, in the spellings of the drivers of MySQL, MariaDB and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias
from urllib.parse import urlsplit

Address: TypeAlias = tuple[str, int]
"""Host and port."""

_ONE_AFTER_THE_OTHER: Final = ("", "sequential")
_BALANCED: Final = ("loadbalance", "load-balance", "load-balance-read", "failover")
_IN_PARENTHESES: Final = re.compile(r"\(\s*([^()]*)\)")
_APART: Final = re.compile(r",(?![^()]*\))")
"""A comma that is not within parentheses."""


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

    Raises ValueError without saying why: the text may have a password in a wrong place.
    """
    found = tuple(_address(part.strip(), default_port) for part in _APART.split(hosts))
    if len(set(found)) < len(found):
        raise ValueError("an address is there twice")
    return found


def of_parameters(hosts: Sequence[str], ports: Sequence[str], default_port: int) -> tuple[Address, ...]:
    """Return the addresses in the parameters `host` and `port` of an SQLAlchemy URL. Raises ValueError."""
    names = [name for text in hosts for name in text.split(",")]
    numbers = [number for text in ports for number in text.split(",")]
    if numbers and len(numbers) not in (1, len(names)):
        raise ValueError("there are more or fewer ports than hosts")
    usual = int(numbers[0]) if len(numbers) == 1 else default_port
    its_own = numbers if len(numbers) == len(names) else [str(usual)] * len(names)
    return tuple(
        address
        for name, number in zip(names, its_own, strict=True)
        for address in addresses(name, int(number or default_port))
    )


def _address(text: str, default_port: int) -> Address:
    if text.startswith(("address=", "(")):
        return _of_pairs(text.removeprefix("address="), default_port)
    parts = urlsplit(f"//{text}")
    if parts.path or parts.query or "@" in text or "(" in text:
        raise ValueError("not a host")
    return parts.hostname or "localhost", parts.port or default_port


def _of_pairs(text: str, default_port: int) -> Address:
    """Return the address in `(host=db1)(port=3306)` or `(host=db1,port=3306)`."""
    if _IN_PARENTHESES.sub("", text).strip():
        raise ValueError("not only pairs in parentheses")
    pairs = dict(_pairs(text))
    if pairs.pop("type", "master").lower() not in ("master", "source", "primary"):
        raise ValueError("a replica takes no writes")
    host, port = pairs.pop("host"), int(pairs.pop("port", default_port))
    if pairs or not host:
        raise ValueError("pairs that are not known")
    return host.strip("[]"), port


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for inside in _IN_PARENTHESES.findall(text):
        for pair in inside.split(","):
            name, _, value = pair.partition("=")
            yield name.strip().lower(), value.strip()
