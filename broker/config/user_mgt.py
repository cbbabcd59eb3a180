"""`user-mgt.xml`: the first user (andes.md §1.6).

Knows the `Configuration` element; user stores of WSO2's platform are configured elsewhere in the file and not read.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, SecretStr

from broker.config.values import Name, Section, xml

# RabbitMQ's well-known user, for clients that are pointed at this broker unchanged. Only from loopback.
GUEST_USER_NAME = "guest"
GUEST_PASSWORD = SecretStr("guest")


def _password(value: object) -> object:
    if value == "":
        raise ValueError("a password must not be empty")
    return value


class AdminUser(Section):
    """The user who may do everything."""

    user_name: Name = xml("UserName", "admin")
    password: Annotated[SecretStr, BeforeValidator(_password)] = xml("Password", SecretStr("admin"))


class RealmConfiguration(Section):
    """The element `Configuration`, also when it stands alone."""

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
