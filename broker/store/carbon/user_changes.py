"""What an administrator changes about users and roles in WSO2's tables.

Plain functions over a connection; what cannot be done raises `AdministrationError`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from sqlalchemy import Connection, and_, column, delete, func, insert, inspect, select, table, update
from sqlalchemy.sql.elements import ColumnElement, quoted_name

from broker.errors import AdministrationError
from broker.ports.user_database import Account, StoreRules
from broker.store.carbon.administrator import NewPassword, insert_user, join_role
from broker.store.carbon.grants import permit_now, withdraw
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
    equal,
    now,
)
from broker.store.carbon.users import INTERNAL, PRIMARY, load_accounts, same_name
from broker.store.carbon.writing import domain_id, find_id, id_of, writing

MOST_ROWS: Final = 10_000
_ATTRIBUTES: Final = table(
    quoted_name("UM_USER_ATTRIBUTE", quote=False),
    column(quoted_name("UM_USER_ID", quote=False)),
    column(quoted_name("UM_TENANT_ID", quote=False)),
)


# Users


def list_users(connection: Connection, rules: StoreRules) -> list[dict[str, Any]]:
    """Return name and roles of each user, of 10,000 at most."""
    user = UM_USER.c
    names = [
        row[0]
        for row in connection.execute(
            select(user.UM_USER_NAME).where(user.UM_TENANT_ID == TENANT).order_by(user.UM_USER_NAME).limit(MOST_ROWS)
        )
    ]
    accounts: dict[str, Account] = {}
    for start in range(0, len(names), 100):
        accounts |= load_accounts(connection, names[start : start + 100], rules)
    return [{"name": name, "roles": sorted(accounts[name].roles)} for name in names if name in accounts]


def add_user(connection: Connection, name: str, password: NewPassword, rules: StoreRules) -> None:
    """Add a user, who is in no role but that of everybody."""
    with writing(connection):
        if name in load_accounts(connection, [name], rules):
            raise AdministrationError(f"there is a user '{name}' already")
        insert_user(connection, name, password)


def change_password(connection: Connection, name: str, password: NewPassword, rules: StoreRules) -> None:
    """Give a user another password, which need not be changed again."""
    with writing(connection):
        connection.execute(
            update(UM_USER)
            .where(equal(UM_USER.c.UM_ID, _user_id(connection, name, rules)), UM_USER.c.UM_TENANT_ID == TENANT)
            .values(
                UM_USER_PASSWORD=password.value,
                UM_SALT_VALUE=password.salt,
                UM_REQUIRE_CHANGE=False,
                UM_CHANGED_TIME=now(connection.dialect),
            )
        )


def delete_user(connection: Connection, name: str, rules: StoreRules) -> None:
    """Delete a user with everything that is kept under its id or its name, so that nobody inherits it."""
    with writing(connection):
        user_id = _user_id(connection, name, rules)
        if inspect(connection).has_table("UM_USER_ATTRIBUTE") or inspect(connection).has_table("um_user_attribute"):
            _delete(connection, _ATTRIBUTES, equal(_ATTRIBUTES.c.UM_USER_ID, user_id))
        _delete(connection, UM_USER_ROLE, equal(UM_USER_ROLE.c.UM_USER_ID, user_id))
        for each in (UM_HYBRID_USER_ROLE, UM_USER_PERMISSION):
            _delete(connection, each, same_name(each.c.UM_USER_NAME, [name], rules))
        _delete(connection, UM_USER, equal(UM_USER.c.UM_ID, user_id))


def _user_id(connection: Connection, name: str, rules: StoreRules) -> int:
    user = UM_USER.c
    found = find_id(connection, user.UM_ID, same_name(user.UM_USER_NAME, [name], rules), user.UM_TENANT_ID == TENANT)
    if found is None:
        raise AdministrationError(f"there is no user '{name}'")
    return found


# Roles


def list_roles(connection: Connection) -> list[dict[str, Any]]:
    """Return the roles with what they may do, as `action resource`; a denial has `not` in front."""
    granted, permission, domain = UM_ROLE_PERMISSION.c, UM_PERMISSION.c, UM_DOMAIN.c
    names = [
        row[0] for row in connection.execute(select(UM_ROLE.c.UM_ROLE_NAME).where(UM_ROLE.c.UM_TENANT_ID == TENANT))
    ]
    hybrid = select(UM_HYBRID_ROLE.c.UM_ROLE_NAME).where(UM_HYBRID_ROLE.c.UM_TENANT_ID == TENANT)
    names += [name if "/" in name else f"Internal/{name}" for (name,) in connection.execute(hybrid)]
    joined = UM_ROLE_PERMISSION.join(UM_PERMISSION, permission.UM_ID == granted.UM_PERMISSION_ID).join(
        UM_DOMAIN, domain.UM_DOMAIN_ID == granted.UM_DOMAIN_ID
    )
    rows = connection.execute(
        select(granted.UM_ROLE_NAME, domain.UM_DOMAIN_NAME, permission.UM_ACTION, permission.UM_RESOURCE_ID)
        .add_columns(granted.UM_IS_ALLOWED)
        .select_from(joined)
        .where(granted.UM_TENANT_ID == TENANT)
        .limit(MOST_ROWS)
    )
    may = defaultdict(list)
    for role, of_domain, action, resource, is_allowed in rows:
        name = role if of_domain == PRIMARY else f"{of_domain.capitalize()}/{role}"
        may[name].append(f"{'' if is_allowed else 'not '}{action} {resource}")
    return [{"name": name, "may": sorted(may[name])} for name in sorted(set(names))]


def add_role(connection: Connection, role: str) -> None:
    """Add a role of the store, or with `Internal/` in front one beside it."""
    with writing(connection):
        of_roles, name = _table_of(role)
        _, is_new = id_of(connection, of_roles, of_roles.c.UM_ID, {"UM_ROLE_NAME": name, "UM_TENANT_ID": TENANT})
        if not is_new:
            raise AdministrationError(f"there is a role '{role}' already")


def delete_role(connection: Connection, role: str) -> None:
    """Delete a role with its members, and with what it may do."""
    with writing(connection):
        role_id = _role_id(connection, role)
        of_roles, name = _table_of(role)
        members = UM_USER_ROLE if of_roles is UM_ROLE else UM_HYBRID_USER_ROLE
        granted = UM_ROLE_PERMISSION.c
        of_domain = domain_id(connection, PRIMARY if of_roles is UM_ROLE else INTERNAL)
        _delete(connection, members, equal(members.c.UM_ROLE_ID, role_id))
        _delete(
            connection,
            UM_ROLE_PERMISSION,
            and_(equal(granted.UM_ROLE_NAME, name), equal(granted.UM_DOMAIN_ID, of_domain)),
        )
        _delete(connection, of_roles, equal(of_roles.c.UM_ID, role_id))


def join(connection: Connection, user: str, role: str, rules: StoreRules) -> None:
    """Make a user a member of a role, if it is none."""
    with writing(connection):
        role_id, stored = _role_id(connection, role), _stored_name(connection, user, rules)
        if _table_of(role)[0] is UM_ROLE:
            join_role(connection, stored, role_id, rules)
            return
        values = {
            "UM_USER_NAME": stored,
            "UM_ROLE_ID": role_id,
            "UM_TENANT_ID": TENANT,
            "UM_DOMAIN_ID": domain_id(connection, PRIMARY),
        }
        member = UM_HYBRID_USER_ROLE.c
        conditions = [equal(member[name], value) for name, value in values.items()]
        if connection.scalar(select(func.count()).select_from(UM_HYBRID_USER_ROLE).where(*conditions)) == 0:
            connection.execute(insert(UM_HYBRID_USER_ROLE).values(values))


def leave(connection: Connection, user: str, role: str, rules: StoreRules) -> None:
    """Take a user out of a role."""
    with writing(connection):
        role_id = _role_id(connection, role)
        if _table_of(role)[0] is UM_ROLE:
            member = UM_USER_ROLE.c
            user_id = _user_id(connection, user, rules)
            _delete(
                connection, UM_USER_ROLE, and_(equal(member.UM_ROLE_ID, role_id), equal(member.UM_USER_ID, user_id))
            )
        else:
            hybrid = UM_HYBRID_USER_ROLE.c
            same = same_name(hybrid.UM_USER_NAME, [user], rules)
            _delete(connection, UM_HYBRID_USER_ROLE, and_(equal(hybrid.UM_ROLE_ID, role_id), same))


def permit(connection: Connection, role: str, resource: str, action: str) -> None:
    """Let a role do something."""
    with writing(connection):
        _role_id(connection, role)
        of_roles, name = _table_of(role)
        permit_now(connection, name, PRIMARY if of_roles is UM_ROLE else INTERNAL, [resource], [action])


def take_back(connection: Connection, role: str, resource: str, action: str) -> None:
    """Let a role do something no more, and do not deny it either."""
    with writing(connection):
        of_roles, name = _table_of(role)
        withdraw(connection, name, PRIMARY if of_roles is UM_ROLE else INTERNAL, resource, action)


def _table_of(role: str) -> tuple[Any, str]:
    """Return the table that a role is in, and its name there."""
    domain, slash, name = role.partition("/")
    if not slash:
        return UM_ROLE, role
    if domain.lower() != "internal":
        raise AdministrationError(f"there is no user store '{domain}' here: roles are NAME or Internal/NAME")
    return UM_HYBRID_ROLE, name


def _role_id(connection: Connection, role: str) -> int:
    of_roles, name = _table_of(role)
    found = find_id(
        connection, of_roles.c.UM_ID, equal(of_roles.c.UM_ROLE_NAME, name), of_roles.c.UM_TENANT_ID == TENANT
    )
    if found is None:
        raise AdministrationError(f"there is no role '{role}'")
    return found


def _stored_name(connection: Connection, name: str, rules: StoreRules) -> str:
    found = load_accounts(connection, [name], rules).get(name)
    if found is None:
        raise AdministrationError(f"there is no user '{name}'")
    return found.name


def _delete(connection: Connection, of_rows: Any, condition: ColumnElement[bool]) -> None:
    connection.execute(delete(of_rows).where(condition, of_rows.c.UM_TENANT_ID == TENANT))
