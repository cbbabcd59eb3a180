"""Makes the administrator of `user-mgt.xml`, and the roles that it names, where they are missing (AddAdmin)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from broker.ports.user_database import StoreRules
from broker.store.carbon.tables import TENANT, UM_HYBRID_ROLE, UM_ROLE, UM_SYSTEM_ROLE, UM_USER, UM_USER_ROLE, now
from broker.store.carbon.users import load_accounts, same_name
from broker.store.carbon.writing import id_of, writing


@dataclass(frozen=True, slots=True, repr=False)
class NewPassword:
    """What is stored of a password: both columns."""

    value: str
    salt: str


def add_administrator(connection: Connection, rules: StoreRules, password: NewPassword) -> list[str]:
    """Make what is missing of user, role and `everyone`; return a line for each that was made."""
    with writing(connection):
        made = []
        role_id, is_new_role = id_of(
            connection, UM_ROLE, UM_ROLE.c.UM_ID, {"UM_ROLE_NAME": rules.admin_role, "UM_TENANT_ID": TENANT}
        )
        if is_new_role:
            made.append(f"role '{rules.admin_role}'")
        is_new_user = rules.admin_user not in load_accounts(connection, [rules.admin_user], rules)
        if is_new_user:
            insert_user(connection, rules.admin_user, password)
            made.append(f"user '{rules.admin_user}'")
        if is_new_role or is_new_user:
            join_role(connection, rules.admin_user, role_id, rules)
        _, is_new = id_of(
            connection,
            UM_HYBRID_ROLE,
            UM_HYBRID_ROLE.c.UM_ID,
            {"UM_ROLE_NAME": rules.everyone_role, "UM_TENANT_ID": TENANT},
        )
        if is_new:
            made.append(f"role 'Internal/{rules.everyone_role}'")
        return made


def has_started_before(connection: Connection) -> bool:
    """Has a server of WSO2's, or this one, made its first rows?"""
    roles = select(UM_SYSTEM_ROLE.c.UM_ID).where(UM_SYSTEM_ROLE.c.UM_TENANT_ID == TENANT)
    return connection.execute(roles.limit(1)).first() is not None


def insert_user(connection: Connection, name: str, password: NewPassword) -> None:
    """Add a user, who is in no role."""
    connection.execute(
        insert(UM_USER).values(
            UM_USER_NAME=name,
            UM_USER_PASSWORD=password.value,
            UM_SALT_VALUE=password.salt,
            UM_REQUIRE_CHANGE=False,
            UM_CHANGED_TIME=now(connection.dialect),
            UM_TENANT_ID=TENANT,
        )
    )


def join_role(connection: Connection, name: str, role_id: int, rules: StoreRules) -> None:
    """Make a user a member of a role of the store, if it is none."""
    user = UM_USER.c
    same = same_name(user.UM_USER_NAME, [name], rules)
    user_id = connection.scalar(select(func.min(user.UM_ID)).where(same, user.UM_TENANT_ID == TENANT))
    member = UM_USER_ROLE.c
    values = {"UM_ROLE_ID": role_id, "UM_USER_ID": user_id, "UM_TENANT_ID": TENANT}
    id_of(connection, UM_USER_ROLE, member.UM_ROLE_ID, values)
