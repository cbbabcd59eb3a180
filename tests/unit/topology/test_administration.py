"""What an administrator changes: virtual hosts, users and permissions, and what comes of it for open connections."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.auth.recorded_access import RecordedAccess
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import (
    BasicCancel,
    BasicConsume,
    BasicConsumeOk,
    BasicPublish,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    ConnectionOpen,
    ConnectionTuneOk,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.errors import AdministrationError
from broker.ports.records import (
    GlobalParameterRecord,
    PermissionRecord,
    PolicyKey,
    PolicyRecord,
    TopicPermissionRecord,
    UserRecord,
    VirtualHostSettingsRecord,
)
from broker.topology.administration import MAX_JSON, MAX_LIMIT, Administration, with_tags
from broker.topology.first_start import first_start
from tests.support.harness import ALL_CAPABILITIES, Client, Harness, start_ok
from tests.support.stage import drive

GUEST = UserRecord("guest")
ALL = PermissionRecord("guest", "/", ".*", ".*", ".*")


class Node:
    """A harness whose access control is the directory; guest may do everything in the virtual host /."""

    def __init__(self) -> None:
        self.harness = Harness()
        live = self.harness.live
        self.access = RecordedAccess(live.directory)
        object.__setattr__(self.harness.shared, "access", self.access)
        self.administration = Administration(live, self.harness.parts.recorder)
        live.directory.on_change = self.on_change
        live.on_vhost_dropped = lambda name: self.harness.broker.close_connections("deleted", vhost=name)
        self.do(self.administration.put_user(GUEST))
        self.do(self.administration.set_permissions(ALL))

    def on_change(self, user: str) -> None:
        if self.harness.live.directory.user(user) is None:
            self.harness.broker.close_connections("deleted", user=user)
        else:
            self.harness.broker.on_user_changed(user)

    def do(self, change: object) -> None:
        """Carry a change out, and let everybody notice."""
        self.harness.stage.spawn(change)  # type: ignore[arg-type]
        self.harness.run()
        self.harness.commit()

    def permit(self, **permissions: str) -> None:
        self.do(self.administration.set_permissions(replace(ALL, **permissions)))


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def peer(node: Node) -> Client:
    return node.harness.peer()


def closes(peer: Client) -> list[str]:
    """Return the texts of the closes since the last call."""
    return [method.reply_text for _, method in peer.received() if isinstance(method, ChannelClose | ConnectionClose)]


# What takes effect


def test_a_revoked_permission_refuses_the_next_publish(node: Node, peer: Client) -> None:
    peer.call(1, QueueDeclare(queue="q"))
    peer.publish("q", b"a")
    node.permit(write="^other$")
    assert closes(peer) == []
    peer.publish("q", b"b")
    assert closes(peer) == [
        "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'guest'"
    ]
    assert node.harness.vhost.queues["q"].ready_count == 1


def test_a_granted_permission_is_good_at_once(node: Node, peer: Client) -> None:
    node.permit(configure="")
    peer.send(1, QueueDeclare(queue="q"))
    assert closes(peer) == ["ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'guest'"]
    node.permit()
    peer.send(2, ChannelOpen())
    assert isinstance(peer.call(2, QueueDeclare(queue="q")), QueueDeclareOk)


def test_a_consumer_that_may_not_read_any_more_is_cancelled(node: Node, peer: Client) -> None:
    for name in ("q", "mine"):
        peer.call(1, QueueDeclare(queue=name))
        assert peer.call(1, BasicConsume(queue=name, consumer_tag=name)) == BasicConsumeOk(name)
    node.permit(read="^mine$")
    assert [method for _, method in peer.received()] == [BasicCancel("q", True)]
    assert not node.harness.vhost.queues["q"].consumers
    for name in ("q", "mine"):
        peer.publish(name, name.encode())
    assert peer.bodies() == [b"mine"]


def test_a_deleted_user_is_disconnected(node: Node, peer: Client) -> None:
    node.do(node.administration.delete_user("guest"))
    assert closes(peer) == ["CONNECTION_FORCED - deleted"]
    assert list(node.administration.directory.permissions) == []


def test_a_deleted_virtual_host_takes_everything_with_it(node: Node, peer: Client) -> None:
    peer.call(1, QueueDeclare(queue="q", durable=True))
    node.do(node.administration.delete_vhost("/"))
    assert closes(peer) == ["CONNECTION_FORCED - deleted"]
    assert [each.vhost for each in node.administration.vhosts] == ["carbon"]
    assert list(node.administration.directory.permissions) == []
    client = node.harness.connect()
    assert client is not None


def test_a_new_virtual_host_is_open_to_whom_it_is_opened(node: Node) -> None:
    node.do(node.administration.create_vhost(VirtualHostSettingsRecord("new", default_queue_type="quorum")))
    node.do(node.administration.set_permissions(replace(ALL, vhost="new")))
    peer = node.harness.peer(vhost="new")
    peer.call(1, QueueDeclare(queue="q", durable=True))
    assert node.harness.broker.vhosts["new"].queues["q"].settings.type.value == "quorum"


def test_the_number_of_queues_is_limited(node: Node, peer: Client) -> None:
    node.do(node.administration.create_vhost(VirtualHostSettingsRecord("/", max_queues=1)))
    peer.call(1, QueueDeclare(queue="one"))
    peer.send(1, QueueDeclare(queue="two"))
    assert closes(peer) == ["PRECONDITION_FAILED - cannot declare queue 'two': queue limit in vhost '/' (1) is reached"]


@pytest.mark.parametrize("of_user", [True, False])
def test_connections_are_limited(node: Node, peer: Client, of_user: bool) -> None:
    if of_user:
        node.do(node.administration.put_user(replace(GUEST, max_connections=1)))
        text = "NOT_ALLOWED - connection refused for user 'guest': user connection limit (1) is reached"
    else:
        node.do(node.administration.create_vhost(VirtualHostSettingsRecord("/", max_connections=1)))
        text = "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached"
    another = node.harness.connect()
    another.send_raw(PROTOCOL_HEADER)
    another.send(0, start_ok(ALL_CAPABILITIES))
    another.send(0, ConnectionTuneOk())
    another.send(0, ConnectionOpen("/"))
    assert closes(another) == [text]
    assert len(node.harness.broker.open_connections) == 1


def test_channels_of_a_user_are_limited(node: Node, peer: Client) -> None:
    node.do(node.administration.put_user(replace(GUEST, max_channels=1)))
    peer.send(2, ChannelOpen())
    assert closes(peer) == [
        "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed user limit of (1)"
    ]


def test_channels_of_a_user_count_on_all_connections(node: Node, peer: Client) -> None:
    node.do(node.administration.put_user(replace(GUEST, max_channels=3)))
    other = node.harness.peer()
    other.send(2, ChannelOpen())
    assert closes(other) == []
    peer.send(2, ChannelOpen())
    assert closes(peer) == [
        "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed user limit of (3)"
    ]
    other.send(3, ChannelOpen())
    assert closes(other) == []
    assert node.harness.broker.connections_of == {"guest": node.harness.broker.open_connections}
    other.lose()
    assert node.harness.broker.connections_of == {}


def test_keys_at_topic_exchanges_are_permitted(node: Node, peer: Client) -> None:
    node.do(node.administration.set_topic_permissions(TopicPermissionRecord("guest", "/", "amq.topic", "^a", "^b")))
    peer.send(1, BasicPublish(0, "amq.topic", "a.1"), body=b"m")
    assert closes(peer) == []
    peer.send(1, BasicPublish(0, "amq.topic", "b.1"), body=b"m")
    assert closes(peer) == [
        "ACCESS_REFUSED - write access to topic 'b.1' in exchange 'amq.topic' in vhost '/' refused for user 'guest'"
    ]
    node.do(node.administration.clear_topic_permissions("guest", "/"))
    peer.send(2, ChannelOpen())
    peer.received()
    peer.send(2, BasicPublish(0, "amq.topic", "b.1"), body=b"m")
    assert closes(peer) == []


def test_cleared_permissions_leave_nothing(node: Node, peer: Client) -> None:
    node.do(node.administration.clear_permissions("guest", "/"))
    peer.send(1, QueueDeclare(queue="q"))
    assert closes(peer) == ["ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'guest'"]


# Policies


def test_a_policy_is_set_once_and_cleared(node: Node, peer: Client) -> None:
    peer.call(1, QueueDeclare(queue="q"))
    queue = node.harness.vhost.queues["q"]
    policy = PolicyRecord("/", "p", pattern="^q", definition=b'{ "max-length" : 3 }')
    node.do(node.administration.put_policy(policy))
    assert queue.settings.max_length == 3
    assert node.administration.policies == [replace(policy, definition=b'{"max-length":3}')]
    node.harness.topology.failure = AssertionError("it is recorded again")
    drive(node.administration.put_policy(policy))
    node.harness.topology.failure = None
    node.do(node.administration.put_policy(replace(policy, is_operator=True, definition=b'{"max-length":2}')))
    assert queue.settings.max_length == 2
    node.do(node.administration.clear_policy(PolicyKey("/", "p", True)))
    node.do(node.administration.clear_policy(PolicyKey("/", "p")))
    assert queue.settings.max_length is None
    assert node.administration.policies == []


def test_parameters_of_the_cluster_are_kept(node: Node) -> None:
    node.do(node.administration.put_global_parameter(GlobalParameterRecord("b", b'{"x": 1}')))
    node.do(node.administration.put_global_parameter(GlobalParameterRecord("a", b"2")))
    assert node.administration.global_parameters == [
        GlobalParameterRecord("a", b"2"),
        GlobalParameterRecord("b", b'{"x":1}'),
    ]
    node.do(node.administration.clear_global_parameter("a"))
    assert [each.name for each in node.administration.global_parameters] == ["b"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": ""}, "the name of a policy is empty"),
        ({"pattern": "("}, "the expression '\\(' is not served: missing \\)"),
        ({"apply_to": "nothing"}, "a policy applies to all, queues, exchanges, .*; not to 'nothing'"),
        ({"priority": 1 << 63}, "the priority of a policy is a number of at most 63 bits"),
        ({"definition": b"["}, "the definition of the policy is no JSON"),
        ({"definition": b'{"max-length":NaN}'}, "the definition of the policy is no JSON"),
        ({"definition": b"[" * 30_000}, "the definition of the policy is no JSON"),
        ({"definition": b"[]"}, "the definition of a policy is a JSON object"),
        ({"definition": b" " * (MAX_JSON + 1)}, f"the definition of the policy is longer than {MAX_JSON} octets"),
        ({"definition": b"{}"}, "policy 'p' is not valid: no policy provided"),
        ({"definition": b'{"expires": 0}'}, "policy 'p' is not valid: 0 is not a valid queue expiry"),
        ({"vhost": "none"}, "there is no virtual host 'none'"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(node: Node, change: dict[str, Any], reason: str) -> None:
    policy = PolicyRecord("/", "p", pattern="^q", definition=b'{"max-length":3}')
    with pytest.raises(AdministrationError, match=f"^{reason}"):
        drive(node.administration.put_policy(replace(policy, **change)))
    assert node.administration.policies == []


# What is refused


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (UserRecord(""), "the name of a user is empty"),
        (UserRecord("x" * 256), "the name of a user is longer than 255 octets"),
        (UserRecord("ann", tags="a,,b"), "a tag is empty, or has blanks around it"),
        (UserRecord("ann", max_channels=MAX_LIMIT + 1), f"a limit is from 0 to {MAX_LIMIT}, or -1 for none"),
        (UserRecord("ann", max_connections=-2), f"a limit is from 0 to {MAX_LIMIT}, or -1 for none"),
    ],
)
def test_a_user_that_cannot_be_is_refused(node: Node, record: UserRecord, reason: str) -> None:
    with pytest.raises(AdministrationError, match=f"^{reason}$"):
        drive(node.administration.put_user(record))


def test_what_is_not_there_is_said(node: Node) -> None:
    administration = node.administration
    for change, reason in (
        (administration.delete_user("ann"), "there is no user 'ann'"),
        (administration.change_user("ann", lambda user: user), "there is no user 'ann'"),
        (administration.delete_vhost("none"), "there is no virtual host 'none'"),
        (administration.set_permissions(replace(ALL, user="ann")), "there is no user 'ann'"),
        (administration.set_permissions(replace(ALL, vhost="none")), "there is no virtual host 'none'"),
        (administration.clear_permissions("guest", "none"), "there is no virtual host 'none'"),
        (administration.create_vhost(VirtualHostSettingsRecord("v", default_queue_type="x")), "no queue type 'x'"),
        (administration.clear_policy(PolicyKey("/", "p")), "there is no policy 'p' in virtual host '/'"),
        (administration.clear_policy(PolicyKey("/", "p", True)), "there is no operator policy 'p' in virtual host '/'"),
        (administration.clear_policy(PolicyKey("none", "p")), "there is no virtual host 'none'"),
        (administration.clear_global_parameter("p"), "there is no parameter 'p'"),
    ):
        with pytest.raises(AdministrationError, match=reason):
            drive(change)


def test_an_expression_that_cannot_be_served_is_refused(node: Node) -> None:
    with pytest.raises(AdministrationError, match="is not served: invalid perl operator"):
        drive(node.administration.set_permissions(replace(ALL, read="(?!a)")))
    assert node.administration.directory.permission("guest", "/") == ALL


def test_tags_are_kept_once_each() -> None:
    assert with_tags(GUEST, ["management", "administrator", "management"]).tags == "management,administrator"
    with pytest.raises(AdministrationError, match="a tag is empty"):
        with_tags(GUEST, [" "])


# The first start


def test_a_first_start_makes_users_who_may_do_everything() -> None:
    node = Node()
    node.do(node.administration.delete_user("guest"))
    node.do(first_start(node.administration, [UserRecord("admin"), GUEST]))
    found = {(each.user, each.vhost) for each in node.administration.directory.permissions}
    assert found == {(user, vhost) for user in ("admin", "guest") for vhost in ("/", "carbon")}


def test_a_later_start_changes_nothing(node: Node) -> None:
    node.do(node.administration.delete_vhost("carbon"))
    node.do(first_start(node.administration, [UserRecord("admin")]))
    assert [each.vhost for each in node.administration.vhosts] == ["/"]
    assert [each.name for each in node.administration.directory.users] == ["guest"]
