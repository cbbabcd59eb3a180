"""Contract C6, C7."""

from __future__ import annotations

import pytest

from broker.auth.identity import Identity
from broker.auth.users import User, Users

USERS = Users([User("guest", "guest", loopback_only=True), User("admin", "pässwörd"), User("blank", "")])


@pytest.mark.parametrize("is_loopback", [True, False])
def test_the_right_password_is_accepted(is_loopback: bool) -> None:
    assert USERS.log_in("admin", "pässwörd", is_loopback=is_loopback) == Identity("admin", is_loopback)


@pytest.mark.parametrize(
    ("name", "password"),
    [("admin", "guest"), ("admin", ""), ("Admin", "pässwörd"), ("nobody", "guest"), ("nobody", ""), ("", ""),
     ("blank", "")],
)  # fmt: skip
def test_anything_else_is_refused(name: str, password: str) -> None:
    assert USERS.log_in(name, password, is_loopback=True) is None


def test_guest_comes_from_this_machine_only() -> None:
    assert USERS.log_in("guest", "guest", is_loopback=True) == Identity("guest", True)
    assert USERS.log_in("guest", "guest", is_loopback=False) is None


@pytest.mark.parametrize("is_loopback", [True, False])
def test_a_user_whom_a_certificate_names_needs_no_password(is_loopback: bool) -> None:
    assert USERS.known("admin", is_loopback=is_loopback) == Identity("admin", is_loopback)
    assert USERS.known("blank", is_loopback=is_loopback) == Identity("blank", is_loopback)


@pytest.mark.parametrize("name", ["", "nobody", "Admin", "admin\0"])
def test_a_certificate_makes_no_user(name: str) -> None:
    assert USERS.known(name, is_loopback=True) is None


def test_guest_comes_from_this_machine_only_with_a_certificate_too() -> None:
    assert USERS.known("guest", is_loopback=True) == Identity("guest", True)
    assert USERS.known("guest", is_loopback=False) is None
