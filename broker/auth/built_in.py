"""The users a node has without anybody having made them: the administrator of `user-mgt.xml`, and guest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.auth.password_hash import Public, new_argon2id
from broker.auth.users import User
from broker.config.user_mgt import GUEST_PASSWORD, GUEST_USER_NAME, UserMgt
from broker.ports.records import UserRecord

DEFAULT_PASSWORD: Final = "admin"
"""The administrator's in the files as shipped, here and by WSO2."""


def needs_password(admin: UserMgt) -> bool:
    """Has the administrator no password but the default one, so that one is to be generated? Guest never gets one."""
    return admin.admin_user_name != GUEST_USER_NAME and admin.admin_password.get_secret_value() == DEFAULT_PASSWORD


def built_in_users(admin: UserMgt, salt: bytes) -> Mapping[str, User]:
    """Return the administrator and guest by name. Passwords everybody knows are good from this machine only.

    `salt` is for the administrator's password, which is hashed here if it is a secret.
    """
    name, password = admin.admin_user_name, admin.admin_password.get_secret_value()
    guest = User(GUEST_USER_NAME, Public(GUEST_PASSWORD.get_secret_value()).text, loopback_only=True)
    if needs_password(admin):
        return {guest.name: guest, name: User(name, Public(password).text, True, default_password=password)}
    if (name, password) == (GUEST_USER_NAME, GUEST_PASSWORD.get_secret_value()):
        return {guest.name: guest}
    user = User(name, new_argon2id(password, salt).text, loopback_only=name == GUEST_USER_NAME)
    return {guest.name: guest, name: user}


def built_in_records(admin: UserMgt, password_hash: str = "") -> list[UserRecord]:
    """Return the records of these users for the first start: their passwords stay in the configuration, unless
    `password_hash` is that of one generated for the administrator.
    """
    names = dict.fromkeys((admin.admin_user_name, GUEST_USER_NAME))
    return [
        UserRecord(name, password_hash if name == admin.admin_user_name else "", tags="administrator")
        for name in names
        if name
    ]
