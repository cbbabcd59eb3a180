"""What users of WSO2's tables may do: by its table of decisions in the virtual host `carbon`, by records elsewhere."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final

from broker.auth.access import AllPermissions, Permissions, UserLimits
from broker.auth.carbon.accounts import Accounts
from broker.auth.carbon.grants import Grants
from broker.auth.carbon.permissions import CarbonPermissions
from broker.auth.carbon.topics import Topics
from broker.auth.identity import Identity
from broker.auth.recorded_access import NOTHING, RecordedAccess
from broker.errors import NotAllowed, StoreUnavailable
from broker.ports.user_database import Account, StoreRules

VHOST: Final = "carbon"


class CarbonAccess:
    """The permissions of users that have logged in; an `AccessControl`."""

    def __init__(self, accounts: Accounts, topics: Topics, rules: StoreRules, others: RecordedAccess) -> None:
        """`others` has the permissions in other virtual hosts, and what limits there are for users."""
        self._accounts = accounts
        self._topics = topics
        self._rules = rules
        self._others = others

    def permissions(self, identity: Identity, vhost: str) -> Permissions | Coroutine[Any, Any, Permissions]:
        entry = self._accounts.recall(identity.user)
        if entry is None:
            return self._load(identity, vhost)
        return self._permissions(entry.account, identity, vhost)

    def permissions_now(self, identity: Identity, vhost: str) -> Permissions:
        """Return what `identity`, which has opened `vhost` before, may do there now; nothing if that has ended."""
        entry = self._accounts.recall(identity.user)
        if entry is None:
            return NOTHING
        try:
            return self._permissions(entry.account, identity, vhost)
        except NotAllowed:
            return NOTHING

    def limits(self, user: str) -> UserLimits:
        return self._others.limits(user)

    def may_impersonate(self, identity: Identity) -> bool:
        return self._others.may_impersonate(identity)

    async def _load(self, identity: Identity, vhost: str) -> Permissions:
        try:
            entry = await self._accounts.load(identity.user)
        except StoreUnavailable:
            entry = None
        if entry is None:
            raise NotAllowed(f"access to vhost '{vhost}' refused for user '{identity.user}'")
        return self._permissions(entry.account, identity, vhost)

    def _permissions(self, account: Account, identity: Identity, vhost: str) -> Permissions:
        is_admin = not self._rules.admin_roles.isdisjoint(account.roles)
        if vhost != VHOST:
            return AllPermissions() if is_admin else self._others.permissions(identity, vhost)
        roles = account.roles
        if self._rules.key(account.name) == self._rules.key(self._rules.admin_user):
            roles |= {self._rules.admin_role}  # a member by its configuration, where rows decide
        return CarbonPermissions(is_admin, Grants(roles, account.statements), self._topics)
