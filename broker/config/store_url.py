"""The database that a JDBC or SQLAlchemy URL means.

This module opens no database and loads no driver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from broker.config.masking import mask, mask_all
from broker.config.server_hosts import Address, addresses, check_mode, of_parameters
from broker.config.values import NO_SECRET

Engine = Literal["sqlite", "memory", "mysql", "postgresql"]

_SERVERS: dict[str, tuple[Engine, int]] = {
    "mysql": ("mysql", 3306),
    "mariadb": ("mysql", 3306),
    "postgresql": ("postgresql", 5432),
    "postgres": ("postgresql", 5432),
}
_MODE = re.compile(r"([a-z-]+):(?=//)", re.IGNORECASE)
"""How a JDBC driver uses several hosts: `jdbc:mariadb:sequential://…`."""
_AUTHORITY = re.compile(r"//([^/?#]*)")
_SUPPORTED = "jdbc:sqlite:, jdbc:h2:, jdbc:mysql:, jdbc:mariadb:, jdbc:postgresql: or an SQLAlchemy URL"


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where the store is. `path` is set for sqlite; host, port and database for a server.

    `others` are further servers that have the database when the first one does not take writes, in their order.
    """

    engine: Engine
    path: Path | None = None
    host: str = ""
    port: int = 0
    database: str = ""
    user_name: str = ""
    password: SecretStr = NO_SECRET
    parameters: Mapping[str, str] = field(default_factory=dict)
    others: tuple[Address, ...] = ()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Hosts and ports of all servers."""
        return ((self.host, self.port), *self.others)


def parse(url: str, user_name: str = "", password: SecretStr = NO_SECRET) -> StoreUrl:
    """Return what `url` means; credentials in it win over those given beside it. Raises ValueError."""
    kind, _, rest = url.removeprefix("jdbc:").partition(":")
    kind = kind.lower()
    if url.startswith("jdbc:"):
        if kind == "h2":
            return _h2(rest, url)
        if kind == "sqlite":
            path, _, query = rest.partition("?")
            return _sqlite(path, url, dict(parse_qsl(query)))
        if kind in ("postgresql", "postgres") and not rest.startswith("//"):
            rest = f"//localhost/{rest}"
        if kind in ("mysql", "mariadb") and (mode := _MODE.match(rest)):
            try:
                check_mode(mode[1].lower())
            except ValueError as error:
                raise ValueError(f"'{mask(url)}': {error}") from None
            rest = rest[mode.end() :]
    elif kind.partition("+")[0] == "sqlite" and rest.startswith("//"):
        parts = urlsplit(f"sqlite:{rest}")
        path = unquote(parts.path).removeprefix("/")
        return _sqlite(path or ":memory:", url, dict(parse_qsl(parts.query)))
    if kind.partition("+")[0] in _SERVERS and rest.startswith("//"):
        return _server(kind.partition("+")[0], rest, url, user_name, password)
    raise ValueError(f"'{mask_all(url)}' is not a database of this broker; use {_SUPPORTED}")


def with_parameters(url: StoreUrl, properties: str) -> StoreUrl:
    """Return `url` with the parameters `name=value;name=value` beside its own, which win. Raises ValueError."""
    parameters = dict(url.parameters)
    known = {name.lower() for name in parameters}
    for pair in filter(None, map(str.strip, properties.split(";"))):
        name, sign, value = map(str.strip, pair.partition("="))
        if not sign or name.lower() in ("user", "password"):
            raise ValueError(
                "connectionProperties are NAME=VALUE;NAME=VALUE, and username and password have elements of their own"
            )
        if name.lower() not in known:
            parameters[name] = value
    return replace(url, parameters=parameters)


def _h2(rest: str, url: str) -> StoreUrl:
    """Return the SQLite file for an H2 URL.

    H2 is a Java database with a file format of its own, so this broker keeps a SQLite file beside H2's.
    """
    location, *options = rest.split(";")
    parameters = dict(option.split("=", 1) for option in options if "=" in option)
    if location.startswith("mem:"):
        return StoreUrl("memory", parameters=parameters)
    if re.match(r"(tcp|ssl|zip|split|nio\w*):", location):
        raise ValueError(f"'{mask(url)}' is an H2 server; only jdbc:h2: with a file or mem: can be embedded")
    location = location.removeprefix("file:")
    return _sqlite(f"{location}.db" if location else "", url, parameters)


def _sqlite(location: str, url: str, parameters: dict[str, str]) -> StoreUrl:
    if location == ":memory:":
        return StoreUrl("memory", parameters=parameters)
    location = location.removeprefix("file:")
    if not location:
        raise ValueError(f"'{mask(url)}' names no file")
    return StoreUrl("sqlite", Path(location).expanduser(), parameters=parameters)


def _server(kind: str, rest: str, url: str, user_name: str, password: SecretStr) -> StoreUrl:
    engine, default_port = _SERVERS[kind]
    authority = _AUTHORITY.match(rest)
    assert authority is not None, "the caller has looked for it"
    credentials, _, hosts = authority[1].rpartition("@")
    parts = urlsplit(f"//{rest[authority.end() :]}")
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    try:
        if engine == "postgresql" and not hosts and "host" in parameters and not url.startswith("jdbc:"):
            places = of_parameters(_values(parts.query, "host"), _values(parts.query, "port"), default_port)
            del parameters["host"]
            parameters.pop("port", "")
        else:
            places = addresses(hosts, default_port)
    except (ValueError, KeyError) as error:
        raise ValueError(f"'{mask(url)}' has no usable host and port") from error
    database = unquote(parts.path).removeprefix("/")
    if not database or "/" in database:
        raise ValueError(f"'{mask(url)}' names no database")
    in_url = [unquote(text) for text in credentials.partition(":")[::2]]
    url_user = in_url[0] or parameters.pop("user", "")
    url_password = in_url[1] or parameters.pop("password", "")
    (host, port), *others = places
    return StoreUrl(
        engine,
        host=host,
        port=port,
        database=database,
        user_name=url_user or user_name,
        password=SecretStr(url_password) if url_password else password,
        parameters=parameters,
        others=tuple(others),
    )


def _values(query: str, name: str) -> list[str]:
    """Return every value that a parameter has in a query."""
    return [value for key, value in parse_qsl(query) if key == name]
