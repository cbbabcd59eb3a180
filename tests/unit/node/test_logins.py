"""Whom a node lets in: the users of the directory, with their hashes or the passwords of the configuration."""

from __future__ import annotations

from broker.auth.directory import Directory
from broker.auth.password_hash import parse
from broker.auth.users import User
from broker.node.logins import find_user, hash_password, hashing_threads
from broker.ports.records import UserRecord

BUILT_IN = {"admin": User("admin", "$public$admin", loopback_only=True), "gone": User("gone", "$public$gone")}


def found(*records: UserRecord) -> Directory:
    directory = Directory()
    for record in records:
        directory.put_user(record)
    return directory


def test_a_hash_decides_where_there_is_one() -> None:
    directory = found(UserRecord("ann", "$public$x", loopback_only=True), UserRecord("admin", "$public$changed"))
    assert find_user(directory, BUILT_IN, "ann") == User("ann", "$public$x", loopback_only=True)
    assert find_user(directory, BUILT_IN, "admin") == User("admin", "$public$changed")


def test_without_a_hash_the_configuration_decides() -> None:
    directory = found(UserRecord("admin"), UserRecord("nobody"))
    assert find_user(directory, BUILT_IN, "admin") == BUILT_IN["admin"]
    assert find_user(directory, BUILT_IN, "nobody") is None


def test_a_generated_password_is_good_beside_a_default_one_and_until_another_is_configured() -> None:
    directory = found(UserRecord("admin", "$generated$x"), UserRecord("ann", "$generated$x"))
    default = User("admin", "$public$admin", True, default_password="admin")
    assert find_user(directory, {"admin": default}, "admin") == User("admin", "$generated$x", False, "admin")
    assert find_user(directory, {"admin": default}, "ann") == User("ann", "$generated$x")
    secret = User("admin", "$argon2id$x")
    assert find_user(directory, {"admin": secret}, "admin") is secret


def test_whoever_was_deleted_does_not_come_in_by_the_configuration() -> None:
    assert find_user(found(UserRecord("admin")), BUILT_IN, "gone") is None


async def test_a_new_password_is_hashed_beside_the_loop() -> None:
    hashing = hashing_threads()
    text = await hash_password(hashing, "secret")
    assert text.startswith("$argon2id$")
    assert parse(text).verify("secret")
    assert await hash_password(hashing, "secret") != text
    assert hashing.hashed == 2
    hashing.close()
