"""Direct reply-to on one node and, over links in memory, on two (contract N19)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from broker.amqp.direct_reply import MOST_UNREAD, DirectReplies
from broker.broker import Limits
from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.properties import BasicProperties
from broker.coordination.replies import ReplyIntake, ReplySender
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, PeerUnreachable
from tests.support.composition import OneOfMany
from tests.support.harness import Client, Harness
from tests.support.peer import Content
from tests.support.stage import Gate

REPLY_TO = "amq.rabbitmq.reply-to"
CONSUME = amqp.BasicConsume(queue=REPLY_TO, consumer_tag="c", no_ack=True)


def closed(code: int, text: str, failed: type[Method]) -> list[tuple[int, Method]]:
    return [(1, amqp.ChannelClose(code, text, *failed.ids))]


def address_of(client: Client, taker: Client | None = None) -> str:
    """Let `client` ask something and return the address for the answer, as `taker`, or the client itself, reads it."""
    taker = taker or client
    taker.send(1, amqp.QueueDeclare(queue="questions"))
    client.publish("questions", b"?", properties=BasicProperties(reply_to=REPLY_TO, correlation_id="7"))
    taker.contents()
    taker.send(1, amqp.BasicGet(queue="questions", no_ack=True))
    (question,) = taker.contents()
    assert (question.body, question.properties.correlation_id) == (b"?", "7")
    taker.received()
    client.received()
    assert question.properties.reply_to is not None
    return question.properties.reply_to


@pytest.fixture
def asking(harness: Harness) -> Client:
    """A client that consumes replies."""
    client = harness.peer()
    assert client.call(1, CONSUME) == amqp.BasicConsumeOk("c")
    return client


def test_a_request_gets_an_address_for_its_reply_that_is_the_channels_own(harness: Harness, asking: Client) -> None:
    address = address_of(asking)
    assert address.startswith(f"{REPLY_TO}.")
    assert address_of(asking) == address
    other = harness.peer()
    other.send(1, CONSUME)
    assert address_of(other) != address


def test_a_reply_comes_to_the_consumer_as_it_was_published(asking: Client, peer: Client) -> None:
    address = address_of(asking)
    properties = BasicProperties(correlation_id="7", headers=FieldTable.of({"a": 1}), delivery_mode=2)
    peer.publish(address, b"one", b"two", properties=properties)
    last = asking.connection.channels[1].deliveries.last_tag
    assert asking.contents() == [
        Content(1, amqp.BasicDeliver("c", last - 1, False, "", address), properties, b"one"),
        Content(1, amqp.BasicDeliver("c", last, False, "", address), properties, b"two"),
    ]


def test_a_large_reply_and_an_empty_one_arrive_whole(asking: Client, peer: Client) -> None:
    address = address_of(asking)
    bodies = [b"", b"x" * 300_000, b"y"]
    for body in bodies:
        peer.publish(address, body)
    assert asking.bodies() == bodies


def test_a_client_with_small_frames_gets_a_large_reply(harness: Harness, peer: Client) -> None:
    asking = harness.peer(frame_max=4096)
    asking.send(1, CONSUME)
    peer.publish(address_of(asking), b"x" * 10_000)
    assert asking.bodies() == [b"x" * 10_000]


def test_all_other_properties_of_a_request_stay_octet_by_octet(asking: Client, peer: Client) -> None:
    asking.send(1, amqp.QueueDeclare(queue="questions"))
    sent = BasicProperties(
        "text/plain", "gzip", FieldTable.of({"h": [1, "2"]}), 1, 9, "c", REPLY_TO, None, "m", 12, "t", "guest", "a", "k"
    )
    asking.publish("questions", b"?", properties=sent)
    peer.send(1, amqp.BasicGet(queue="questions", no_ack=True))
    (got,) = peer.contents()
    assert replace(got.properties, reply_to=REPLY_TO) == sent
    assert got.properties.reply_to != REPLY_TO


@pytest.mark.parametrize("where", ["correlation_id", "type", "reply_to"])
def test_a_property_that_only_contains_the_name_is_left_alone(peer: Client, where: str) -> None:
    peer.send(1, amqp.QueueDeclare(queue="q"))
    text = {"reply_to": f"{REPLY_TO}.x"}.get(where, f"\x15{REPLY_TO}")
    properties = replace(BasicProperties(reply_to="r"), **{where: text})
    peer.publish("q", b"m", properties=properties)
    peer.send(1, amqp.BasicGet(queue="q", no_ack=True))
    assert [content.properties for content in peer.contents()] == [properties]


# What is refused


def test_a_consumer_of_replies_cannot_acknowledge(peer: Client) -> None:
    peer.send(1, amqp.BasicConsume(queue=REPLY_TO))
    text = "PRECONDITION_FAILED - reply consumer cannot acknowledge"
    assert peer.received() == closed(406, text, amqp.BasicConsume)


def test_a_channel_has_one_consumer_of_replies(asking: Client) -> None:
    asking.send(1, amqp.BasicConsume(queue=REPLY_TO, no_ack=True))
    assert asking.received() == closed(406, "PRECONDITION_FAILED - reply consumer already set", amqp.BasicConsume)


def test_each_channel_may_have_its_consumer(asking: Client) -> None:
    asking.send(2, amqp.ChannelOpen())
    assert asking.call(2, CONSUME) == amqp.BasicConsumeOk("c")


def test_a_request_without_a_consumer_of_replies_is_refused(peer: Client) -> None:
    peer.publish("questions", b"?", properties=BasicProperties(reply_to=REPLY_TO))
    text = "PRECONDITION_FAILED - fast reply consumer does not exist"
    assert peer.received() == closed(406, text, amqp.BasicPublish)


def test_a_consumer_of_replies_serves_no_other_channel(asking: Client) -> None:
    asking.send(2, amqp.ChannelOpen())
    asking.received()
    asking.publish("questions", b"?", channel=2, properties=BasicProperties(reply_to=REPLY_TO))
    ((channel, close),) = asking.received()
    assert (channel, type(close)) == (2, amqp.ChannelClose)


def test_tags_of_consumers_are_taken_once(asking: Client, peer: Client) -> None:
    peer.send(1, amqp.QueueDeclare(queue="q"))
    asking.send(1, amqp.BasicConsume(queue="q", consumer_tag="c"))
    ((_, close),) = asking.received()
    assert isinstance(close, amqp.ConnectionClose)
    assert close.reply_text == "NOT_ALLOWED - attempt to reuse consumer tag 'c'"
    peer.send(1, amqp.BasicConsume(queue="q", consumer_tag="c"))
    peer.received()
    peer.send(1, CONSUME)
    assert isinstance(peer.received()[0][1], amqp.ConnectionClose)


def test_the_limit_of_consumers_holds_for_consumers_of_replies() -> None:
    peer = Harness(limits=Limits(max_consumers_per_channel=1)).peer()
    peer.send(1, amqp.QueueDeclare(queue="q"))
    peer.send(1, amqp.BasicConsume(queue="q"))
    peer.received()
    peer.send(1, CONSUME)
    assert isinstance(peer.received()[0][1], amqp.ConnectionClose)


@pytest.mark.parametrize(
    "request_of",
    [lambda queue: amqp.QueueBind(0, queue, "amq.direct", "k"), lambda q: amqp.QueueUnbind(0, q, "amq.direct")],
)
def test_an_address_cannot_be_bound(asking: Client, peer: Client, request_of: Callable[[str], Method]) -> None:
    method = request_of(address_of(asking))
    peer.send(1, method)
    text = "ACCESS_REFUSED - cannot bind or unbind to a volatile (direct reply-to) queue"
    assert peer.received() == closed(403, text, type(method))


def test_the_queue_of_replies_is_no_queue(peer: Client) -> None:
    peer.send(1, amqp.QueueBind(0, REPLY_TO, "amq.direct", "k"))
    text = f"NOT_FOUND - no queue '{REPLY_TO}' in vhost '/'"
    assert peer.received() == closed(404, text, amqp.QueueBind)
    peer.send(2, amqp.ChannelOpen())
    peer.received()
    assert peer.call(2, amqp.QueueDelete(queue=REPLY_TO)) == amqp.QueueDeleteOk(0)
    peer.publish(REPLY_TO, b"m", channel=2, mandatory=True)
    assert [type(method) for _, method in peer.received()] == [amqp.BasicReturn]


# Who is still there


@pytest.mark.parametrize("passive", [True, False])
def test_a_declaration_tells_whether_somebody_waits(asking: Client, peer: Client, passive: bool) -> None:
    address = address_of(asking)
    for name in (REPLY_TO, address):
        declare = amqp.QueueDeclare(queue=name, passive=passive, durable=not passive)
        assert peer.call(1, declare) == amqp.QueueDeclareOk(name, 0, 1)
    asking.send(1, amqp.BasicCancel("c"))
    peer.send(1, declare)
    assert peer.received() == closed(404, f"NOT_FOUND - no queue '{address}' in vhost '/'", amqp.QueueDeclare)


@pytest.mark.parametrize("name", [f"{REPLY_TO}x", f"{REPLY_TO}.", f"{REPLY_TO}.x.y"])
def test_nobody_waits_at_an_address_that_was_never_given(peer: Client, name: str) -> None:
    peer.send(1, amqp.QueueDeclare(queue=name, durable=True))
    assert peer.received() == closed(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", amqp.QueueDeclare)


def test_a_declaration_without_wait_is_not_answered(peer: Client) -> None:
    peer.send(1, amqp.QueueDeclare(queue=REPLY_TO, no_wait=True))
    assert peer.received() == []
    assert peer.call(1, amqp.BasicConsume(no_ack=True, consumer_tag="c")) == amqp.BasicConsumeOk("c")


def test_an_address_is_good_in_its_own_virtual_host_only(harness: Harness, asking: Client) -> None:
    address = address_of(asking)
    stranger = harness.peer(vhost="carbon")
    stranger.publish(address, b"r", mandatory=True)
    assert [type(method) for _, method in stranger.received()] == [amqp.BasicReturn]
    stranger.send(1, amqp.QueueDeclare(queue=address, passive=True))
    assert isinstance(stranger.received()[0][1], amqp.ChannelClose)
    assert asking.contents() == []


End = Callable[[Client], None]
ENDS: dict[str, End] = {
    "cancel": lambda client: client.send(1, amqp.BasicCancel("c")),
    "close": lambda client: client.send(1, amqp.ChannelClose()),
    "an error": lambda client: client.send(1, amqp.BasicAck(99)),
    "the end of the connection": lambda client: client.lose(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_a_reply_to_nobody_is_lost_and_a_mandatory_one_returned_before_its_confirm(
    asking: Client, peer: Client, end: End
) -> None:
    address = address_of(asking)
    end(asking)
    asking.contents()
    peer.send(1, amqp.ConfirmSelect())
    peer.received()
    peer.publish(address, b"lost")
    assert peer.received() == [(1, amqp.BasicAck(1))]
    peer.publish(address, b"returned", mandatory=True)
    assert peer.received() == [(1, amqp.BasicReturn(312, "NO_ROUTE", "", address)), (1, amqp.BasicAck(2))]
    assert peer.bodies() == [b"returned"]
    assert asking.contents() == []


def test_a_mandatory_reply_that_arrives_is_not_returned(asking: Client, peer: Client) -> None:
    peer.send(1, amqp.ConfirmSelect())
    peer.received()
    peer.publish(address_of(asking), b"r", mandatory=True)
    assert (asking.bodies(), peer.received()) == ([b"r"], [(1, amqp.BasicAck(1))])


def test_a_channel_that_consumes_replies_again_has_another_address(asking: Client, peer: Client) -> None:
    before = address_of(asking)
    assert asking.call(1, amqp.BasicCancel("c")) == amqp.BasicCancelOk("c")
    asking.send(1, CONSUME)
    asking.received()
    after = address_of(asking)
    peer.publish(before, b"late")
    peer.publish(after, b"good")
    assert asking.bodies() == [b"good"]


# On the way


def test_replies_pass_by_prefetch(harness: Harness, asking: Client, peer: Client) -> None:
    """The request may be part of the work that the channel has not acknowledged."""
    address = address_of(asking)
    asking.send(1, amqp.QueueDeclare(queue="q"))
    asking.send(1, amqp.BasicQos(0, 1, True))
    asking.send(1, amqp.BasicConsume(queue="q"))
    peer.publish("q", b"work", b"more")
    peer.publish(address, b"reply")
    assert asking.bodies() == [b"work", b"reply"]


def test_replies_for_a_client_that_does_not_read_are_bounded(asking: Client, peer: Client) -> None:
    address = address_of(asking)
    asking.reads = False
    peer.publish(address, *[b"x" * (MOST_UNREAD // 2)] * 4)
    peer.publish(address, b"one more", mandatory=True)
    assert peer.bodies() == [b"one more"]
    unread, _ = asking.connection.output.take(0.0)
    assert MOST_UNREAD < sum(map(len, unread)) < 2 * MOST_UNREAD
    asking.reads = True
    asking.flush()
    peer.publish(address, b"again", mandatory=True)
    assert (asking.bodies(), peer.contents()) == ([b"again"], [])


def test_the_headers_cc_and_bcc_may_name_addresses(asking: Client, peer: Client) -> None:
    address = address_of(asking)
    peer.publish(
        "questions", b"both", mandatory=True, properties=BasicProperties(headers=FieldTable.of({"CC": [address]}))
    )
    peer.publish(
        address, b"too", mandatory=True, properties=BasicProperties(headers=FieldTable.of({"BCC": ["questions"]}))
    )
    assert [(content.method.routing_key, content.body) for content in asking.contents()] == [
        ("questions", b"both"),
        (address, b"too"),
    ]
    for expected in (b"both", b"too"):
        peer.send(1, amqp.BasicGet(queue="questions", no_ack=True))
        assert peer.bodies() == [expected]


def test_another_exchange_does_not_lead_to_an_address(asking: Client, peer: Client) -> None:
    peer.publish(address_of(asking), b"r", exchange="amq.direct", mandatory=True)
    assert (asking.bodies(), peer.bodies()) == ([], [b"r"])


def test_a_reply_cannot_be_immediate(asking: Client, peer: Client) -> None:
    address = address_of(asking)
    peer.send(1, amqp.BasicPublish(routing_key=address, immediate=True), body=b"r")
    ((_, close),) = peer.received()
    assert isinstance(close, amqp.ConnectionClose)
    assert close.reply_text == "NOT_IMPLEMENTED - immediate=true"


def test_a_key_that_only_begins_like_an_address_leads_nowhere(peer: Client) -> None:
    peer.publish(f"{REPLY_TO}.\u00e4", b"r", mandatory=True)
    assert [type(method) for _, method in peer.received()] == [amqp.BasicReturn]


def test_routes_to_addresses_are_not_remembered(harness: Harness, asking: Client, peer: Client) -> None:
    address = address_of(asking)
    spent = harness.broker.caches.spent
    peer.publish(address, b"r")
    peer.publish(f"{address}x", b"r")
    assert harness.broker.caches.spent == spent


def test_a_reply_in_a_transaction_is_sent_with_its_commit(asking: Client, peer: Client) -> None:
    address = address_of(asking)
    peer.call(1, amqp.TxSelect())
    peer.publish(address, b"rolled back")
    peer.call(1, amqp.TxRollback())
    peer.publish(address, b"r")
    assert asking.bodies() == []
    assert peer.call(1, amqp.TxCommit()) == amqp.TxCommitOk()
    assert asking.bodies() == [b"r"]


def test_a_mandatory_reply_to_nobody_is_returned_before_the_commit_is_answered(peer: Client) -> None:
    peer.call(1, amqp.TxSelect())
    peer.publish(f"{REPLY_TO}.x", b"r", mandatory=True)
    peer.send(1, amqp.TxCommit())
    assert [type(method) for _, method in peer.received()] == [amqp.BasicReturn, amqp.TxCommitOk]


# Two nodes


class Link:
    """The service of the other node, as far as replies ask it, over a network that a test may cut or hold."""

    def __init__(self, intake: ReplyIntake, sender: Incarnation) -> None:
        self.gate = Gate()
        self.is_cut = False
        self.calls = 0
        self._intake = intake
        self._sender = sender

    async def deliver_replies(self, call: int, parts: object, caller: Caller) -> object:
        await self._pass()
        return await self._intake.deliver_replies(self._sender, call, parts)  # type: ignore[arg-type]

    async def awaits_reply(self, vhost: str, address: str, caller: Caller) -> bool:
        await self._pass()
        return await self._intake.awaits_reply(vhost, address)

    async def _pass(self) -> None:
        self.calls += 1
        await self.gate.passed()
        if self.is_cut:
            raise PeerUnreachable("cut")


class Node:
    """A node of two, and the link to the other."""

    def __init__(self, name: str) -> None:
        self.incarnation = Incarnation(name, f"incarnation-of-{name}")
        self.harness = Harness()
        self.links: dict[Incarnation, Link] = {}
        names = count(1)
        sender = ReplySender(
            lambda: self.links,  # type: ignore[return-value,arg-type]
            lambda: Caller(name),
            self.harness.stage.spawn,
            self.harness.broker.flush_confirms,
        )
        cluster = OneOfMany(self.incarnation, self.harness.store.record)
        cluster.send_reply = sender.send  # type: ignore[method-assign]
        cluster.awaits_reply = sender.awaits  # type: ignore[method-assign]
        self.replies = DirectReplies(cluster, lambda prefix: f"{prefix}{next(names)}")
        self.harness.shared = replace(self.harness.shared, replies=self.replies)
        self.intake = ReplyIntake(self.replies.deliver, self.replies.is_awaited, lambda: set(self.links))

    def connect_to(self, other: Node) -> Link:
        link = self.links[other.incarnation] = Link(other.intake, self.incarnation)
        return link


class Two:
    """A client of node a that waits for replies, and a client of node b that replies."""

    def __init__(self) -> None:
        self.a, self.b = Node("a"), Node("b")
        self.link = self.b.connect_to(self.a)
        self.asking = self.a.harness.peer()
        self.asking.send(1, CONSUME)
        self.address = address_of(self.asking)
        self.replying = self.b.harness.peer()

    def run(self) -> None:
        self.b.harness.run()
        self.a.harness.run()


@pytest.fixture
def two() -> Two:
    return Two()


def test_an_address_names_the_incarnation_of_its_node_and_fits_into_a_routing_key(two: Two) -> None:
    assert two.address == f"{REPLY_TO}.1.incarnation-of-a"
    assert len(f"{REPLY_TO}.{'x' * 22}.{'f' * 32}") < 255


def test_a_reply_travels_to_the_node_of_the_client_that_asked(two: Two) -> None:
    two.replying.publish(two.address, b"r", properties=BasicProperties(correlation_id="7"))
    two.run()
    ((reply),) = two.asking.contents()
    assert (reply.body, reply.properties.correlation_id, reply.method.routing_key) == (b"r", "7", two.address)


def test_replies_keep_their_order_and_share_calls(two: Two) -> None:
    two.link.gate.is_open = False
    bodies = [b"%d" % number for number in range(500)]
    two.replying.publish(two.address, *bodies)
    two.link.gate.is_open = True
    two.run()
    assert two.asking.bodies() == bodies
    assert two.link.calls < 10


def test_a_mandatory_reply_to_a_client_that_is_gone_there_is_returned_before_its_confirm(two: Two) -> None:
    two.asking.lose()
    two.replying.send(1, amqp.ConfirmSelect())
    two.replying.received()
    two.link.gate.is_open = False
    two.replying.publish(two.address, b"lost")
    two.replying.publish(two.address, b"returned", mandatory=True)
    two.replying.publish("nobody", b"later")
    assert two.replying.received() == [(1, amqp.BasicAck(1))]
    two.link.gate.is_open = True
    two.run()
    assert two.replying.received() == [
        (1, amqp.BasicReturn(312, "NO_ROUTE", "", two.address)),
        (1, amqp.BasicAck(3, True)),
    ]


def test_a_mandatory_reply_that_arrives_there_is_confirmed_then(two: Two) -> None:
    two.replying.send(1, amqp.ConfirmSelect())
    two.replying.received()
    two.link.gate.is_open = False
    two.replying.publish(two.address, b"r", mandatory=True)
    assert two.replying.received() == []
    two.link.gate.is_open = True
    two.run()
    assert (two.asking.bodies(), two.replying.received()) == ([b"r"], [(1, amqp.BasicAck(1))])


@pytest.mark.parametrize("is_member", [True, False])
def test_a_reply_to_a_node_that_cannot_be_reached_is_lost_and_a_mandatory_one_returned(
    two: Two, is_member: bool
) -> None:
    two.link.is_cut = True
    if not is_member:
        two.b.links.clear()
    two.replying.publish(two.address, b"lost")
    two.replying.publish(two.address, b"returned", mandatory=True)
    two.run()
    assert (two.replying.bodies(), two.asking.bodies()) == ([b"returned"], [])


def test_an_answer_that_comes_after_the_end_of_the_channel_is_dropped(two: Two) -> None:
    two.link.is_cut, two.link.gate.is_open = True, False
    two.replying.publish(two.address, b"r", mandatory=True)
    two.replying.send(1, amqp.ChannelClose())
    two.replying.send(1, amqp.ChannelOpen())
    two.replying.received()
    two.link.gate.is_open = True
    two.run()
    assert two.replying.received() == []


def test_a_declaration_asks_the_node_of_the_address(two: Two) -> None:
    assert two.replying.call(1, amqp.QueueDeclare(queue=two.address)) == amqp.QueueDeclareOk(two.address, 0, 1)
    two.asking.lose()
    two.replying.send(1, amqp.QueueDeclare(queue=two.address, passive=True))
    ((_, close),) = two.replying.received()
    assert isinstance(close, amqp.ChannelClose)
    assert close.reply_code == 404


def test_an_address_of_a_node_that_is_gone_is_not_there(two: Two) -> None:
    two.link.is_cut = True
    two.replying.send(1, amqp.QueueDeclare(queue=two.address))
    assert isinstance(two.replying.received()[0][1], amqp.ChannelClose)


def test_a_reply_that_is_dropped_costs_no_other_reply(two: Two) -> None:
    """Only what is under way may be lost with a call, and what comes later goes on."""
    two.link.is_cut = True
    two.replying.publish(two.address, b"lost")
    two.run()
    two.link.is_cut = False
    two.replying.publish(two.address, b"good")
    two.run()
    assert two.asking.bodies() == [b"good"]


def test_replies_of_the_own_node_take_no_call(two: Two) -> None:
    neighbour = two.a.harness.peer()
    neighbour.publish(two.address, b"r", mandatory=True)
    assert (two.asking.bodies(), neighbour.received(), two.link.calls) == ([b"r"], [], 0)
