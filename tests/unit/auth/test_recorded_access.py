"""What the directory permits (contract A8, A9)."""

from __future__ import annotations

import pytest

from broker.auth.access import NO_LIMITS, Permission, UserLimits
from broker.auth.directory import Directory
from broker.auth.identity import Identity
from broker.auth.recorded_access import NOTHING, RecordedAccess
from broker.errors import NotAllowed
from broker.ports.records import PermissionRecord, TopicPermissionRecord, UserRecord

ANN, BOB = Identity("ann", is_loopback=True), Identity("bob", is_loopback=True)
CONFIGURE, WRITE, READ = Permission.CONFIGURE, Permission.WRITE, Permission.READ


@pytest.fixture
def directory() -> Directory:
    found = Directory()
    found.put_user(UserRecord("ann", max_connections=5, max_channels=2))
    found.put_permission(PermissionRecord("ann", "/", "^ann-", ".*", ""))
    return found


def test_each_permission_has_its_expression(directory: Directory) -> None:
    permissions = RecordedAccess(directory).permissions(ANN, "/")
    assert permissions.permits(CONFIGURE, "queue", "ann-1")
    assert not permissions.permits(CONFIGURE, "queue", "bob-1")
    assert permissions.permits(WRITE, "exchange", "amq.default")
    assert not permissions.permits(READ, "queue", "ann-1")


def test_without_permissions_a_virtual_host_is_closed(directory: Directory) -> None:
    access = RecordedAccess(directory)
    for identity, vhost in ((ANN, "carbon"), (BOB, "/")):
        with pytest.raises(NotAllowed, match=f"^access to vhost '{vhost}' refused for user '{identity.user}'$"):
            access.permissions(identity, vhost)
        assert access.permissions_now(identity, vhost) == NOTHING
    assert access.permissions_now(ANN, "/") == access.permissions(ANN, "/")


def test_those_who_may_do_the_same_are_equal(directory: Directory) -> None:
    directory.put_permission(PermissionRecord("bob", "/", "^ann-", ".*", ""))
    access = RecordedAccess(directory)
    assert access.permissions(ANN, "/") == access.permissions(BOB, "/")
    assert hash(access.permissions(ANN, "/")) == hash(access.permissions(BOB, "/"))
    directory.put_topic(TopicPermissionRecord("bob", "/", "amq.topic", "^a", ".*"))
    assert access.permissions(ANN, "/") != access.permissions(BOB, "/")


def test_keys_at_a_topic_exchange(directory: Directory) -> None:
    directory.put_topic(TopicPermissionRecord("ann", "/", "amq.topic", r"^{username}\.{vhost}", "^x"))
    permissions = RecordedAccess(directory).permissions(ANN, "/")
    assert permissions.permits_key(WRITE, "amq.topic", "ann./.1")
    assert not permissions.permits_key(WRITE, "amq.topic", "bob./.1")
    assert permissions.permits_key(READ, "amq.topic", "x")
    assert not permissions.permits_key(READ, "amq.topic", "y")
    assert permissions.permits_key(WRITE, "other", "bob./.1")


def test_limits_are_those_of_the_user(directory: Directory) -> None:
    access = RecordedAccess(directory)
    assert access.limits("ann") == UserLimits(5, 2)
    assert access.limits("bob") == NO_LIMITS


def test_a_tag_lets_users_publish_in_the_name_of_others(directory: Directory) -> None:
    access = RecordedAccess(directory)
    assert not access.may_impersonate(ANN)
    assert not access.may_impersonate(BOB)
    directory.put_user(UserRecord("ann", tags="management,impersonator"))
    assert access.may_impersonate(ANN)
