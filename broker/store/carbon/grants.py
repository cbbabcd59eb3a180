"""Writes roles and permissions: what the creator of a queue or a topic gets, and what goes with a queue.

Plain functions over a connection. Everything here may be done twice with the effect of once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from broker.ports.user_database import StoreRules
from broker.store.carbon.tables import (
    TENANT,
    UM_HYBRID_ROLE,
    UM_HYBRID_USER_ROLE,
    UM_PERMISSION,
    UM_ROLE_PERMISSION,
    UM_USER_PERMISSION,
    equal,
)
from broker.store.carbon.users import INTERNAL, PRIMARY, load_accounts
from broker.store.carbon.writing import domain_id, find_id, id_of, writing


@dataclass(frozen=True, slots=True)
class NewRole:
    """A role of its own for something new: `name` has no domain, and its resources are of that thing alone."""

    name: str
    member: str
    resources: Sequence[str]
    actions: Sequence[str]


def add_role(connection: Connection, made: NewRole, rules: StoreRules) -> bool:
    """Make a role with its one member, who may do all of this; return False when somebody else has the role already.

    Different queues can have the same name of a role: the second one's creator gets no rights by it.
    """
    with writing(connection):
        role_id, is_new = id_of(
            connection, UM_HYBRID_ROLE, UM_HYBRID_ROLE.c.UM_ID, {"UM_ROLE_NAME": made.name, "UM_TENANT_ID": TENANT}
        )
        if not is_new:
            return _is_done(connection, made, rules)
        connection.execute(
            insert(UM_HYBRID_USER_ROLE).values(
                UM_USER_NAME=made.member,
                UM_ROLE_ID=role_id,
                UM_TENANT_ID=TENANT,
                UM_DOMAIN_ID=domain_id(connection, PRIMARY),
            )
        )
        permit_now(connection, made.name, INTERNAL, made.resources, made.actions)
        return True


def permit_roles(
    connection: Connection, roles: Iterable[str], resources: Sequence[str], actions: Sequence[str]
) -> None:
    """Let roles do this. They have their domain in front, as those of an `Account`."""
    with writing(connection):
        for role in roles:
            domain, slash, name = role.partition("/")
            permit_now(connection, name if slash else role, domain.upper() if slash else PRIMARY, resources, actions)


def forget_resource(connection: Connection, resource: str, role: str) -> None:
    """Remove what anybody may do with a resource, and the role that was made for it alone."""
    with writing(connection):
        granted = UM_ROLE_PERMISSION.c
        of_resource = select(UM_PERMISSION.c.UM_ID).where(
            equal(UM_PERMISSION.c.UM_RESOURCE_ID, resource), UM_PERMISSION.c.UM_TENANT_ID == TENANT
        )
        ids = [row[0] for row in connection.execute(of_resource)]
        of_role = select(granted.UM_ID).where(granted.UM_PERMISSION_ID.in_(ids), equal(granted.UM_ROLE_NAME, role))
        is_its_role = connection.execute(of_role.limit(1)).first() is not None
        if ids:
            connection.execute(
                delete(UM_ROLE_PERMISSION).where(granted.UM_PERMISSION_ID.in_(ids), granted.UM_TENANT_ID == TENANT)
            )
            connection.execute(
                delete(UM_USER_PERMISSION).where(
                    UM_USER_PERMISSION.c.UM_PERMISSION_ID.in_(ids), UM_USER_PERMISSION.c.UM_TENANT_ID == TENANT
                )
            )
        if is_its_role and not _has_more(connection, role):
            _remove_role(connection, role)


def _is_done(connection: Connection, made: NewRole, rules: StoreRules) -> bool:
    """Is the role that of this very thing, and this user in it?"""
    account = load_accounts(connection, [made.member], rules).get(made.member)
    if account is None or f"Internal/{made.name}" not in account.roles:
        return False
    return any(each.resource in made.resources and each.is_allowed for each in account.statements)


def permit_now(
    connection: Connection, role: str, domain: str, resources: Sequence[str], actions: Sequence[str]
) -> None:
    """Let a role of a domain do all of this: one row for each, instead of what it says now."""
    granted, permission = UM_ROLE_PERMISSION.c, UM_PERMISSION.c
    of_domain = domain_id(connection, domain)
    for resource in resources:
        for action in actions:
            values = {"UM_RESOURCE_ID": resource, "UM_ACTION": action, "UM_TENANT_ID": TENANT}
            permission_id, _ = id_of(connection, UM_PERMISSION, permission.UM_ID, values)
            connection.execute(
                delete(UM_ROLE_PERMISSION).where(
                    equal(granted.UM_PERMISSION_ID, permission_id),
                    equal(granted.UM_ROLE_NAME, role),
                    equal(granted.UM_DOMAIN_ID, of_domain),
                    granted.UM_TENANT_ID == TENANT,
                )
            )
            connection.execute(
                insert(UM_ROLE_PERMISSION).values(
                    UM_PERMISSION_ID=permission_id,
                    UM_ROLE_NAME=role,
                    UM_IS_ALLOWED=1,
                    UM_TENANT_ID=TENANT,
                    UM_DOMAIN_ID=of_domain,
                )
            )


def withdraw(connection: Connection, role: str, domain: str, resource: str, action: str) -> None:
    """Remove what is said about a role of a domain and one action."""
    granted, permission = UM_ROLE_PERMISSION.c, UM_PERMISSION.c
    ids = select(permission.UM_ID).where(
        equal(permission.UM_RESOURCE_ID, resource),
        equal(permission.UM_ACTION, action),
        permission.UM_TENANT_ID == TENANT,
    )
    connection.execute(
        delete(UM_ROLE_PERMISSION).where(
            granted.UM_PERMISSION_ID.in_([row[0] for row in connection.execute(ids)]),
            equal(granted.UM_ROLE_NAME, role),
            equal(granted.UM_DOMAIN_ID, domain_id(connection, domain)),
            granted.UM_TENANT_ID == TENANT,
        )
    )


def _has_more(connection: Connection, role: str) -> bool:
    """Is anything else permitted to a role than what was removed?"""
    granted = UM_ROLE_PERMISSION.c
    conditions = equal(granted.UM_ROLE_NAME, role), granted.UM_TENANT_ID == TENANT, granted.UM_IS_ALLOWED == 1
    return connection.execute(select(granted.UM_ID).where(*conditions).limit(1)).first() is not None


def _remove_role(connection: Connection, role: str) -> None:
    column = UM_HYBRID_ROLE.c
    role_id = find_id(connection, column.UM_ID, column.UM_ROLE_NAME.in_([role]), column.UM_TENANT_ID == TENANT)
    if role_id is None:
        return
    member, granted = UM_HYBRID_USER_ROLE.c, UM_ROLE_PERMISSION.c
    connection.execute(
        delete(UM_HYBRID_USER_ROLE).where(equal(member.UM_ROLE_ID, role_id), member.UM_TENANT_ID == TENANT)
    )
    connection.execute(
        delete(UM_ROLE_PERMISSION).where(
            equal(granted.UM_ROLE_NAME, role),
            granted.UM_TENANT_ID == TENANT,
            equal(granted.UM_DOMAIN_ID, domain_id(connection, INTERNAL)),
        )
    )
    connection.execute(delete(UM_HYBRID_ROLE).where(equal(column.UM_ID, role_id), column.UM_TENANT_ID == TENANT))
