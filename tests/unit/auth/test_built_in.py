"""The users that nobody has made: contract C7."""

from __future__ import annotations

from broker.auth.built_in import built_in_records, built_in_users, needs_password
from broker.auth.password_hash import Argon2id, parse
from broker.auth.users import User
from broker.config.user_mgt import UserMgt
from broker.ports.records import UserRecord

SALT = bytes(range(16))
GUEST = User("guest", "$public$guest", loopback_only=True)


def with_admin(name: str, password: str) -> UserMgt:
    return UserMgt.model_validate({"Realm": {"Configuration": {"AdminUser": {"UserName": name, "Password": password}}}})


def test_default_passwords_are_public_and_good_from_this_machine_only() -> None:
    admin = User("admin", "$public$admin", loopback_only=True, default_password="admin")
    assert built_in_users(UserMgt(), SALT) == {"guest": GUEST, "admin": admin}


def test_a_password_of_ones_own_is_hashed_and_good_from_anywhere() -> None:
    users = built_in_users(with_admin("root", "correct horse"), SALT)
    assert users.keys() == {"guest", "root"}
    assert users["guest"] == GUEST
    assert not users["root"].loopback_only
    stored = parse(users["root"].password_hash)
    assert isinstance(stored, Argon2id)
    assert stored.verify("correct horse")


def test_guest_with_a_password_of_ones_own_stays_on_this_machine() -> None:
    (guest,) = built_in_users(with_admin("guest", "correct horse"), SALT).values()
    assert guest.loopback_only
    assert parse(guest.password_hash).verify("correct horse")
    assert built_in_users(with_admin("guest", "guest"), SALT) == {"guest": GUEST}


def test_the_default_password_is_one_under_any_name() -> None:
    users = built_in_users(with_admin("root", "admin"), SALT)
    assert users == {"guest": GUEST, "root": User("root", "$public$admin", True, default_password="admin")}
    assert [needs_password(with_admin(name, "admin")) for name in ("admin", "root", "guest")] == [True, True, False]
    assert not needs_password(with_admin("admin", "correct horse"))


def test_both_get_records_and_the_administrator_the_hash_of_a_generated_password() -> None:
    assert built_in_records(UserMgt()) == [
        UserRecord("admin", tags="administrator"),
        UserRecord("guest", tags="administrator"),
    ]
    assert built_in_records(UserMgt(), "$x") == [
        UserRecord("admin", "$x", tags="administrator"),
        UserRecord("guest", tags="administrator"),
    ]
