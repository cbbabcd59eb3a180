"""The tables of `schema` as statements name them: never quoted, since MySQL has them in capitals and PostgreSQL in
small letters.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import column, func, table
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ColumnElement, quoted_name
from sqlalchemy.sql.selectable import TableClause

from broker.store.carbon.schema import BY_NAME

TENANT: Final = -1234
"""The super tenant, which has no row."""


def _table(name: str) -> TableClause:
    names = BY_NAME[name].column_names
    return table(quoted_name(name, quote=False), *(column(quoted_name(each, quote=False)) for each in names))


UM_DOMAIN: Final = _table("UM_DOMAIN")
UM_USER: Final = _table("UM_USER")
UM_ROLE: Final = _table("UM_ROLE")
UM_USER_ROLE: Final = _table("UM_USER_ROLE")
UM_HYBRID_ROLE: Final = _table("UM_HYBRID_ROLE")
UM_HYBRID_USER_ROLE: Final = _table("UM_HYBRID_USER_ROLE")
UM_PERMISSION: Final = _table("UM_PERMISSION")
UM_ROLE_PERMISSION: Final = _table("UM_ROLE_PERMISSION")
UM_USER_PERMISSION: Final = _table("UM_USER_PERMISSION")
UM_SYSTEM_ROLE: Final = _table("UM_SYSTEM_ROLE")

REG_PATH: Final = _table("REG_PATH")
REG_RESOURCE: Final = _table("REG_RESOURCE")
REG_PROPERTY: Final = _table("REG_PROPERTY")
REG_RESOURCE_PROPERTY: Final = _table("REG_RESOURCE_PROPERTY")
REG_LOG: Final = _table("REG_LOG")

USER_TABLES: Final = (
    UM_DOMAIN,
    UM_USER,
    UM_ROLE,
    UM_USER_ROLE,
    UM_HYBRID_ROLE,
    UM_HYBRID_USER_ROLE,
    UM_PERMISSION,
    UM_ROLE_PERMISSION,
    UM_USER_PERMISSION,
)
"""What a database of users must have."""
REGISTRY_TABLES: Final = (REG_PATH, REG_RESOURCE, REG_PROPERTY, REG_RESOURCE_PROPERTY, REG_LOG)
"""What a database with the registry must have."""


def now(dialect: Dialect) -> ColumnElement[Any]:
    """Return the database's time as its rows have it: without a zone."""
    return func.current_timestamp() if dialect.name == "sqlite" else func.localtimestamp()


def equal(column: ColumnElement[Any], value: object) -> ColumnElement[bool]:
    """Return the condition that a column has this value."""
    return column == value
