"""The database that a JDBC or SQLAlchemy URL means, with the credentials for it.

This module opens no database and loads no driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from broker.config.server_hosts import Address
from broker.config.store_place import Engine, place_of
from broker.config.values import NO_SECRET


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
    place = place_of(url)
    return StoreUrl(
        place.engine,
        place.path,
        place.host,
        place.port,
        place.database,
        place.user_name or user_name,
        SecretStr(place.password) if place.password else password,
        place.parameters,
        place.others,
    )


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
