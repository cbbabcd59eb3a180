"""`user-mgt.xml`: the first user, and the database of users with the rules of its store (andes §1.6).

The first store of the class `JDBCUserStoreManager` counts, which has the rules for logins. What its database is, and
whether it is used, follows from the datasource.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, SecretStr

from broker.config.values import Boolean, Name, Section, VerbatimMap, VerbatimText, integer, xml

# RabbitMQ's default user, so that clients made for RabbitMQ work unchanged. It may connect from loopback only.
GUEST_USER_NAME = "guest"
GUEST_PASSWORD = SecretStr("guest")
JDBC_STORE: Final = "JDBCUserStoreManager"
PASSWORD_DIGESTS: Final = ("SHA-256", "SHA-512", "SHA-384", "SHA-224", "SHA-1", "SHA1", "SHA", "MD5", "PLAIN_TEXT")
"""The values of PasswordDigest that are served: names of Java's digests, and passwords in clear."""


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

    add_admin: Boolean = xml("AddAdmin", True)
    admin_role: Name = xml("AdminRole", "admin")
    admin_user: AdminUser = xml("AdminUser", AdminUser())
    everyone_role: Name = xml("EveryOneRoleName", "everyone")
    data_source: Name = xml("Property[dataSource]", "jdbc/WSO2UMDB")
    cache_seconds: Annotated[int, integer(1, 600)] = xml("Property[userCacheSeconds]", 60)


class UserStoreManager(Section):
    """A store of users. The defaults are what WSO2's class does when a property is missing."""

    has_foreign_content: ClassVar[bool] = True

    class_name: str = xml("@class", "")
    read_only: Boolean = xml("Property[ReadOnly]", False)
    read_groups: Boolean = xml("Property[ReadGroups]", True)
    write_groups: Boolean = xml("Property[WriteGroups]", True)
    password_digest: str = xml("Property[PasswordDigest]", "PLAIN_TEXT")
    store_salted_password: Boolean = xml("Property[StoreSaltedPassword]", False)
    user_name_expression: VerbatimText = xml("Property[UsernameJavaRegEx]", "")
    password_expression: VerbatimText = xml("Property[PasswordJavaRegEx]", "")
    role_name_expression: VerbatimText = xml("Property[RolenameJavaRegEx]", "")
    case_insensitive_user_name: Boolean = xml("Property[CaseInsensitiveUsername]", False)
    own_database: str = xml("Property[dataSource]", "")
    statements: VerbatimMap = xml("Property[*SQL*]", {})


SHIPPED_STORE: Final = UserStoreManager(
    class_name=f"org.wso2.carbon.user.core.jdbc.{JDBC_STORE}",
    password_digest="SHA-256",
    store_salted_password=True,
    user_name_expression=r"^[\S]{3,30}$",
    password_expression=r"^[\S]{5,30}$",
    role_name_expression=r"^[\S]{3,30}$",
    case_insensitive_user_name=True,
)
"""The store of WSO2's files, for a file that has none."""


class Realm(Section):
    """The element `Realm`."""

    has_foreign_content: ClassVar[bool] = True

    configuration: RealmConfiguration = xml("Configuration", RealmConfiguration())
    user_store_managers: tuple[UserStoreManager, ...] = xml("UserStoreManager", ())


class UserMgt(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    realm: Realm = xml("Realm", Realm())

    @property
    def user_store(self) -> UserStoreManager:
        """The rules of the first store, or without one those that WSO2 ships."""
        stores = self.realm.user_store_managers
        return stores[0] if stores else SHIPPED_STORE

    @property
    def admin_user_name(self) -> str:
        return self.realm.configuration.admin_user.user_name

    @property
    def admin_password(self) -> SecretStr:
        return self.realm.configuration.admin_user.password
