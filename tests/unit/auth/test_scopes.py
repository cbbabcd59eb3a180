"""What scopes permit; the answers are those of RabbitMQ's rabbit_oauth2_scope, where no comment says otherwise."""

from __future__ import annotations

import pytest

from broker.auth.access import Permission, UserLimits
from broker.auth.directory import Directory
from broker.auth.identity import Identity
from broker.auth.recorded_access import PatternPermissions, RecordedAccess
from broker.auth.scopes import GrantedAccess, ScopePermissions, TokenGrants, matches, wildcard
from broker.errors import NotAllowed
from broker.ports.records import PermissionRecord, UserRecord

CONFIGURE, WRITE, READ = Permission.CONFIGURE, Permission.WRITE, Permission.READ


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a", "a", True), ("a", "ab", False), ("a*", "ab", True), ("*b", "ab", True), ("a*b", "ab", True),
        ("**", "ab", True), ("*", "", True), ("", "", True), ("", "a", False), ("a*b*c", "aXbXc", True),
        ("a+b", "a+b", False), ("a+b", "a b", True), ("a%2Ab", "a*b", True), ("a%2Ab", "aXb", False),
        ("*c*", "abc", True), ("a*a", "a", False), ("ab*bc", "abc", False), ("%2F", "/", True),
        ("gr%C3%BCn", "grün", True), ("*a*", "b", False), ("x*y*z", "xzy", False),
        # RabbitMQ takes the first place where a part fits, and refuses these.
        ("*b", "abb", True), ("*ab", "abab", True), ("a**", "a", True),
    ],
)  # fmt: skip
def test_a_star_is_anything_and_the_rest_is_written_as_in_a_url(pattern: str, name: str, expected: bool) -> None:
    parts = wildcard(pattern)
    assert parts is not None
    assert matches(parts, name) is expected


@pytest.mark.parametrize("pattern", ["%", "%z1", "a%2", "*/%"])
def test_what_is_not_written_as_in_a_url_is_no_pattern(pattern: str) -> None:
    assert wildcard(pattern) is None


def permissions(*scopes: str, vhost: str = "/", **claims: object) -> ScopePermissions:
    found = TokenGrants(scopes, claims).require("ann", vhost)
    assert isinstance(found, ScopePermissions)
    return found


def test_a_scope_permits_one_thing_in_the_virtual_hosts_that_it_names() -> None:
    found = permissions("write:%2F/x-*", "read:*/q", "configure:other/*")
    assert found.permits(WRITE, "exchange", "x-1")
    assert not found.permits(WRITE, "exchange", "y")
    assert found.permits(READ, "queue", "q")
    assert not found.permits(READ, "queue", "x-1")
    assert not found.permits(CONFIGURE, "queue", "q")


@pytest.mark.parametrize("scope", ["read:other/*", "tag:administrator", "*:*/*", "read:*", "read:*/*/*/*", "read", "",
                                   "read:%/q", "Read:*/*", "configure", "read:/*"])  # fmt: skip
def test_without_a_scope_for_it_a_virtual_host_is_not_opened(scope: str) -> None:
    with pytest.raises(NotAllowed, match="access to vhost '/' refused for user 'ann'"):
        permissions(scope)


def test_keys_of_topic_exchanges_need_a_scope_with_a_key() -> None:
    found = permissions("write:*/x/a.*", "write:*/y", "read:*/x/b")
    assert found.permits_key(WRITE, "x", "a.1")
    assert not found.permits_key(WRITE, "x", "b.1")
    assert not found.permits_key(WRITE, "y", "a.1")
    assert not found.permits_key(READ, "x", "a.1")
    assert found.permits_key(READ, "x", "b")
    assert found.permits(WRITE, "exchange", "x")


def test_variables_are_the_virtual_host_and_claims_as_they_are_written() -> None:
    found = permissions("read:{vhost}/{sub}-*", "write:*/{nothing}", vhost="a/*", sub="a*n/n")
    assert found.permits(READ, "queue", "a*n/n-1")
    assert not found.permits(READ, "queue", "aXn/n-1")
    assert found.permits(WRITE, "exchange", "nothing")
    with pytest.raises(NotAllowed):
        permissions("read:{sub}/*", sub="*")


def test_a_claim_that_is_no_text_of_unicode_matches_nothing() -> None:
    found = permissions("read:*/{sub}", sub="\ud800")
    assert not found.permits(READ, "queue", "\ud800")


def test_equal_permissions_are_one_kind_whatever_their_order() -> None:
    one, other = permissions("read:*/a", "write:%2F/b"), permissions("write:*/b", "read:%2F/a", "read:*/a")
    assert one == other
    assert hash(one) == hash(other)
    assert one != permissions("read:*/a")
    assert one != "read:*/a"


def test_what_was_found_out_is_kept_and_bounded() -> None:
    grants = TokenGrants(["read:*/q*"], {})
    found = grants.require("ann", "/")
    assert grants.require("ann", "/") is found
    assert sum(found.permits(READ, "queue", f"q{number}") for number in range(3000)) == 3000
    assert len(found._verdicts) <= 1000
    for number in range(300):
        grants.require("ann", f"v{number}")
    assert len(grants._permissions) <= 100


def test_tags_are_scopes_too() -> None:
    assert TokenGrants(["tag:monitoring", "read:*/*", "tag:administrator", "tag:monitoring"], {}).tags == (
        "administrator",
        "monitoring",
    )


def test_whoever_has_no_token_is_asked_for_elsewhere() -> None:
    directory = Directory()
    directory.put_user(UserRecord("ann", tags="impersonator", max_channels=7))
    directory.put_permission(PermissionRecord("ann", "/", "a", "", ""))
    access = GrantedAccess(RecordedAccess(directory))
    ann, token = Identity("ann", True), Identity("ann", True, grants=TokenGrants(["configure:*/t"], {}))
    for ask in (access.permissions, access.permissions_now):
        by_record, by_token = ask(ann, "/"), ask(token, "/")
        assert by_record == PatternPermissions("a", "", "")
        assert isinstance(by_token, ScopePermissions)
        assert by_token.permits(CONFIGURE, "queue", "t")
    assert access.limits("ann") == UserLimits(max_channels=7)
    assert (access.may_impersonate(ann), access.may_impersonate(token)) == (True, False)
