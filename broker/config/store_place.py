"""Where a database is that a JDBC or SQLAlchemy URL means.

This module opens no database and loads no driver. Must not import pydantic: see `place`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from broker.config.masking import mask, mask_all
from broker.config.server_hosts import Address, addresses, check_credentials, check_mode, of_parameters

Engine = Literal["sqlite", "memory", "mysql", "postgresql"]

_SERVERS: Final[Mapping[str, tuple[Engine, int]]] = {
    "mysql": ("mysql", 3306),
    "mariadb": ("mysql", 3306),
    "postgresql": ("postgresql", 5432),
    "postgres": ("postgresql", 5432),
}
_MODE: Final = re.compile(r"([a-z-]+):(?=//)", re.IGNORECASE)
"""How a JDBC driver uses several hosts: `jdbc:mariadb:sequential://…`."""
_AUTHORITY: Final = re.compile(r"//([^/?#]*)")
_ESCAPES: Final = "in a user name or a password '/', '?', '#' and '@' are written %2F, %3F, %23 and %40"
_SUPPORTED: Final = "jdbc:sqlite:, jdbc:h2:, jdbc:mysql:, jdbc:mariadb:, jdbc:postgresql: or an SQLAlchemy URL"


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where a store is. `path` is set for sqlite; host, port and database for a server; the last four are what else the
    URL says, as in `StoreUrl`.
    """

    engine: Engine
    path: Path | None = None
    host: str = ""
    port: int = 0
    database: str = ""
    user_name: str = ""
    password: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict)
    others: tuple[Address, ...] = ()


def place_of(url: str) -> StorePlace:
    """Return what `url` means. Raises ValueError."""
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
        return _server(kind.partition("+")[0], rest, url)
    raise ValueError(f"'{mask_all(url)}' is not a database of this broker; use {_SUPPORTED}")


def _h2(rest: str, url: str) -> StorePlace:
    """Return the SQLite file for an H2 URL.

    H2 is a Java database with a file format of its own, so this broker keeps a SQLite file beside H2's.
    """
    location, *options = rest.split(";")
    parameters = dict(option.split("=", 1) for option in options if "=" in option)
    if location.startswith("mem:"):
        return StorePlace("memory", parameters=parameters)
    if re.match(r"(tcp|ssl|zip|split|nio\w*):", location):
        raise ValueError(f"'{mask(url)}' is an H2 server; only jdbc:h2: with a file or mem: can be embedded")
    location = location.removeprefix("file:")
    return _sqlite(f"{location}.db" if location else "", url, parameters)


def _sqlite(location: str, url: str, parameters: dict[str, str]) -> StorePlace:
    if location == ":memory:":
        return StorePlace("memory", parameters=parameters)
    location = location.removeprefix("file:")
    if not location:
        raise ValueError(f"'{mask(url)}' names no file")
    return StorePlace("sqlite", Path(location).expanduser(), parameters=parameters)


def _server(kind: str, rest: str, url: str) -> StorePlace:
    engine, default_port = _SERVERS[kind]
    authority = _AUTHORITY.match(rest)
    assert authority is not None, "the caller has looked for it"
    credentials, _, hosts = authority[1].rpartition("@")
    parts = urlsplit(f"//{rest[authority.end() :]}")
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "@" in parts.path:
        raise ValueError(f"'{mask(url)}' has an '@' behind its hosts: {_ESCAPES}")
    try:
        check_credentials(credentials)
        if engine == "postgresql" and not hosts and "host" in parameters and not url.startswith("jdbc:"):
            places = of_parameters(_values(parts.query, "host"), _values(parts.query, "port"), default_port)
            del parameters["host"]
            parameters.pop("port", "")
        else:
            places = addresses(hosts, default_port)
    except ValueError as error:
        is_cut_off = not credentials and "@" in rest[authority.end() :] and not parts.path
        reason = _ESCAPES if is_cut_off else error
        raise ValueError(f"'{mask(url)}' has no usable host and port: {reason}") from None
    database = unquote(parts.path).removeprefix("/")
    if not database or "/" in database:
        raise ValueError(f"'{mask(url)}' names no database")
    in_url = [unquote(text) for text in credentials.partition(":")[::2]]
    user_name = in_url[0] or parameters.pop("user", "")
    password = in_url[1] or parameters.pop("password", "")
    (host, port), *others = places
    return StorePlace(
        engine,
        host=host,
        port=port,
        database=database,
        user_name=user_name,
        password=password,
        parameters=parameters,
        others=tuple(others),
    )


def _values(query: str, name: str) -> list[str]:
    """Return every value that a parameter has in a query."""
    return [value for key, value in parse_qsl(query) if key == name]
