"""Which logins WSO2's user store refuses before it looks for the user (ADR 52)."""

from __future__ import annotations

from broker.auth.carbon.names import PRIMARY, SUPER_TENANT, SYSTEM_USERS, Login
from broker.config.java_expression import whole_match
from broker.ports.user_database import StoreRules


class LoginRules:
    """Refuses logins that need no look at the database."""

    def __init__(self, rules: StoreRules) -> None:
        self._is_user_name = whole_match(rules.user_name_expression)
        self._is_password = whole_match(rules.password_expression)

    def what_is_wrong(self, login: Login, password: str | None) -> str:
        """Return why nobody can log in like this; empty when the database has to be asked.

        `password` is None when a certificate stands for it.
        """
        if login.tenant != SUPER_TENANT:
            return "users of other tenants than carbon.super are not served"
        if login.store != PRIMARY:
            return f"there is no user store '{login.store}' here"
        if login.user.lower() in SYSTEM_USERS:
            return "a user of the system never logs in"
        if not self._is_user_name(login.user):
            return "the name does not match UsernameJavaRegEx"
        if password is not None and not self._is_password(password):
            return "the password does not match PasswordJavaRegEx"
        return ""
