"""The tables of users and of the registry, as WSO2's products have them, and the scripts that make them.

Only tables that a broker needs are here, with the unique keys of the latest products. WSO2's own script makes more.

    python -m broker.store.carbon.schema --dialect mysql > dbscripts/mysql.sql
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

DIALECTS: Final = ("mysql", "postgresql", "sqlite")

_TYPES: Final = {
    "mysql": {
        "id": "INTEGER NOT NULL AUTO_INCREMENT",
        "time": "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP",
        "octets": "LONGBLOB",
    },
    "postgresql": {"time": "TIMESTAMP NOT NULL", "octets": "BYTEA"},
    "sqlite": {"id": "INTEGER PRIMARY KEY", "time": "TIMESTAMP NOT NULL", "octets": "BLOB"},
}
_PATHS: Final = {"mysql": "VARCHAR(750)", "postgresql": "VARCHAR(2000)", "sqlite": "VARCHAR(2000)"}


@dataclass(frozen=True, slots=True)
class CarbonKey:
    """A foreign key: columns of this table, and the table whose id and tenant they are."""

    columns: tuple[str, ...]
    table: str
    cascades: bool = False


@dataclass(frozen=True, slots=True)
class CarbonTable:
    """One table. Of a column the text behind its name is its type; `id`, `time`, `octets` and `path` have several."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    references: tuple[CarbonKey, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()

    @property
    def column_names(self) -> list[str]:
        return [column.partition(" ")[0] for column in self.columns]

    @property
    def sequence(self) -> str:
        """The name of the sequence that PostgreSQL takes ids from."""
        return f"{self.name}_PK_SEQ"


_TENANT: Final = "UM_TENANT_ID INTEGER DEFAULT 0"
_REG_TENANT: Final = "REG_TENANT_ID INTEGER DEFAULT 0"
_TO_DOMAIN: Final = CarbonKey(("UM_DOMAIN_ID", "UM_TENANT_ID"), "UM_DOMAIN", cascades=True)
_TO_PERMISSION: Final = CarbonKey(("UM_PERMISSION_ID", "UM_TENANT_ID"), "UM_PERMISSION", cascades=True)


def _um(name: str, *columns: str, **more: tuple[tuple[str, ...], ...] | tuple[CarbonKey, ...]) -> CarbonTable:
    return CarbonTable(name, ("UM_ID id", *columns), ("UM_ID", "UM_TENANT_ID"), **more)  # type: ignore[arg-type]


_USER_COLUMNS: Final = (
    "UM_USER_NAME VARCHAR(255) NOT NULL",
    "UM_USER_PASSWORD VARCHAR(255) NOT NULL",
    "UM_SALT_VALUE VARCHAR(31)",
    "UM_REQUIRE_CHANGE BOOLEAN DEFAULT FALSE",
    "UM_CHANGED_TIME time",
    _TENANT,
)

TABLES: Final[Sequence[CarbonTable]] = (
    CarbonTable(
        "UM_TENANT",
        (
            "UM_ID id",
            "UM_DOMAIN_NAME VARCHAR(255) NOT NULL",
            "UM_EMAIL VARCHAR(255)",
            "UM_ACTIVE BOOLEAN DEFAULT FALSE",
            "UM_CREATED_DATE time",
            "UM_USER_CONFIG octets",
        ),
        ("UM_ID",),
        (("UM_DOMAIN_NAME",),),
    ),
    CarbonTable(
        "UM_DOMAIN",
        ("UM_DOMAIN_ID id", "UM_DOMAIN_NAME VARCHAR(255)", _TENANT),
        ("UM_DOMAIN_ID", "UM_TENANT_ID"),
        (("UM_DOMAIN_NAME", "UM_TENANT_ID"),),
    ),
    _um("UM_USER", *_USER_COLUMNS, unique=(("UM_USER_NAME", "UM_TENANT_ID"),)),
    _um(
        "UM_ROLE",
        "UM_ROLE_NAME VARCHAR(255) NOT NULL",
        _TENANT,
        "UM_SHARED_ROLE BOOLEAN DEFAULT FALSE",
        unique=(("UM_ROLE_NAME", "UM_TENANT_ID"),),
    ),
    _um(
        "UM_USER_ROLE",
        "UM_ROLE_ID INTEGER NOT NULL",
        "UM_USER_ID INTEGER NOT NULL",
        _TENANT,
        unique=(("UM_USER_ID", "UM_ROLE_ID", "UM_TENANT_ID"),),
        references=(
            CarbonKey(("UM_ROLE_ID", "UM_TENANT_ID"), "UM_ROLE"),
            CarbonKey(("UM_USER_ID", "UM_TENANT_ID"), "UM_USER"),
        ),
    ),
    _um(
        "UM_HYBRID_ROLE",
        "UM_ROLE_NAME VARCHAR(255)",
        _TENANT,
        unique=(("UM_ROLE_NAME", "UM_TENANT_ID"),),
    ),
    _um(
        "UM_HYBRID_USER_ROLE",
        "UM_USER_NAME VARCHAR(255)",
        "UM_ROLE_ID INTEGER NOT NULL",
        _TENANT,
        "UM_DOMAIN_ID INTEGER",
        unique=(("UM_USER_NAME", "UM_ROLE_ID", "UM_TENANT_ID", "UM_DOMAIN_ID"),),
        references=(CarbonKey(("UM_ROLE_ID", "UM_TENANT_ID"), "UM_HYBRID_ROLE", cascades=True), _TO_DOMAIN),
    ),
    _um(
        "UM_PERMISSION",
        "UM_RESOURCE_ID VARCHAR(255) NOT NULL",
        "UM_ACTION VARCHAR(255) NOT NULL",
        _TENANT,
        "UM_MODULE_ID INTEGER DEFAULT 0",
        unique=(("UM_RESOURCE_ID", "UM_ACTION", "UM_TENANT_ID"),),
    ),
    _um(
        "UM_ROLE_PERMISSION",
        "UM_PERMISSION_ID INTEGER NOT NULL",
        "UM_ROLE_NAME VARCHAR(255) NOT NULL",
        "UM_IS_ALLOWED SMALLINT NOT NULL",
        _TENANT,
        "UM_DOMAIN_ID INTEGER",
        unique=(("UM_PERMISSION_ID", "UM_ROLE_NAME", "UM_TENANT_ID", "UM_DOMAIN_ID"),),
        references=(_TO_PERMISSION, _TO_DOMAIN),
    ),
    _um(
        "UM_USER_PERMISSION",
        "UM_PERMISSION_ID INTEGER NOT NULL",
        "UM_USER_NAME VARCHAR(255) NOT NULL",
        "UM_IS_ALLOWED SMALLINT NOT NULL",
        _TENANT,
        references=(_TO_PERMISSION,),
    ),
    _um("UM_SYSTEM_USER", *_USER_COLUMNS, unique=(("UM_USER_NAME", "UM_TENANT_ID"),)),
    _um("UM_SYSTEM_ROLE", "UM_ROLE_NAME VARCHAR(255)", _TENANT, unique=(("UM_ROLE_NAME", "UM_TENANT_ID"),)),
    _um(
        "UM_SYSTEM_USER_ROLE",
        "UM_USER_NAME VARCHAR(255)",
        "UM_ROLE_ID INTEGER NOT NULL",
        _TENANT,
        unique=(("UM_USER_NAME", "UM_ROLE_ID", "UM_TENANT_ID"),),
        references=(CarbonKey(("UM_ROLE_ID", "UM_TENANT_ID"), "UM_SYSTEM_ROLE"),),
    ),
    CarbonTable(
        "REG_PATH",
        ("REG_PATH_ID id", "REG_PATH_VALUE path NOT NULL", "REG_PATH_PARENT_ID INTEGER", _REG_TENANT),
        ("REG_PATH_ID", "REG_TENANT_ID"),
        (("REG_PATH_VALUE", "REG_TENANT_ID"),),
        indexes=(("REG_PATH_PARENT_ID", "REG_TENANT_ID"),),
    ),
    CarbonTable(
        "REG_CONTENT",
        ("REG_CONTENT_ID id", "REG_CONTENT_DATA octets", _REG_TENANT),
        ("REG_CONTENT_ID", "REG_TENANT_ID"),
    ),
    CarbonTable(
        "REG_RESOURCE",
        (
            "REG_PATH_ID INTEGER NOT NULL",
            "REG_NAME VARCHAR(256)",
            "REG_VERSION id",
            "REG_MEDIA_TYPE VARCHAR(500)",
            "REG_CREATOR VARCHAR(31) NOT NULL",
            "REG_CREATED_TIME time",
            "REG_LAST_UPDATOR VARCHAR(31)",
            "REG_LAST_UPDATED_TIME time",
            "REG_DESCRIPTION VARCHAR(1000)",
            "REG_CONTENT_ID INTEGER",
            _REG_TENANT,
            "REG_UUID VARCHAR(100) NOT NULL",
        ),
        ("REG_VERSION", "REG_TENANT_ID"),
        references=(
            CarbonKey(("REG_PATH_ID", "REG_TENANT_ID"), "REG_PATH"),
            CarbonKey(("REG_CONTENT_ID", "REG_TENANT_ID"), "REG_CONTENT"),
        ),
        indexes=(("REG_PATH_ID", "REG_NAME", "REG_TENANT_ID"),),
    ),
    CarbonTable(
        "REG_PROPERTY",
        ("REG_ID id", "REG_NAME VARCHAR(100) NOT NULL", "REG_VALUE VARCHAR(1000)", _REG_TENANT),
        ("REG_ID", "REG_TENANT_ID"),
    ),
    CarbonTable(
        "REG_RESOURCE_PROPERTY",
        (
            "REG_PROPERTY_ID INTEGER NOT NULL",
            "REG_VERSION INTEGER",
            "REG_PATH_ID INTEGER",
            "REG_RESOURCE_NAME VARCHAR(256)",
            _REG_TENANT,
        ),
        references=(
            CarbonKey(("REG_PROPERTY_ID", "REG_TENANT_ID"), "REG_PROPERTY"),
            CarbonKey(("REG_PATH_ID", "REG_TENANT_ID"), "REG_PATH"),
        ),
        indexes=(("REG_VERSION", "REG_TENANT_ID"), ("REG_PATH_ID", "REG_RESOURCE_NAME", "REG_TENANT_ID")),
    ),
    CarbonTable(
        "REG_LOG",
        (
            "REG_LOG_ID id",
            "REG_PATH path",
            "REG_USER_ID VARCHAR(31) NOT NULL",
            "REG_LOGGED_TIME time",
            "REG_ACTION INTEGER NOT NULL",
            "REG_ACTION_DATA VARCHAR(500)",
            _REG_TENANT,
        ),
        ("REG_LOG_ID", "REG_TENANT_ID"),
    ),
)
BY_NAME: Final = {each.name: each for each in TABLES}


def script(dialect: str) -> str:
    """Return the SQL that makes the tables in a database that has none of them."""
    lines = [
        f"-- python -m broker.store.carbon.schema --dialect {dialect}",
        "-- Users, roles, permissions and the registry. The broker's own tables are in mb-store/.",
        "",
    ]
    for each in TABLES:
        lines += [f"{statement};\n" for statement in _statements(each, dialect)]
    return "\n".join(lines)


def _statements(made: CarbonTable, dialect: str) -> Iterator[str]:
    if dialect == "postgresql" and any(column.endswith(" id") for column in made.columns):
        yield f"CREATE SEQUENCE {made.sequence}"
    parts = [_column(made, column, dialect) for column in made.columns]
    has_own_key = dialect == "sqlite" and any(part.endswith("PRIMARY KEY") for part in parts)
    if made.key:
        kind = "UNIQUE" if has_own_key else "PRIMARY KEY"
        parts.append(f"{kind} ({', '.join(made.key)})")
    parts += [f"UNIQUE ({', '.join(columns)})" for columns in made.unique]
    for each in made.references:
        target = BY_NAME[each.table].key
        cascade = " ON DELETE CASCADE" if each.cascades else ""
        parts.append(f"FOREIGN KEY ({', '.join(each.columns)}) REFERENCES {each.table} ({', '.join(target)}){cascade}")
    engine = " ENGINE=InnoDB" if dialect == "mysql" else ""
    yield f"CREATE TABLE {made.name} (\n    " + ",\n    ".join(parts) + f"\n){engine}"
    for number, columns in enumerate(made.indexes, start=1):
        yield f"CREATE INDEX {made.name}_IND_{number} ON {made.name} ({', '.join(columns)})"


def _column(made: CarbonTable, column: str, dialect: str) -> str:
    name, _, kind = column.partition(" ")
    if kind == "id" and dialect == "postgresql":
        return f"{name} INTEGER DEFAULT NEXTVAL('{made.sequence}')"
    first, _, rest = kind.partition(" ")
    if first == "path":
        return f"{name} {_PATHS[dialect]} {rest}".strip()
    return f"{name} {_TYPES[dialect].get(kind, kind)}"


def main(arguments: list[str] | None = None) -> None:
    """Print the script of one dialect."""
    parser = argparse.ArgumentParser(prog="python -m broker.store.carbon.schema", description=main.__doc__)
    parser.add_argument("--dialect", choices=DIALECTS, required=True)
    print(script(parser.parse_args(arguments).dialect), end="")


if __name__ == "__main__":
    main()
