"""ADR 23."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from broker.auth.access import Access, AllPermissions, OpenAccess, Permission, Purpose, ResourceKind
from broker.auth.identity import Identity
from broker.errors import AccessRefused, PreconditionFailed

ANN = Identity("ann", is_loopback=True)


@dataclass(frozen=True)
class Only:
    """One permission, for one name."""

    name: str

    asks_for_purpose = False

    def permits(self, permission: Permission, kind: ResourceKind, name: str, purpose: Purpose | None = None) -> bool:
        return name == self.name

    def permits_key(self, permission: Permission, exchange: str, routing_key: str) -> bool:
        return routing_key == self.name


def test_what_is_permitted_passes() -> None:
    Access(ANN, "/", Only("q"), OpenAccess()).require(Permission.READ, "queue", "q")


@pytest.mark.parametrize(
    ("permission", "kind", "name", "text"),
    [
        (Permission.CONFIGURE, "queue", "p", "configure access to queue 'p' in vhost '/' refused for user 'ann'"),
        (
            Permission.WRITE,
            "exchange",
            "",
            "write access to exchange 'amq.default' in vhost '/' refused for user 'ann'",
        ),
        (Permission.READ, "exchange", "x", "read access to exchange 'x' in vhost '/' refused for user 'ann'"),
    ],
)
def test_a_refusal_names_what_to_whom(permission: Permission, kind: ResourceKind, name: str, text: str) -> None:
    with pytest.raises(AccessRefused) as refusal:
        Access(ANN, "/", Only("q"), OpenAccess()).require(permission, kind, name)
    assert str(refusal.value) == text


def test_the_default_exchange_has_a_name_for_permissions() -> None:
    Access(ANN, "/", Only("amq.default"), OpenAccess()).require(Permission.WRITE, "exchange", "")
    with pytest.raises(AccessRefused, match=r"exchange 'amq\.default'"):
        Access(ANN, "/", Only(""), OpenAccess()).require(Permission.WRITE, "exchange", "")


def test_without_access_control_everybody_may_do_everything_and_all_are_of_one_kind() -> None:
    ann = OpenAccess().permissions(ANN, "/")
    bob = OpenAccess().permissions(Identity("bob", is_loopback=False), "/")
    assert ann.permits(Permission.CONFIGURE, "queue", "any")
    assert (ann, hash(ann)) == (bob, hash(bob))
    assert ann == AllPermissions()


class Impersonators(OpenAccess):
    """Lets ann speak for others."""

    def may_impersonate(self, identity: Identity) -> bool:
        return identity == ANN


def test_a_user_id_is_ones_own_but_for_impersonators() -> None:
    Access(ANN, "/", AllPermissions(), OpenAccess()).require_user_id("ann")
    Access(ANN, "/", AllPermissions(), Impersonators()).require_user_id("bob")
    with pytest.raises(PreconditionFailed, match=r"^user_id property set to 'bob' but authenticated user was 'ann'$"):
        Access(ANN, "/", AllPermissions(), OpenAccess()).require_user_id("bob")
