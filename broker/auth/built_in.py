"""The users a node has without anybody having made them: the administrator of `user-mgt.xml`, and guest."""

from __future__ import annotations

from broker.auth.users import User, Users
from broker.config.user_mgt import GUEST_PASSWORD, GUEST_USER_NAME, UserMgt


def built_in_users(admin: UserMgt) -> Users:
    """Return the administrator and guest. Passwords everybody knows are good from this machine only."""
    password = admin.admin_password.get_secret_value()
    is_default = (admin.admin_user_name, password) == ("admin", "admin")
    users = [User(GUEST_USER_NAME, GUEST_PASSWORD.get_secret_value(), loopback_only=True)]
    if admin.admin_user_name != GUEST_USER_NAME:
        users.append(User(admin.admin_user_name, password, loopback_only=is_default))
    elif password:
        users = [User(GUEST_USER_NAME, password, loopback_only=True)]
    return Users(users)
