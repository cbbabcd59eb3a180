from __future__ import annotations

import pytest

from broker.auth.carbon.names import login_of
from broker.auth.carbon.rules import LoginRules
from broker.auth.password_hash import PLAIN_TEXT, WSO2_DIGESTS
from broker.config.user_mgt import PASSWORD_DIGESTS
from broker.ports.user_database import StoreRules

RULES = LoginRules(StoreRules(user_name_expression=r"^[\S]{3,30}$", password_expression=r"^[\S]{5,30}$"))


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("alice", "secret", ""),
        ("alice", None, ""),
        ("al", "secret", "the name does not match UsernameJavaRegEx"),
        ("a" * 31, "secret", "the name does not match UsernameJavaRegEx"),
        ("alice", "four", "the password does not match PasswordJavaRegEx"),
        ("alice", "with blank", "the password does not match PasswordJavaRegEx"),
        ("alice!acme.com", "secret", "users of other tenants than carbon.super are not served"),
        ("ldap/alice", "secret", "there is no user store 'LDAP' here"),
        ("WSO2.System.User", "secret", "a user of the system never logs in"),
    ],
)
def test_what_can_be_refused_without_the_database_is(name: str, password: str | None, why: str) -> None:
    assert RULES.what_is_wrong(login_of(name), password) == why


def test_the_digests_of_the_configuration_are_those_that_can_be_checked() -> None:
    assert set(PASSWORD_DIGESTS) == {*WSO2_DIGESTS, PLAIN_TEXT}


def test_the_role_of_administrators_is_internal_where_none_can_be_made_in_the_store() -> None:
    assert StoreRules().admin_roles == {"admin"}
    assert StoreRules(read_only=True).admin_roles == {"admin", "Internal/admin"}
    assert StoreRules(write_groups=False).admin_roles == {"admin", "Internal/admin"}


def test_blanks_around_a_password_and_the_case_of_a_name_count_when_they_are_told_to() -> None:
    strict = StoreRules(trims_passwords=False)
    assert (strict.password_of(" x "), strict.key("Alice")) == (" x ", "Alice")
    lenient = StoreRules(case_insensitive_user_name=True)
    assert (lenient.password_of(" x "), lenient.key("Alice")) == ("x", "alice")
