"""What the rows of WSO2's permission tables allow one user: a tree of resources, in which the deepest row wins.

For each role the deepest statement decides, a denial before a permission at the same node. The user may do what any one
of the roles may, or what an own row allows: a denial is no veto.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from broker.ports.user_database import Statement

_OWN: Final = ""
"""Stands for the role of statements about the user."""
_PATHS: Final = 10_000


class Grants:
    """The statements about one user. Equal ones allow the same."""

    __slots__ = ("_hash", "_rows", "_spelled", "_subjects")

    def __init__(self, roles: Iterable[str], statements: Iterable[Statement]) -> None:
        """Statements about other roles than `roles`, or about nobody, have no effect."""
        members = {_OWN, *(role.lower() for role in roles)}
        rows: dict[tuple[str, str, tuple[str, ...]], bool] = {}
        self._spelled: dict[str, str] = {}
        for each in statements:
            role = each.role.lower()
            if role in members:
                self._spelled[role] = each.role
                key = role, each.action.lower(), _path(each.resource)
                rows[key] = each.is_allowed and rows.get(key, True)
        self._rows = rows
        self._subjects = sorted({(role, action) for role, action, _ in rows})
        self._hash = hash(frozenset(rows.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grants) and self._hash == other._hash and self._rows == other._rows

    def __hash__(self) -> int:
        return self._hash

    def allows(self, action: str, resource: str) -> bool:
        """May the user do this with the resource?"""
        path, action = _path(resource), action.lower()
        return any(asked == action and self._decided(role, action, path) for role, asked in self._subjects)

    def allows_on_any_level(self, action: str, resource: str, top: str) -> bool:
        """May the user do this with the resource, or with one of those that it lies in, below `top`?"""
        path = _path(resource)
        highest = min(len(path), len(_path(top)) + 1)
        return any(self.allows(action, "/".join(path[:length])) for length in range(len(path), highest - 1, -1))

    def roles_that_allow(self, action: str, resource: str) -> set[str]:
        """Return those of the user's roles that let them do this, as they are spelled in the rows, and no own row."""
        path, action = _path(resource), action.lower()
        roles = {role for role, asked in self._subjects if asked == action and self._decided(role, action, path)}
        return {self._spelled[role] for role in roles - {_OWN}}

    def _decided(self, role: str, action: str, path: tuple[str, ...]) -> bool:
        """Return what the deepest statement about a role says; nothing said is refused."""
        for length in range(len(path), -1, -1):
            found = self._rows.get((role, action, path[:length]))
            if found is not None:
                return found
        return False


@lru_cache(_PATHS)
def _path(resource: str) -> tuple[str, ...]:
    return tuple(part for part in resource.split("/") if part)
