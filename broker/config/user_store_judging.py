"""Judges what `user-mgt.xml` says of a database of users that is there: whatever cannot be served stops the start."""

from __future__ import annotations

from broker.config.binding import Reading, spell
from broker.config.configuration import Configuration
from broker.config.connection_options import connection_options
from broker.config.java_expression import whole_match
from broker.config.place import Place
from broker.config.user_mgt import JDBC_STORE, PASSWORD_DIGESTS, UserMgt

_SOURCE: Place = ("Realm", "Configuration", "Property[dataSource]")
_STORE: Place = ("Realm", "UserStoreManager", 0)


def judge_user_store(config: Configuration, user_mgt: Reading) -> None:
    """Report errors and warnings about the database of users and its store; nothing if it is not to be used."""
    name = config.user_mgt.realm.configuration.data_source
    database = config.user_database
    if database is None:
        return
    try:
        url = database.store_url
        connection_options(url)
    except ValueError as error:
        user_mgt.refuse(_SOURCE, f"the datasource '{name}' cannot be used for users: {error}")
        return
    if url.engine == "memory":
        user_mgt.refuse(_SOURCE, f"the datasource '{name}' is in memory, so nobody could log in by it")
        return
    _judge_store(config.user_mgt, user_mgt)


def _judge_store(config: UserMgt, user_mgt: Reading) -> None:
    store = config.user_store
    if store.class_name and not store.class_name.endswith(f".{JDBC_STORE}"):
        user_mgt.refuse((*_STORE, "@class"), f"'{store.class_name}' is not served: only {JDBC_STORE} is")
    if store.password_digest not in PASSWORD_DIGESTS:
        user_mgt.refuse(
            (*_STORE, "Property[PasswordDigest]"),
            f"'{store.password_digest}' is not one of {', '.join(PASSWORD_DIGESTS)}",
        )
    if store.own_database and store.own_database != config.realm.configuration.data_source:
        user_mgt.refuse(
            (*_STORE, "Property[dataSource]"),
            "a store with another database than the realm's is not served: name one database for both",
        )
    for name in store.statements:
        user_mgt.refuse(
            (*_STORE, "Property[*SQL*]", name), f"'{name}' replaces a statement of WSO2's, which is not served"
        )
    for element, expression in (
        ("Property[UsernameJavaRegEx]", store.user_name_expression),
        ("Property[PasswordJavaRegEx]", store.password_expression),
        ("Property[RolenameJavaRegEx]", store.role_name_expression),
    ):
        try:
            whole_match(expression)
        except ValueError as error:
            user_mgt.refuse((*_STORE, element), str(error))
    for index in range(1, len(config.realm.user_store_managers)):
        place: Place = ("Realm", "UserStoreManager", index)
        line = user_mgt.lines.get(place, 1)
        user_mgt.warn(line, f"{spell(place)}: a secondary store is not served: its users cannot log in here")
