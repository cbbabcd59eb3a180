"""Contract C6, C7."""

from __future__ import annotations

from collections.abc import Coroutine

import pytest
import structlog

from broker.auth.identity import Identity, LoginResult
from broker.auth.password_hash import new_rabbitmq
from broker.auth.users import (
    DEFAULT_PASSWORD,
    HELD_BACK,
    NO_SUCH_USER,
    NOT_FROM_THERE,
    WRONG_PASSWORD,
    User,
    Users,
)
from tests.support.clock import FakeClock
from tests.support.logins import InlineHashing, new_passwords, public_user, users_of
from tests.support.stage import drive

OLD = new_rabbitmq("pässwörd", "rabbit_password_hashing_sha256", b"salt").text
LOCAL = new_rabbitmq("local", "rabbit_password_hashing_sha256", b"salt").text


@pytest.fixture
def hashing() -> InlineHashing:
    return InlineHashing()


@pytest.fixture
def users(hashing: InlineHashing) -> Users:
    return users_of(
        public_user("guest", "guest", loopback_only=True),
        User("admin", OLD),
        User("local", LOCAL, loopback_only=True),
        User("blank", ""),
        hashing=hashing,
    )


def answer(users: Users, name: str, password: str, *, is_loopback: bool = True) -> LoginResult:
    found = users.log_in(name, password, address="127.0.0.1" if is_loopback else "192.0.2.1", is_loopback=is_loopback)
    return drive(found) if isinstance(found, Coroutine) else found


def log_in(users: Users, name: str, password: str, *, is_loopback: bool = True) -> Identity | None:
    found = answer(users, name, password, is_loopback=is_loopback)
    return found if isinstance(found, Identity) else None


def test_a_refusal_has_a_reason(users: Users) -> None:
    assert answer(users, "nobody", "guest") == NO_SUCH_USER
    assert answer(users, "guest", "guest", is_loopback=False) == NOT_FROM_THERE
    for number in range(5):
        assert answer(users, "admin", f"guess {number}") == WRONG_PASSWORD
    assert answer(users, "admin", "pässwörd") == HELD_BACK
    with_default = users_of(User("admin", OLD, default_password="admin"))
    assert answer(with_default, "admin", "admin", is_loopback=False) == DEFAULT_PASSWORD


@pytest.mark.parametrize("is_loopback", [True, False])
def test_the_right_password_is_accepted(users: Users, is_loopback: bool) -> None:
    assert log_in(users, "admin", "pässwörd", is_loopback=is_loopback) == Identity("admin", is_loopback)


@pytest.mark.parametrize(
    ("name", "password"),
    [("admin", "guest"), ("admin", ""), ("Admin", "pässwörd"), ("nobody", "guest"), ("nobody", ""), ("", ""),
     ("blank", ""), ("blank", "x")],
)  # fmt: skip
def test_anything_else_is_refused(users: Users, name: str, password: str) -> None:
    assert log_in(users, name, password) is None


def test_guest_comes_from_this_machine_only(users: Users) -> None:
    assert log_in(users, "guest", "guest") == Identity("guest", True)
    assert log_in(users, "guest", "guest", is_loopback=False) is None


def test_from_elsewhere_the_right_password_of_such_a_user_is_refused_like_a_wrong_one(
    users: Users, hashing: InlineHashing
) -> None:
    assert log_in(users, "local", "local") is not None
    with structlog.testing.capture_logs() as logs:
        for password in ("local", "wrong", "local", "wrong"):
            assert log_in(users, "local", password, is_loopback=False) is None
    assert hashing.hashed == 3
    assert [(line["event"], line["user"], line["peer"]) for line in logs] == [
        ("this user may log in from this machine only", "local", "192.0.2.1")
    ] * 4


def test_a_default_password_is_good_from_this_machine_and_the_users_own_from_anywhere(hashing: InlineHashing) -> None:
    users = users_of(User("admin", OLD, default_password="admin"), hashing=hashing)
    assert log_in(users, "admin", "admin") == Identity("admin", True)
    assert hashing.hashed == 0
    assert log_in(users, "admin", "pässwörd") == Identity("admin", True)
    with structlog.testing.capture_logs() as logs:
        assert log_in(users, "admin", "admin", is_loopback=False) is None
        assert log_in(users, "admin", "pässwörd", is_loopback=False) == Identity("admin", False)
    assert [line["event"] for line in logs] == ["the default password is good from this machine only"]
    assert "change-password" in logs[0]["remedy"]


def test_a_login_that_is_remembered_is_answered_at_once_and_keeps_its_proof(users: Users) -> None:
    first = log_in(users, "admin", "pässwörd")
    again = users.log_in("admin", "pässwörd", address="127.0.0.1", is_loopback=True)
    assert isinstance(again, Identity)
    assert first is not None
    assert again.proof is first.proof is not None
    assert hash(again) == hash(Identity("admin", True))
    assert "proof" not in repr(again)


def test_a_weaker_hash_is_handed_to_who_stores_users(hashing: InlineHashing) -> None:
    user = User("admin", OLD)
    renewed: list[tuple[User, str]] = []
    users = Users({"admin": user}.get, new_passwords(hashing, FakeClock()), lambda *what: renewed.append(what))
    assert log_in(users, "admin", "wrong") is None
    assert log_in(users, "admin", "pässwörd") is not None
    assert renewed == [(user, "$public$renewed")]


@pytest.mark.parametrize("is_loopback", [True, False])
def test_a_user_whom_a_certificate_names_needs_no_password(users: Users, is_loopback: bool) -> None:
    assert users.known("admin", is_loopback=is_loopback) == Identity("admin", is_loopback)
    assert users.known("blank", is_loopback=is_loopback) == Identity("blank", is_loopback)


@pytest.mark.parametrize("name", ["", "nobody", "Admin", "admin\0"])
def test_a_certificate_makes_no_user(users: Users, name: str) -> None:
    assert users.known(name, is_loopback=True) is None


def test_guest_comes_from_this_machine_only_with_a_certificate_too(users: Users) -> None:
    assert users.known("guest", is_loopback=True) == Identity("guest", True)
    assert users.known("guest", is_loopback=False) is None


def test_a_certificate_of_who_has_the_default_password_is_good_from_this_machine_only() -> None:
    users = users_of(User("admin", OLD, default_password="admin"))
    assert users.known("admin", is_loopback=True) == Identity("admin", True)
    assert users.known("admin", is_loopback=False) is None
