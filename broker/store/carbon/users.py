"""Reads users, their roles and what these may do: a few statements for many users at once.

Plain functions over a connection, as `store/sql` has them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from broker.ports.user_database import Account, Statement, StoreRules
from broker.store.carbon.tables import (
    TENANT,
    UM_DOMAIN,
    UM_HYBRID_ROLE,
    UM_HYBRID_USER_ROLE,
    UM_PERMISSION,
    UM_ROLE,
    UM_ROLE_PERMISSION,
    UM_USER,
    UM_USER_PERMISSION,
    UM_USER_ROLE,
    now,
)

PRIMARY: Final = "PRIMARY"
INTERNAL: Final = "INTERNAL"
_PREFIXES: Final = {PRIMARY: "", INTERNAL: "Internal/", "APPLICATION": "Application/"}
_ACTIONS: Final = ("ui.execute", "consume", "publish", "subscribe", "changePermission")
"""What the table of decisions asks for. The registry and other products have more."""
_GRACE: Final = timedelta(hours=24)
"""How long a password that must be changed is good."""


def load_accounts(connection: Connection, names: Sequence[str], rules: StoreRules) -> dict[str, Account]:
    """Return the users with these names, by the name asked for; those that are not there are left out."""
    rows = _rows_of_users(connection, names, rules)
    stored = {row.UM_ID: row.UM_USER_NAME for row in rows.values()}
    roles = _roles(connection, stored, rules)
    everybody = f"Internal/{rules.everyone_role}"
    of_roles = _statements_about_roles(connection, {everybody, rules.admin_role}.union(*roles.values()))
    own = _own_statements(connection, stored.values(), rules)
    accounts = {}
    for name, row in rows.items():
        memberships = frozenset({everybody, *roles[row.UM_ID]})
        relevant = {role.lower() for role in (*memberships, rules.admin_role)}
        statements = [each for role in relevant for each in of_roles.get(role, ())]
        accounts[name] = Account(
            row.UM_USER_NAME,
            row.UM_USER_PASSWORD,
            row.UM_SALT_VALUE,
            _must_change(row),
            memberships,
            frozenset([*statements, *own[rules.key(row.UM_USER_NAME)]]),
        )
    return accounts


def load_topic_roles(connection: Connection) -> list[str]:
    """Return the names of the roles of topics."""
    name = UM_HYBRID_ROLE.c.UM_ROLE_NAME
    return [
        row[0]
        for row in connection.execute(
            select(name).where(UM_HYBRID_ROLE.c.UM_TENANT_ID == TENANT, name.like(r"T\_%", escape="\\"))
        )
    ]


# Users


def _rows_of_users(connection: Connection, names: Iterable[str], rules: StoreRules) -> dict[str, Any]:
    """Return the row of each name: the one that is spelled so, otherwise one in another case, if that is ignored."""
    user = UM_USER.c
    statement = select(
        user.UM_ID,
        user.UM_USER_NAME,
        user.UM_USER_PASSWORD,
        user.UM_SALT_VALUE,
        user.UM_REQUIRE_CHANGE,
        user.UM_CHANGED_TIME,
        now(connection.dialect).label("now"),
    ).where(user.UM_TENANT_ID == TENANT)
    asked = list(dict.fromkeys(names))
    found = {row.UM_USER_NAME: row for row in connection.execute(statement.where(user.UM_USER_NAME.in_(asked)))}
    rows = {name: found[name] for name in asked if name in found}
    missing = [name for name in asked if name not in found]
    if missing and rules.case_insensitive_user_name:
        condition = func.lower(user.UM_USER_NAME).in_([name.lower() for name in missing])
        by_key = {row.UM_USER_NAME.lower(): row for row in connection.execute(statement.where(condition))}
        rows |= {name: by_key[name.lower()] for name in missing if name.lower() in by_key}
    return rows


def _must_change(row: Row[Any]) -> bool:
    if not row.UM_REQUIRE_CHANGE or str(row.UM_REQUIRE_CHANGE).lower() in ("false", "0"):
        return False
    return _time(row.now) - _time(row.UM_CHANGED_TIME) > _GRACE


def _time(value: Any) -> datetime:
    """Return a time as Python has it: SQLite tells it as a text."""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found.replace(tzinfo=None)


def same_name(name: ColumnElement[Any], names: Iterable[str], rules: StoreRules) -> ColumnElement[bool]:
    """Return the condition that a column holds one of these names of users."""
    if rules.case_insensitive_user_name:
        return func.lower(name).in_([each.lower() for each in names])
    return name.in_(list(names))


# Roles


def _roles(connection: Connection, users: Mapping[int, str], rules: StoreRules) -> dict[int, set[str]]:
    """Return the roles of each of these users, by the user's id."""
    found: dict[int, set[str]] = {user_id: set() for user_id in users}
    if rules.read_groups and users:
        member, role = UM_USER_ROLE.c, UM_ROLE.c
        joined = UM_USER_ROLE.join(
            UM_ROLE, and_(role.UM_ID == member.UM_ROLE_ID, role.UM_TENANT_ID == member.UM_TENANT_ID)
        )
        statement = select(member.UM_USER_ID, role.UM_ROLE_NAME).select_from(joined)
        for row in connection.execute(
            statement.where(member.UM_TENANT_ID == TENANT, member.UM_USER_ID.in_(list(users)))
        ):
            found[row.UM_USER_ID].add(row.UM_ROLE_NAME)
    by_name = defaultdict(set)
    for row in connection.execute(_hybrid_roles(users.values(), rules)):
        name = row.UM_ROLE_NAME
        by_name[rules.key(row.UM_USER_NAME)].add(name if "/" in name else f"Internal/{name}")
    for user_id, name in users.items():
        found[user_id] |= by_name[rules.key(name)]
    return found


def _hybrid_roles(names: Iterable[str], rules: StoreRules) -> Select[Any]:
    member, role, domain = UM_HYBRID_USER_ROLE.c, UM_HYBRID_ROLE.c, UM_DOMAIN.c
    joined = UM_HYBRID_USER_ROLE.join(
        UM_HYBRID_ROLE, and_(role.UM_ID == member.UM_ROLE_ID, role.UM_TENANT_ID == member.UM_TENANT_ID)
    ).join(UM_DOMAIN, domain.UM_DOMAIN_ID == member.UM_DOMAIN_ID)
    return (
        select(member.UM_USER_NAME, role.UM_ROLE_NAME)
        .select_from(joined)
        .where(
            member.UM_TENANT_ID == TENANT,
            domain.UM_DOMAIN_NAME == PRIMARY,
            same_name(member.UM_USER_NAME, names, rules),
        )
    )


# Permissions


def _statements_about_roles(connection: Connection, roles: Collection[str]) -> dict[str, list[Statement]]:
    """Return what is said about these roles, by their names in small letters."""
    granted, permission, domain = UM_ROLE_PERMISSION.c, UM_PERMISSION.c, UM_DOMAIN.c
    joined = UM_ROLE_PERMISSION.join(UM_PERMISSION, permission.UM_ID == granted.UM_PERMISSION_ID).join(
        UM_DOMAIN, domain.UM_DOMAIN_ID == granted.UM_DOMAIN_ID
    )
    bare = sorted({part for role in roles for part in (role.lower(), role.lower().partition("/")[2]) if part})
    statement = (
        select(
            permission.UM_RESOURCE_ID,
            permission.UM_ACTION,
            granted.UM_ROLE_NAME,
            domain.UM_DOMAIN_NAME,
            granted.UM_IS_ALLOWED,
        )
        .select_from(joined)
        .where(granted.UM_TENANT_ID == TENANT, func.lower(granted.UM_ROLE_NAME).in_(bare), _concerns_us())
    )
    found = defaultdict(list)
    for row in connection.execute(statement):
        domain_name = row.UM_DOMAIN_NAME.upper()
        role = _PREFIXES.get(domain_name, f"{domain_name}/") + row.UM_ROLE_NAME
        found[role.lower()].append(Statement(role, row.UM_RESOURCE_ID, row.UM_ACTION, bool(row.UM_IS_ALLOWED)))
    return found


def _own_statements(connection: Connection, names: Iterable[str], rules: StoreRules) -> dict[str, list[Statement]]:
    """Return what is said about users themselves, by the keys of their names."""
    granted, permission = UM_USER_PERMISSION.c, UM_PERMISSION.c
    joined = UM_USER_PERMISSION.join(UM_PERMISSION, permission.UM_ID == granted.UM_PERMISSION_ID)
    statement = (
        select(permission.UM_RESOURCE_ID, permission.UM_ACTION, granted.UM_USER_NAME, granted.UM_IS_ALLOWED)
        .select_from(joined)
        .where(granted.UM_TENANT_ID == TENANT, same_name(granted.UM_USER_NAME, names, rules), _concerns_us())
    )
    found = defaultdict(list)
    for row in connection.execute(statement):
        allowed = bool(row.UM_IS_ALLOWED)
        found[rules.key(row.UM_USER_NAME)].append(Statement("", row.UM_RESOURCE_ID, row.UM_ACTION, allowed))
    return found


def _concerns_us() -> ColumnElement[bool]:
    """Return the condition that a permission is about queues, topics or administration, or about all there is."""
    resource = UM_PERMISSION.c.UM_RESOURCE_ID
    return and_(
        UM_PERMISSION.c.UM_ACTION.in_(_ACTIONS),
        or_(
            *(resource.like(f"{start}%") for start in ("event", "/event", "permission", "/permission")),
            resource.in_(["/", ""]),
        ),
    )
