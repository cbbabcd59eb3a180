"""WSO2's tables of users, as the core sees them: who there is, in which roles, and what these may do (ADR 52)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Statement:
    """A row of `UM_ROLE_PERMISSION`, or without a role of `UM_USER_PERMISSION`."""

    role: str
    """With its domain in front, as `Account.roles`; empty when it is the user's own."""
    resource: str
    action: str
    is_allowed: bool


@dataclass(frozen=True, slots=True)
class Account:
    """A user of `UM_USER`, with roles and what these may do."""

    name: str
    """As it is stored."""
    password: str
    """`UM_USER_PASSWORD`."""
    salt: str | None = None
    must_change: bool = False
    """Has the user had longer than a day to replace a password that somebody else has given?"""
    roles: frozenset[str] = frozenset()
    """Roles of the primary store as they are, others with their domain in front: `Internal/everyone`."""
    statements: frozenset[Statement] = frozenset()


@dataclass(frozen=True, slots=True)
class StoreRules:
    """How users are told apart and their passwords are kept."""

    password_digest: str = "SHA-256"
    store_salted_password: bool = True
    user_name_expression: str = ""
    password_expression: str = ""
    role_name_expression: str = ""
    case_insensitive_user_name: bool = False
    trims_passwords: bool = True
    admin_user: str = "admin"
    admin_role: str = "admin"
    everyone_role: str = "everyone"
    read_groups: bool = True
    write_groups: bool = True
    read_only: bool = False

    def key(self, name: str) -> str:
        """Return what is equal for names that mean the same user."""
        return name.lower() if self.case_insensitive_user_name else name

    def password_of(self, given: str) -> str:
        """Return the password that a client's text means."""
        return given.strip() if self.trims_passwords else given

    @property
    def admin_roles(self) -> frozenset[str]:
        """The names that the role of the administrators can have in the list of a user's roles."""
        if self.read_only or not self.write_groups:
            return frozenset({self.admin_role, f"Internal/{self.admin_role}"})
        return frozenset({self.admin_role})


class UserDatabase(Protocol):
    """A database with these tables. Every call may raise `StoreUnavailable`."""

    async def load(self, names: Sequence[str]) -> Mapping[str, Account]:
        """Return the users with these names, by the name that was asked for; one that is not there is left out."""
        ...

    async def topic_roles(self) -> Collection[str]:
        """Return the names of the roles that belong to topics, without their domain: `T_sport-cricket`."""
        ...
