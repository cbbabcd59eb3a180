"""What an identity may do: the questions that handlers ask, and who answers them (ADR 23).

An identity gets its permissions for one virtual host at connection.open. Permissions are equal when they answer every
question alike. Routes are kept for each kind of permissions: a route that is there may be published to.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias

from broker.auth.identity import Identity
from broker.errors import AccessRefused, PreconditionFailed

ResourceKind: TypeAlias = Literal["exchange", "queue"]


class Permission(StrEnum):
    """To make or delete a resource, to put messages into it, or to take messages from it."""

    CONFIGURE = "configure"
    WRITE = "write"
    READ = "read"


class Operation(Enum):
    """What a client is about to do."""

    DECLARE = "declare"
    DELETE = "delete"
    PURGE = "purge"
    CONSUME = "consume"
    BIND = "bind"
    UNBIND = "unbind"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a permission is asked for. Expressions do not look at it, WSO2's table does (ADR 52).

    `durable` and `exclusive` are those of `queue`; at `exchange` a message or a binding begins.
    """

    operation: Operation
    queue: str = ""
    durable: bool = False
    exclusive: bool = False
    exchange: str = ""
    routing_key: str = ""
    bound_keys: Callable[[], Iterable[str]] = tuple
    """Returns the keys by which `amq.topic` leads to `queue`."""


class Permissions(Hashable, Protocol):
    """What may be done in one virtual host."""

    @property
    def asks_for_purpose(self) -> bool:
        """Does the purpose matter? Where it does not, whoever asks often need not make one."""
        ...

    def permits(self, permission: Permission, kind: ResourceKind, name: str, purpose: Purpose | None = None) -> bool:
        """May this be done with the exchange or queue `name`? The default exchange is `amq.default` here."""
        ...

    def permits_key(self, permission: Permission, exchange: str, routing_key: str) -> bool:
        """May a message with this key be published to a topic exchange (write), or this key be bound there (read)?"""
        ...


@dataclass(frozen=True, slots=True)
class UserLimits:
    """How much a user may have open; -1 for any number."""

    max_connections: int = -1
    max_channels: int = -1


NO_LIMITS: Final = UserLimits()


class AccessControl(Protocol):
    """Knows the permissions of every identity in every virtual host."""

    def permissions(self, identity: Identity, vhost: str) -> Permissions | Coroutine[Any, Any, Permissions]:
        """Return what `identity` may do in `vhost`; a coroutine when a store has to be asked.

        Raises `NotAllowed` when it may not even open it.
        """
        ...

    def permissions_now(self, identity: Identity, vhost: str) -> Permissions:
        """Return what `identity` may do now in `vhost`, which it has opened before."""
        ...

    def limits(self, user: str) -> UserLimits:
        """Return how much a user may have open."""
        ...

    def may_impersonate(self, identity: Identity) -> bool:
        """May it publish messages with the user-id of somebody else?"""
        ...


@dataclass(frozen=True, slots=True)
class AllPermissions:
    """Everything."""

    asks_for_purpose: ClassVar[bool] = False

    def permits(self, permission: Permission, kind: ResourceKind, name: str, purpose: Purpose | None = None) -> bool:
        return True

    def permits_key(self, permission: Permission, exchange: str, routing_key: str) -> bool:
        return True


class OpenAccess:
    """Lets every identity do everything everywhere."""

    def permissions(self, identity: Identity, vhost: str) -> Permissions:
        return AllPermissions()

    def permissions_now(self, identity: Identity, vhost: str) -> Permissions:
        return AllPermissions()

    def limits(self, user: str) -> UserLimits:
        return NO_LIMITS

    def may_impersonate(self, identity: Identity) -> bool:
        return False


class Access:
    """An identity in a virtual host, with what it may do there now."""

    __slots__ = ("_control", "_permissions", "asks_for_purpose", "identity", "vhost")

    def __init__(self, identity: Identity, vhost: str, permissions: Permissions, control: AccessControl) -> None:
        self._control = control
        self.identity = identity
        self.vhost: Final = vhost
        self._permissions = permissions
        self.asks_for_purpose = permissions.asks_for_purpose

    @property
    def permissions(self) -> Permissions:
        return self._permissions

    def change(self, permissions: Permissions) -> bool:
        """It may do this from now on; return whether that is something else."""
        if permissions == self._permissions:
            return False
        self._permissions = permissions
        self.asks_for_purpose = permissions.asks_for_purpose
        return True

    def renew(self, identity: Identity, permissions: Permissions) -> bool:
        """The same user has other credentials; return whether something else may be done by them."""
        self.identity = identity
        return self.change(permissions)

    def require(self, permission: Permission, kind: ResourceKind, name: str, purpose: Purpose | None = None) -> None:
        """Raise `AccessRefused` unless that is permitted."""
        shown = name or "amq.default"
        if not self.permissions.permits(permission, kind, shown, purpose):
            raise AccessRefused(
                f"{permission} access to {kind} '{shown}' in vhost '{self.vhost}' refused for user"
                f" '{self.identity.user}'"
            )

    def require_publish(self, exchange: str, routing_key: str) -> None:
        """Raise `AccessRefused` unless a message with this key may be published there. Asked for each new route."""
        if self.asks_for_purpose:
            purpose = Purpose(Operation.PUBLISH, exchange=exchange, routing_key=routing_key)
            self.require(Permission.WRITE, "exchange", exchange, purpose)
        else:
            self.require(Permission.WRITE, "exchange", exchange)

    def require_key(self, permission: Permission, exchange: str, routing_key: str) -> None:
        """Raise `AccessRefused` unless this key is permitted at the topic exchange `exchange` (contract A9)."""
        if not self.permissions.permits_key(permission, exchange, routing_key):
            raise AccessRefused(
                f"{permission} access to topic '{routing_key}' in exchange '{exchange or 'amq.default'}' in vhost"
                f" '{self.vhost}' refused for user '{self.identity.user}'"
            )

    def require_user_id(self, user_id: str) -> None:
        """Raise `PreconditionFailed` unless messages with this user-id may be published (contract B6)."""
        if user_id != self.identity.user and not self._control.may_impersonate(self.identity):
            raise PreconditionFailed(
                f"user_id property set to '{user_id}' but authenticated user was '{self.identity.user}'"
            )
