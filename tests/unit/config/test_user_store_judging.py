"""What stops the start, or is warned of, when `user-mgt.xml` names a database of users that is there."""

from __future__ import annotations

import pytest

from broker.config.user_mgt import SHIPPED_STORE
from broker.errors import ConfigError
from tests.unit.config.conftest import Load

SOURCES = """<datasources-configuration><datasources>
<datasource><name>WSO2_MB_STORE_DB</name><jndiConfig><name>WSO2MBStoreDB</name></jndiConfig><definition><configuration>
<url>jdbc:sqlite:./mb.db</url></configuration></definition></datasource>
<datasource><name>UM</name><jndiConfig><name>jdbc/WSO2UMDB</name></jndiConfig><definition><configuration>
<url>{url}</url></configuration></definition></datasource>
</datasources></datasources-configuration>"""
USERS = """<UserManager><Realm>
<Configuration><Property name="dataSource">jdbc/WSO2UMDB</Property></Configuration>
{store}
</Realm></UserManager>"""
JDBC = "org.wso2.carbon.user.core.jdbc.JDBCUserStoreManager"


def files(url: str, store: str = "") -> dict[str, str]:
    return {
        "datasources/master-datasources.xml": SOURCES.format(url=url),
        "user-mgt.xml": USERS.format(store=store),
    }


def store(**properties: str) -> str:
    given = "".join(f'<Property name="{name}">{text}</Property>' for name, text in properties.items())
    return f'<UserStoreManager class="{JDBC}">{given}</UserStoreManager>'


@pytest.mark.parametrize(
    ("url", "engine"),
    [
        ("jdbc:mysql://db/userdb", "mysql"),
        ("jdbc:postgresql://db/userdb", "postgresql"),
        ("jdbc:sqlite:./um.db", "sqlite"),
        ("jdbc:h2:./repository/database/WSO2CARBON_DB", None),
    ],
)
def test_a_database_is_used_unless_it_is_one_of_h2(load_files: Load, url: str, engine: str | None) -> None:
    loaded = load_files(files(url))
    database = loaded.config.user_database
    assert (database and database.store_url.engine) == engine
    assert loaded.warnings == []


def test_without_the_datasource_users_are_the_brokers_own(load_files: Load) -> None:
    assert load_files({"user-mgt.xml": USERS.format(store="")}).config.user_database is None


def test_the_rules_of_the_store_are_read(load_files: Load) -> None:
    given = store(
        ReadOnly="true", PasswordDigest="MD5", UserNameJavaRegEx="^x{3}$", CaseInsensitiveUsername="true", Other="${x}"
    )
    found = load_files(files("jdbc:mysql://db/userdb", given)).config.user_mgt.user_store
    assert (found.read_only, found.password_digest, found.case_insensitive_user_name) == (True, "MD5", True)
    assert (found.user_name_expression, found.store_salted_password) == ("^x{3}$", False)


def test_a_file_without_a_store_has_that_of_wso2(load_files: Load) -> None:
    assert load_files(files("jdbc:mysql://db/userdb")).config.user_mgt.user_store == SHIPPED_STORE


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            store(PasswordDigest="bcrypt"),
            "Realm/UserStoreManager/Property[PasswordDigest]: 'bcrypt' is not one of SHA-256, SHA-512, SHA-384, ",
        ),
        (
            store(SelectUserSQL="SELECT 1"),
            "Realm/UserStoreManager/Property[*SQL*]/SelectUserSQL: 'SelectUserSQL' replaces a statement of WSO2's",
        ),
        (
            store(UsernameJavaRegEx="("),
            "Realm/UserStoreManager/Property[UsernameJavaRegEx]: the expression '(' cannot be read",
        ),
        (
            store(dataSource="jdbc/Other"),
            "Realm/UserStoreManager/Property[dataSource]: a store with another database than the realm's is not served",
        ),
        (
            '<UserStoreManager class="org.wso2.carbon.user.core.ldap.ReadOnlyLDAPUserStore"/>',
            "Realm/UserStoreManager/@class: 'org.wso2.carbon.user.core.ldap.ReadOnlyLDAPUserStore' is not served",
        ),
    ],
)
def test_what_cannot_be_served_stops_the_start_with_its_line(load_files: Load, given: str, told: str) -> None:
    with pytest.raises(ConfigError) as failure:
        load_files(files("jdbc:mysql://db/userdb", given))
    (line,) = str(failure.value).splitlines()
    assert line.startswith(f"conf/user-mgt.xml:3: {told}")
    assert load_files(files("jdbc:h2:./um", given)).config.user_database is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("jdbc:oracle:thin:@//db/x", "cannot be used for users: 'jdbc:oracle:********' is not a database"),
        ("jdbc:mysql://db/userdb?sslMode=maybe", "cannot be used for users: parameter 'sslMode': 'maybe'"),
        ("jdbc:sqlite::memory:", "is in memory, so nobody could log in by it"),
    ],
)
def test_a_database_that_cannot_be_used_stops_the_start(load_files: Load, url: str, told: str) -> None:
    with pytest.raises(ConfigError) as failure:
        load_files(files(url))
    assert str(failure.value).startswith(
        f"conf/user-mgt.xml:2: Realm/Configuration/Property[dataSource]: the datasource 'jdbc/WSO2UMDB' {told}"
    )


def test_a_secondary_store_is_warned_of(load_files: Load) -> None:
    loaded = load_files(files("jdbc:mysql://db/userdb", store() + store(DomainName="OTHER")))
    assert loaded.warnings == [
        "conf/user-mgt.xml:3: Realm/UserStoreManager: a secondary store is not served: its users cannot log in here"
    ]
