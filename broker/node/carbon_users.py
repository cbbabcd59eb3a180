"""A node's users in a database with WSO2's tables: what is remembered of them, and when it is asked again (ADR 52)."""

from __future__ import annotations

import asyncio
import base64
import secrets
from functools import partial
from math import inf
from typing import Final

import structlog

from broker.auth.carbon.access import CarbonAccess
from broker.auth.carbon.accounts import Accounts
from broker.auth.carbon.login import CarbonUsers
from broker.auth.carbon.names import Login
from broker.auth.carbon.rules import LoginRules
from broker.auth.carbon.topics import Topics
from broker.auth.password_hash import new_wso2
from broker.auth.passwords import Passwords
from broker.auth.recorded_access import RecordedAccess
from broker.broker import Broker
from broker.config.configuration import Configuration
from broker.errors import BrokerError, ConfigError, StoreError
from broker.ports.user_database import StoreRules
from broker.store.carbon.administrator import NewPassword, add_administrator, has_started_before
from broker.store.carbon.connections import Connections
from broker.store.carbon.database import UserTables

_log = structlog.get_logger(__name__)

_SHARE: Final = 4
"""So many times during the life of what is remembered it is looked for what is too old."""
_SALT_OCTETS: Final = 16


class CarbonUserStore:
    """The database of users of one incarnation."""

    def __init__(self, connections: Connections, rules: StoreRules, config: Configuration) -> None:
        realm = config.user_mgt.realm.configuration
        self.rules = rules
        self.topics = Topics()
        self.tables = UserTables(connections, rules)
        self._adds_admin = realm.add_admin
        self._admin_password = config.user_mgt.admin_password
        self._lifetime = float(realm.cache_seconds)
        self.accounts = Accounts(self.tables, rules, asyncio.get_running_loop().time, self._lifetime)
        self._is_prepared = False
        self._is_away = False
        self._roles_at = -inf

    def users(self, passwords: Passwords) -> CarbonUsers:
        """Return the login of these users."""
        return CarbonUsers(self.accounts, passwords, self.rules)

    def access(self, others: RecordedAccess) -> CarbonAccess:
        """Return the permissions of these users; `others` has those in other virtual hosts than `carbon`."""
        return CarbonAccess(self.accounts, self.topics, self.rules, others)

    def is_administrator(self, user: str) -> bool:
        """Is a user who has logged in a member of the role that `user-mgt.xml` names?"""
        entry = self.accounts.recall(user)
        if entry is None:
            return False
        is_admin = self.rules.key(user) == self.rules.key(self.rules.admin_user)
        return is_admin or not self.rules.admin_roles.isdisjoint(entry.account.roles)

    async def open(self) -> None:
        """Look whether the tables are there, and make the administrator if that is wanted. A database that is away is
        waited for later. Raises `ConfigError` when it is there and cannot be used.
        """
        try:
            await self._prepare()
        except StoreError as error:
            self._is_away = True
            _log.warning("the user database is away, nobody can log in before it is back", reason=str(error))

    async def look(self) -> str:
        """Look at the database as `open` does and change nothing; return what there is.

        Raises `ConfigError` when it cannot be used.
        """
        try:
            await self.tables.check()
            if not self._makes_admin:
                await self._require_admin()
        except StoreError as error:
            return f"the user database was not looked at: {error}"
        return f"{self.tables.where} is a database of users"

    @property
    def _makes_admin(self) -> bool:
        return self._adds_admin and not self.rules.read_only

    async def _prepare(self) -> None:
        await self.tables.check()
        if self._makes_admin:
            self._warn_of_password(self._admin_password.get_secret_value())
            password = self.new_password(self._admin_password.get_secret_value())
            made = await self.tables.run(partial(add_administrator, rules=self.rules, password=password))
            for what in made:
                _log.info("made in the user database", what=what)
        else:
            await self._require_admin()
        self.topics.set_roles(await self.tables.topic_roles())
        self._roles_at = asyncio.get_running_loop().time()
        self._is_prepared = True
        _log.info("users come from a database of WSO2's", where=self.tables.where, read_only=self.rules.read_only)

    def _warn_of_password(self, password: str) -> None:
        """Say what is wrong with the configured password, which the administrator gets if that one is made now."""
        if why := LoginRules(self.rules).what_is_wrong(Login(self.rules.admin_user), password):
            _log.warning("the administrator of user-mgt.xml could not log in", reason=why)

    async def _require_admin(self) -> None:
        name = self.rules.admin_user
        if name in await self.tables.look_up([name]):
            return
        if self.rules.read_only or await self.tables.run(has_started_before):
            _log.warning("the administrator is not in the user database", user=name)
            return
        raise ConfigError(
            f"user-mgt.xml names the administrator '{name}', who is not in the user database {self.tables.where}, and"
            " AddAdmin is false: set it to true for the first start"
        )

    def new_password(self, password: str) -> NewPassword:
        """Return what these tables store of a password, which WSO2's products can read."""
        salt = ""
        if self.rules.store_salted_password:
            salt = base64.b64encode(secrets.token_bytes(_SALT_OCTETS)).decode()
        return NewPassword(new_wso2(password, self.rules.password_digest, salt).value, salt)

    # In the background

    async def serve(self) -> None:
        """Ask the database for those who log in."""
        await self.tables.serve()

    async def keep_fresh(self, broker: Broker) -> None:
        """Ask again for users who are connected, when what is remembered of them is too old."""
        while True:
            await asyncio.sleep(self._lifetime / _SHARE)
            try:
                if not self._is_prepared:
                    await self._prepare()
                await self.refresh(broker)
            except BrokerError as error:
                if not self._is_away:
                    _log.warning("the user database is away, who is known goes on", reason=str(error))
                self._is_away = True
            else:
                if self._is_away:
                    _log.info("the user database is back")
                self._is_away = False

    async def refresh(self, broker: Broker) -> None:
        """Ask again for those who are connected, unless they are fresh, and let changes count.

        Raises `StoreUnavailable`.
        """
        now = asyncio.get_running_loop().time()
        if now - self._roles_at >= self._lifetime:
            self.topics.set_roles(await self.tables.topic_roles())
            self._roles_at = now
        connected = {connection.user for connection in broker.open_connections}
        names = [name for name in connected if self.accounts.recall(name) is not None]  # not those with tokens
        for name in await self.accounts.refresh(names):
            if self.accounts.recall(name) is None:
                broker.close_connections(f"user '{name}' is deleted", user=name)
            else:
                broker.on_user_changed(name)


def store_rules(config: Configuration) -> StoreRules:
    """Return the rules of the configured store of users."""
    user_mgt, store = config.user_mgt, config.user_mgt.user_store
    return StoreRules(
        password_digest=store.password_digest,
        store_salted_password=store.store_salted_password,
        user_name_expression=store.user_name_expression,
        password_expression=store.password_expression,
        role_name_expression=store.role_name_expression,
        case_insensitive_user_name=store.case_insensitive_user_name,
        trims_passwords=config.carbon.enable_password_trim,
        admin_user=user_mgt.admin_user_name,
        admin_role=user_mgt.realm.configuration.admin_role,
        everyone_role=user_mgt.realm.configuration.everyone_role,
        read_groups=store.read_groups,
        write_groups=store.write_groups,
        read_only=store.read_only,
    )
