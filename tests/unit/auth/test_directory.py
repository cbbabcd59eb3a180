"""Who there is, and what they may do."""

from __future__ import annotations

from broker.auth.directory import Directory
from broker.ports.records import (
    PermissionKey,
    PermissionRecord,
    TopicPermissionKey,
    TopicPermissionRecord,
    UserKey,
    UserRecord,
)

ANN = UserRecord("ann")
ALL = PermissionRecord("ann", "/", ".*", ".*", ".*")
TOPIC = TopicPermissionRecord("ann", "/", "amq.topic", "^a", "^b")


def filled() -> tuple[Directory, list[str]]:
    """A directory with ann, and whom it has told of since."""
    directory, told = Directory(), list[str]()
    directory.put_user(ANN)
    directory.put_permission(ALL)
    directory.put_topic(TOPIC)
    directory.on_change = told.append
    return directory, told


def test_what_was_put_is_found() -> None:
    directory, _ = filled()
    assert directory.user("ann") == ANN
    assert directory.user("bob") is None
    assert directory.permission("ann", "/") == ALL
    assert directory.permission("ann", "carbon") is None
    assert directory.topics("ann", "/") == (TOPIC,)
    assert directory.topics("ann", "carbon") == ()
    assert (list(directory.users), list(directory.permissions), list(directory.topic_permissions)) == (
        [ANN],
        [ALL],
        [TOPIC],
    )


def test_only_what_changes_something_is_told() -> None:
    directory, told = filled()
    directory.put_user(ANN)
    directory.put_permission(ALL)
    directory.put_topic(TOPIC)
    directory.drop_user(UserKey("bob"))
    directory.drop_permission(PermissionKey("ann", "carbon"))
    directory.drop_topic(TopicPermissionKey("ann", "/", "other"))
    assert told == []
    directory.put_permission(PermissionRecord("ann", "/", "", ".*", ".*"))
    directory.drop_topic(TopicPermissionKey("ann", "/", "amq.topic"))
    directory.drop_permission(PermissionKey("ann", "/"))
    assert told == ["ann"] * 3
    assert directory.topics("ann", "/") == ()


def test_a_user_goes_with_all_that_the_user_may_do() -> None:
    directory, told = filled()
    directory.drop_user(UserKey("ann"))
    assert told == ["ann"]
    assert (list(directory.users), list(directory.permissions), list(directory.topic_permissions)) == ([], [], [])


def test_a_virtual_host_goes_with_all_that_may_be_done_in_it() -> None:
    directory, told = filled()
    directory.drop_vhost("carbon")
    assert list(directory.permissions) == [ALL]
    directory.drop_vhost("/")
    assert told == []
    assert (list(directory.users), list(directory.permissions), list(directory.topic_permissions)) == ([ANN], [], [])
