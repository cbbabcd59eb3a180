"""`user-mgt.xml`: the first user (andes §1.6).

Only the element `Configuration` is read; the other elements configure the user stores of WSO2's platform.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, SecretStr

from broker.config.values import Name, Section, xml

# RabbitMQ's default user, so that clients made for RabbitMQ work unchanged. It may connect from loopback only.
GUEST_USER_NAME = "guest"
GUEST_PASSWORD = SecretStr("guest")


def _password(value: object) -> object:
    if value == "":
        raise ValueError("a password must not be empty")
    return value


class AdminUser(Section):
    """The administrator: a user with all permissions."""

    user_name: Name = xml("UserName", "admin")
    password: Annotated[SecretStr, BeforeValidator(_password)] = xml("Password", SecretStr("admin"))


class RealmConfiguration(Section):
    """The element `Configuration`, which may also be the root of a fragment."""

    has_foreign_content: ClassVar[bool] = True

    admin_user: AdminUser = xml("AdminUser", AdminUser())


class Realm(Section):
    """The element `Realm`."""

    has_foreign_content: ClassVar[bool] = True

    configuration: RealmConfiguration = xml("Configuration", RealmConfiguration())


class UserMgt(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    realm: Realm = xml("Realm", Realm())

    @property
    def admin_user_name(self) -> str:
        return self.realm.configuration.admin_user.user_name

    @property
    def admin_password(self) -> SecretStr:
        return self.realm.configuration.admin_user.password
