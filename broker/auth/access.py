"""What an identity may do: the questions that handlers ask, and who answers them (ADR 23).

An identity gets its permissions for one virtual host at connection.open. Permissions are equal when they answer every
question alike. Routes are kept for each kind of permissions: a route that is there may be published to.
"""

from __future__ import annotations

from collections.abc import Coroutine, Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias

from broker.auth.identity import Identity
from broker.errors import AccessRefused

ResourceKind: TypeAlias = Literal["exchange", "queue"]


class Permission(StrEnum):
    """To make or delete a resource, to put messages into it, or to take messages from it."""

    CONFIGURE = "configure"
    WRITE = "write"
    READ = "read"


class Permissions(Hashable, Protocol):
    """What may be done in one virtual host."""

    def permits(self, permission: Permission, kind: ResourceKind, name: str) -> bool:
        """May this be done with the exchange or queue `name`? The default exchange is `amq.default` here."""
        ...


class AccessControl(Protocol):
    """Knows the permissions of every identity in every virtual host."""

    def permissions(self, identity: Identity, vhost: str) -> Permissions | Coroutine[Any, Any, Permissions]:
        """Return what `identity` may do in `vhost`; a coroutine when a store has to be asked.

        Raises `NotAllowed` when it may not even open it.
        """
        ...


@dataclass(frozen=True, slots=True)
class AllPermissions:
    """Everything."""

    def permits(self, permission: Permission, kind: ResourceKind, name: str) -> bool:
        return True


class OpenAccess:
    """Lets every identity do everything everywhere."""

    def permissions(self, identity: Identity, vhost: str) -> Permissions:
        return AllPermissions()


@dataclass(frozen=True, slots=True)
class Access:
    """An identity in a virtual host, with what it may do there."""

    identity: Identity
    vhost: str
    permissions: Permissions

    def require(self, permission: Permission, kind: ResourceKind, name: str) -> None:
        """Raise `AccessRefused` unless that is permitted."""
        shown = name or "amq.default"
        if not self.permissions.permits(permission, kind, shown):
            raise AccessRefused(
                f"{permission} access to {kind} '{shown}' in vhost '{self.vhost}' refused for user"
                f" '{self.identity.user}'"
            )
