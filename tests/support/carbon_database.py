"""A database with WSO2's tables of the kernel 4.4, written by hand, and people in it.

Its script is not the broker's own: what the broker is told to use is somebody else's.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from broker.config.datasources import PoolConfiguration
from tests.support.databases import DatabaseServer

_TABLES = """
CREATE TABLE REG_PATH (REG_PATH_ID {id}, REG_PATH_VALUE VARCHAR({path}) NOT NULL, REG_PATH_PARENT_ID INTEGER,
  REG_TENANT_ID INTEGER DEFAULT 0, {key});
CREATE TABLE REG_CONTENT (REG_CONTENT_ID {id}, REG_CONTENT_DATA {blob}, REG_TENANT_ID INTEGER DEFAULT 0, {key});
CREATE TABLE REG_RESOURCE (REG_PATH_ID INTEGER NOT NULL, REG_NAME VARCHAR(256), REG_VERSION {id},
  REG_MEDIA_TYPE VARCHAR(500), REG_CREATOR VARCHAR(31) NOT NULL, REG_CREATED_TIME {time}, REG_LAST_UPDATOR VARCHAR(31),
  REG_LAST_UPDATED_TIME {time}, REG_DESCRIPTION VARCHAR(1000), REG_CONTENT_ID INTEGER,
  REG_TENANT_ID INTEGER DEFAULT 0, REG_UUID VARCHAR(100) NOT NULL, {key},
  FOREIGN KEY (REG_PATH_ID, REG_TENANT_ID) REFERENCES REG_PATH (REG_PATH_ID, REG_TENANT_ID),
  FOREIGN KEY (REG_CONTENT_ID, REG_TENANT_ID) REFERENCES REG_CONTENT (REG_CONTENT_ID, REG_TENANT_ID));
CREATE TABLE REG_PROPERTY (REG_ID {id}, REG_NAME VARCHAR(100) NOT NULL, REG_VALUE VARCHAR(1000),
  REG_TENANT_ID INTEGER DEFAULT 0, {key});
CREATE TABLE REG_RESOURCE_PROPERTY (REG_PROPERTY_ID INTEGER NOT NULL, REG_VERSION INTEGER, REG_PATH_ID INTEGER,
  REG_RESOURCE_NAME VARCHAR(256), REG_TENANT_ID INTEGER DEFAULT 0,
  FOREIGN KEY (REG_PROPERTY_ID, REG_TENANT_ID) REFERENCES REG_PROPERTY (REG_ID, REG_TENANT_ID),
  FOREIGN KEY (REG_PATH_ID, REG_TENANT_ID) REFERENCES REG_PATH (REG_PATH_ID, REG_TENANT_ID));
CREATE TABLE REG_LOG (REG_LOG_ID {id}, REG_PATH VARCHAR({path}), REG_USER_ID VARCHAR(31) NOT NULL,
  REG_LOGGED_TIME {time}, REG_ACTION INTEGER NOT NULL, REG_ACTION_DATA VARCHAR(500),
  REG_TENANT_ID INTEGER DEFAULT 0, {key});
CREATE TABLE UM_DOMAIN (UM_DOMAIN_ID {id}, UM_DOMAIN_NAME VARCHAR(255), UM_TENANT_ID INTEGER DEFAULT 0, {key});
CREATE TABLE UM_USER (UM_ID {id}, UM_USER_NAME VARCHAR(255) NOT NULL, UM_USER_PASSWORD VARCHAR(255) NOT NULL,
  UM_SALT_VALUE VARCHAR(31), UM_REQUIRE_CHANGE BOOLEAN DEFAULT FALSE, UM_CHANGED_TIME {time},
  UM_TENANT_ID INTEGER DEFAULT 0, {key}, UNIQUE (UM_USER_NAME, UM_TENANT_ID));
CREATE TABLE UM_USER_ATTRIBUTE (UM_ID {id}, UM_ATTR_NAME VARCHAR(255) NOT NULL, UM_ATTR_VALUE VARCHAR(1024),
  UM_PROFILE_ID VARCHAR(255), UM_USER_ID INTEGER, UM_TENANT_ID INTEGER DEFAULT 0, {key},
  FOREIGN KEY (UM_USER_ID, UM_TENANT_ID) REFERENCES UM_USER (UM_ID, UM_TENANT_ID));
CREATE TABLE UM_ROLE (UM_ID {id}, UM_ROLE_NAME VARCHAR(255) NOT NULL, UM_TENANT_ID INTEGER DEFAULT 0,
  UM_SHARED_ROLE BOOLEAN DEFAULT FALSE, {key}, UNIQUE (UM_ROLE_NAME, UM_TENANT_ID));
CREATE TABLE UM_USER_ROLE (UM_ID {id}, UM_ROLE_ID INTEGER NOT NULL, UM_USER_ID INTEGER NOT NULL,
  UM_TENANT_ID INTEGER DEFAULT 0, {key}, UNIQUE (UM_USER_ID, UM_ROLE_ID, UM_TENANT_ID),
  FOREIGN KEY (UM_ROLE_ID, UM_TENANT_ID) REFERENCES UM_ROLE (UM_ID, UM_TENANT_ID),
  FOREIGN KEY (UM_USER_ID, UM_TENANT_ID) REFERENCES UM_USER (UM_ID, UM_TENANT_ID));
CREATE TABLE UM_HYBRID_ROLE (UM_ID {id}, UM_ROLE_NAME VARCHAR(255), UM_TENANT_ID INTEGER DEFAULT 0, {key});
CREATE TABLE UM_HYBRID_USER_ROLE (UM_ID {id}, UM_USER_NAME VARCHAR(255), UM_ROLE_ID INTEGER NOT NULL,
  UM_TENANT_ID INTEGER DEFAULT 0, UM_DOMAIN_ID INTEGER, {key},
  UNIQUE (UM_USER_NAME, UM_ROLE_ID, UM_TENANT_ID, UM_DOMAIN_ID),
  FOREIGN KEY (UM_ROLE_ID, UM_TENANT_ID) REFERENCES UM_HYBRID_ROLE (UM_ID, UM_TENANT_ID) ON DELETE CASCADE,
  FOREIGN KEY (UM_DOMAIN_ID, UM_TENANT_ID) REFERENCES UM_DOMAIN (UM_DOMAIN_ID, UM_TENANT_ID) ON DELETE CASCADE);
CREATE TABLE UM_PERMISSION (UM_ID {id}, UM_RESOURCE_ID VARCHAR(255) NOT NULL, UM_ACTION VARCHAR(255) NOT NULL,
  UM_TENANT_ID INTEGER DEFAULT 0, UM_MODULE_ID INTEGER DEFAULT 0, {key},
  UNIQUE (UM_RESOURCE_ID, UM_ACTION, UM_TENANT_ID));
CREATE TABLE UM_ROLE_PERMISSION (UM_ID {id}, UM_PERMISSION_ID INTEGER NOT NULL, UM_ROLE_NAME VARCHAR(255) NOT NULL,
  UM_IS_ALLOWED SMALLINT NOT NULL, UM_TENANT_ID INTEGER DEFAULT 0, UM_DOMAIN_ID INTEGER, {key},
  FOREIGN KEY (UM_PERMISSION_ID, UM_TENANT_ID) REFERENCES UM_PERMISSION (UM_ID, UM_TENANT_ID) ON DELETE CASCADE,
  FOREIGN KEY (UM_DOMAIN_ID, UM_TENANT_ID) REFERENCES UM_DOMAIN (UM_DOMAIN_ID, UM_TENANT_ID) ON DELETE CASCADE);
CREATE TABLE UM_USER_PERMISSION (UM_ID {id}, UM_PERMISSION_ID INTEGER NOT NULL, UM_USER_NAME VARCHAR(255) NOT NULL,
  UM_IS_ALLOWED SMALLINT NOT NULL, UM_TENANT_ID INTEGER DEFAULT 0, {key},
  FOREIGN KEY (UM_PERMISSION_ID, UM_TENANT_ID) REFERENCES UM_PERMISSION (UM_ID, UM_TENANT_ID) ON DELETE CASCADE);
CREATE TABLE UM_SYSTEM_ROLE (UM_ID {id}, UM_ROLE_NAME VARCHAR(255), UM_TENANT_ID INTEGER DEFAULT 0, {key});
"""
_KINDS = {
    "mariadb": {
        "id": "INTEGER NOT NULL AUTO_INCREMENT",
        "time": "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP",
        "blob": "LONGBLOB",
        "path": "750",
    },
    "postgresql": {"time": "TIMESTAMP NOT NULL", "blob": "BYTEA", "path": "2000"},
    "sqlite": {"id": "INTEGER PRIMARY KEY", "time": "TIMESTAMP NOT NULL", "blob": "BLOB", "path": "2000"},
}
T = -1234
DOMAINS = ("PRIMARY", "SYSTEM", "INTERNAL", "APPLICATION", "WORKFLOW")
SALT = "AAECAwQFBgcICQoLDA0ODw=="


def tables(kind: str) -> str:
    """Return the statements that make the tables."""
    made = []
    for statement in _TABLES.split(";\n"):
        name = re.search(r"CREATE TABLE (\w+)", statement)
        column = re.search(r"(\w+) \{id\}", statement)
        if name is None:
            continue
        parts = dict(_KINDS[kind])
        if kind == "postgresql":
            made.append(f"CREATE SEQUENCE {name[1]}_PK_SEQ;")
            parts["id"] = f"INTEGER DEFAULT NEXTVAL('{name[1]}_PK_SEQ')"
        tenant = "REG_TENANT_ID" if name[1].startswith("REG") else "UM_TENANT_ID"
        word = "UNIQUE" if kind == "sqlite" else "PRIMARY KEY"
        parts["key"] = f"{word} ({column[1] if column else ''}, {tenant})"
        made.append(f"{statement.format(**parts).strip()};")
    return "\n".join(made)


def stored(password: str, salt: str = SALT) -> str:
    """Return what the column of a salted SHA-256 holds."""
    return base64.b64encode(hashlib.sha256((password + salt).encode()).digest()).decode()


class People:
    """Rows of users, roles and permissions, as statements."""

    def __init__(self) -> None:
        self.statements: list[str] = [
            f"INSERT INTO UM_DOMAIN (UM_DOMAIN_NAME, UM_TENANT_ID) VALUES ('{name}', {T})" for name in DOMAINS
        ]
        self._roles: set[str] = set()

    def user(
        self, name: str, password: str, *roles: str, require_change: str = "FALSE", changed: str = "2020-01-01 00:00:00"
    ) -> People:
        """Add a user who is in these roles: `sales` of the store, `Internal/Q_orders` a hybrid one."""
        self.statements.append(
            "INSERT INTO UM_USER (UM_USER_NAME, UM_USER_PASSWORD, UM_SALT_VALUE, UM_REQUIRE_CHANGE, UM_CHANGED_TIME,"
            f" UM_TENANT_ID) VALUES ('{name}', '{stored(password)}', '{SALT}', {require_change}, '{changed}', {T})"
        )
        for role in roles:
            self.role(role)
            kind, _, bare = role.rpartition("/")
            if kind:
                self.statements.append(
                    "INSERT INTO UM_HYBRID_USER_ROLE (UM_USER_NAME, UM_ROLE_ID, UM_TENANT_ID, UM_DOMAIN_ID)"
                    f" SELECT '{name}', r.UM_ID, {T}, d.UM_DOMAIN_ID FROM UM_HYBRID_ROLE r, UM_DOMAIN d"
                    f" WHERE r.UM_ROLE_NAME = '{bare}' AND d.UM_DOMAIN_NAME = 'PRIMARY'"
                )
            else:
                self.statements.append(
                    "INSERT INTO UM_USER_ROLE (UM_ROLE_ID, UM_USER_ID, UM_TENANT_ID)"
                    f" SELECT r.UM_ID, u.UM_ID, {T} FROM UM_ROLE r, UM_USER u"
                    f" WHERE r.UM_ROLE_NAME = '{bare}' AND u.UM_USER_NAME = '{name}'"
                )
        return self

    def role(self, role: str) -> People:
        """Add a role unless it is there."""
        if role not in self._roles:
            self._roles.add(role)
            kind, _, bare = role.rpartition("/")
            table = "UM_HYBRID_ROLE" if kind else "UM_ROLE"
            self.statements.append(f"INSERT INTO {table} (UM_ROLE_NAME, UM_TENANT_ID) VALUES ('{bare}', {T})")
        return self

    def permit(self, role: str, resource: str, *actions: str, allowed: int = 1) -> People:
        """Say that a role may do this, or with `allowed` 0 that it may not."""
        kind, _, bare = role.rpartition("/")
        domain = "INTERNAL" if kind else "PRIMARY"
        for action in actions:
            self._permission(resource, action)
            self.statements.append(
                "INSERT INTO UM_ROLE_PERMISSION (UM_PERMISSION_ID, UM_ROLE_NAME, UM_IS_ALLOWED, UM_TENANT_ID,"
                f" UM_DOMAIN_ID) SELECT p.UM_ID, '{bare}', {allowed}, {T}, d.UM_DOMAIN_ID FROM UM_PERMISSION p,"
                f" UM_DOMAIN d WHERE p.UM_RESOURCE_ID = '{resource}' AND p.UM_ACTION = '{action}'"
                f" AND d.UM_DOMAIN_NAME = '{domain}'"
            )
        return self

    def permit_user(self, name: str, resource: str, action: str, allowed: int = 1) -> People:
        """Say it of one user."""
        self._permission(resource, action)
        self.statements.append(
            "INSERT INTO UM_USER_PERMISSION (UM_PERMISSION_ID, UM_USER_NAME, UM_IS_ALLOWED, UM_TENANT_ID)"
            f" SELECT p.UM_ID, '{name}', {allowed}, {T} FROM UM_PERMISSION p"
            f" WHERE p.UM_RESOURCE_ID = '{resource}' AND p.UM_ACTION = '{action}'"
        )
        return self

    def _permission(self, resource: str, action: str) -> None:
        self.statements.append(
            f"INSERT INTO UM_PERMISSION (UM_RESOURCE_ID, UM_ACTION, UM_TENANT_ID) SELECT '{resource}', '{action}', {T}"
            f" FROM UM_DOMAIN WHERE UM_DOMAIN_NAME = 'PRIMARY' AND NOT EXISTS (SELECT 1 FROM UM_PERMISSION p"
            f" WHERE p.UM_RESOURCE_ID = '{resource}' AND p.UM_ACTION = '{action}')"
        )

    def __str__(self) -> str:
        return ";\n".join([*self.statements, ""])


class SqliteCarbon:
    """A file with the tables."""

    kind = "sqlite"

    def __init__(self, folder: Path, script: str = "") -> None:
        """`script` makes the tables instead of the one written by hand."""
        self._path = folder / "um.db"
        self.run(script or tables("sqlite"))

    @property
    def url(self) -> str:
        return f"jdbc:sqlite:{self._path}"

    @property
    def datasource(self) -> PoolConfiguration:
        return PoolConfiguration(url=self.url)

    def run(self, statements: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.executescript(statements)

    def rows(self, statement: str) -> list[tuple[str, ...]]:
        """Return rows, values as texts."""
        with closing(sqlite3.connect(self._path)) as connection:
            return [
                tuple("" if value is None else str(value) for value in row) for row in connection.execute(statement)
            ]

    def dump(self) -> list[str]:
        """Everything there is."""
        with closing(sqlite3.connect(self._path)) as connection:
            return list(connection.iterdump())

    def close(self) -> None:
        """The folder goes with the test."""


class ServerCarbon:
    """A database of a server with the tables, which the broker's user owns."""

    def __init__(self, server: DatabaseServer, charset: str | None = None, script: str = "") -> None:
        self._server = server
        self.kind = server.kind
        self._name = server.create_database(charset)
        self.run(script or tables(server.kind))

    @property
    def url(self) -> str:
        return self._server.jdbc_url(self._name)

    @property
    def datasource(self) -> PoolConfiguration:
        return PoolConfiguration(url=self.url)

    def run(self, statements: str) -> None:
        as_broker = "SET ROLE broker;\n" if self.kind == "postgresql" else ""
        self._server.sql(as_broker + statements, self._name)

    def rows(self, statement: str) -> list[tuple[str, ...]]:
        lines = self._server.sql(statement, self._name).splitlines()
        return [tuple("" if value == "NULL" else value for value in line.split("\t")) for line in lines]

    def dump(self) -> list[str]:
        kept: Sequence[str] = self._server.dump(self._name).splitlines()
        return [line for line in kept if not line.startswith(("-- Dump completed", "\\restrict", "\\unrestrict"))]

    def close(self) -> None:
        self._server.drop_database(self._name)


Carbon = SqliteCarbon | ServerCarbon


class Kept:
    """Databases that tests use one after the other, each time without rows: they go with their server."""

    def __init__(self) -> None:
        self._made: dict[tuple[DatabaseServer, str], ServerCarbon] = {}

    def carbon(self, server: DatabaseServer, charset: str) -> ServerCarbon:
        """Return a database with the tables and nothing in them."""
        found = self._made.get((server, charset))
        if found is None:
            found = self._made[server, charset] = ServerCarbon(server, charset or None)
            return found
        names = re.findall(r"CREATE TABLE (\w+)", _TABLES)
        found.run("".join(f"DELETE FROM {name};\n" for name in reversed(names)))
        return found


KEPT = Kept()


def empty_carbon(kind: str, server: DatabaseServer | None, folder: Path) -> Carbon:
    """Return a database of a kind such as `mariadb-latin1`, on its server or in a folder."""
    if server is None:
        return SqliteCarbon(folder)
    return KEPT.carbon(server, kind.partition("-")[2])
