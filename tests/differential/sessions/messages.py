"""Messages, deliveries, confirms, transactions, direct reply-to: contract B1 to B29, P1 to P5, T1 to T4, N19."""

from __future__ import annotations

from typing import Any

from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicNack,
    BasicPublish,
    BasicQos,
    BasicRecover,
    BasicRecoverAsync,
    BasicReject,
    ConfirmSelect,
    QueueDelete,
    TxCommit,
    TxRollback,
    TxSelect,
)
from broker.codec.properties import BasicProperties, encode_header
from tests.differential.talk import CAPABILITIES, Book, Talk
from tests.support.peer import Content, raw_frame

BOOK = Book()
session = BOOK.session
REPLY_TO = "amq.rabbitmq.reply-to"

# Publishing


@session("B1")
def a_message_without_a_body(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q", b"")
    talk.get("q")


@session("B2")
def mandatory_messages_come_back_as_they_were(talk: Talk) -> None:
    talk.publish("none", b"body", mandatory=True, headers={"a": 1}, message_id="m", delivery_mode=2)


@session("B2", "P2", "U6")
def a_return_comes_before_its_confirm(talk: Talk) -> None:
    talk.send(ConfirmSelect())
    talk.publish("none", mandatory=True)


@session("B3")
def immediate(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q", immediate=True)


@session("B4")
def a_body_that_is_announced_too_large(talk: Talk) -> None:
    header = encode_header((128 << 20) + 1, BasicProperties())
    talk.raw(raw_frame(1, 1, BasicPublish(0, "", "q").encode()) + raw_frame(2, 1, header))


_PROPERTIES: tuple[dict[str, Any], ...] = (
    {"content_type": ""},
    {"content_type": "text/plain", "content_encoding": "utf-8"},
    {"delivery_mode": 0},
    {"delivery_mode": 1},
    {"delivery_mode": 2},
    {"delivery_mode": 255},
    {"priority": 0},
    {"priority": 255},
    {"correlation_id": "c", "reply_to": "r", "message_id": "m", "type": "t", "app_id": "a", "cluster_id": "c"},
    {"timestamp": 1_577_836_800},
    {"headers": {}},
    {"headers": {"": ""}},
    {"user_id": "guest"},
    {"expiration": "60000"},
)
for properties in _PROPERTIES:

    def travels(talk: Talk, properties: Any = properties) -> None:
        talk.declare("q")
        talk.publish("q", **properties)
        talk.get("q")

    BOOK.add(f"properties {properties}", ["B5"], travels)

for user in ("other", "", "GUEST"):
    BOOK.add(f"user_id {user!r}", ["B6"], lambda talk, user=user: talk.publish("none", user_id=user))

for expiration in ("", "abc", "-1", "1.5", " 1", "1 ", "+60000", "0x10", "315360000001", "99999999999999999999", "0"):

    def expiring(talk: Talk, expiration: str = expiration) -> None:
        talk.declare("q")
        talk.publish("q", expiration=expiration)
        talk.declare("q", passive=True)

    BOOK.add(f"expiration {expiration!r}", ["B7", "F2"], expiring)


@session("B8")
def cc_and_bcc(talk: Talk) -> None:
    for queue in ("q", "cc", "bcc"):
        talk.declare(queue)
    talk.publish("q", headers={"CC": ["cc", "none"], "BCC": ["bcc", "q"]})
    for queue in ("q", "q", "cc", "bcc"):
        talk.get(queue)


for name in ("CC", "BCC"):
    for value in ("text", 1, [1], [], None):
        BOOK.add(
            f"{name} {value!r}",
            ["B8"],
            lambda talk, name=name, value=value: talk.publish("none", headers={name: value}),
        )


@session("B8", "X13")
def an_alternate_exchange_is_asked_when_no_key_leads_on(talk: Talk) -> None:
    talk.exchange("y", "fanout")
    talk.exchange("x", "direct", alternate_exchange="y")
    talk.declare("q")
    talk.declare("other")
    talk.bind("q", "x", "k")
    talk.bind("other", "y")
    talk.publish("none", exchange="x", headers={"CC": ["k"]})
    talk.get("other")
    talk.get("q")


# Consumers


for qos in ((1, 0, False), (0, 5, False), (0, 5, True), (0, 0, True), (0, 65535, False), (7, 1, True)):
    BOOK.add(f"qos {qos}", ["B9"], lambda talk, qos=qos: talk.send(BasicQos(*qos)))


def _filled(talk: Talk, *bodies: bytes, **options: Any) -> None:
    talk.declare("q", **options)
    for body in bodies or (b"a", b"b", b"c", b"d"):
        talk.publish("q", body)


@session("B10")
def prefetch_of_later_consumers(talk: Talk) -> None:
    _filled(talk)
    talk.send(BasicQos(0, 2, False))
    talk.consume("q")
    talk.ack(1)
    talk.ack(3, multiple=True)


@session("B11")
def prefetch_of_the_channel(talk: Talk) -> None:
    _filled(talk)
    talk.send(BasicQos(0, 2, True))
    talk.consume("q", "one")
    talk.consume("q", "two")
    talk.ack(1)
    talk.send(BasicQos(0, 0, True))


@session("B11")
def a_lower_prefetch_of_the_channel_counts_at_once(talk: Talk) -> None:
    _filled(talk)
    talk.send(BasicQos(0, 3, True))
    talk.consume("q")
    talk.send(BasicQos(0, 1, True))
    talk.ack(1)
    talk.ack(2)
    talk.ack(3)


@session("B11")
def both_kinds_of_prefetch(talk: Talk) -> None:
    _filled(talk)
    talk.send(BasicQos(0, 3, True))
    talk.send(BasicQos(0, 1, False))
    talk.consume("q", "one")
    talk.consume("q", "two")
    talk.ack(1)


@session("B11")
def a_consumer_without_acknowledgements_and_the_prefetch_of_the_channel(talk: Talk) -> None:
    _filled(talk)
    talk.send(BasicQos(0, 1, True))
    talk.consume("q", no_ack=True)


@session("B11", "B21")
def what_get_fetched_is_no_matter_for_prefetch(talk: Talk) -> None:
    _filled(talk)
    talk.send(BasicQos(0, 1, True))
    talk.get("q", no_ack=False)
    talk.get("q", no_ack=False)
    talk.consume("q")


@session("B12", "U5")
def consume_ok_comes_before_deliveries(talk: Talk) -> None:
    _filled(talk)
    talk.consume("q")


@session("B12")
def an_empty_tag_is_replaced(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q", "")
    talk.publish("q")


@session("B13")
def a_tag_that_is_there_already(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q")
    talk.consume("q")


@session("B14")
def no_ack_is_settled_when_it_is_delivered(talk: Talk) -> None:
    _filled(talk)
    talk.send(BasicQos(0, 1, False))
    talk.consume("q", no_ack=True)
    talk.declare("q", passive=True)
    talk.ack(1)


@session("B15")
def no_local_is_ignored(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q", no_local=True)
    talk.publish("q")


@session("B16")
def an_exclusive_consumer_beside_another(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q", "one")
    talk.consume("q", "two", exclusive=True)


@session("B16")
def another_consumer_beside_an_exclusive_one(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q", "one", exclusive=True)
    talk.open(2)
    talk.consume("q", "two", channel=2)
    talk.open(2)
    talk.send(BasicCancel("one"))
    talk.consume("q", "two", channel=2)


for value in (0, 1, -5, 1 << 40, "1", True, 1.5, None):
    BOOK.add(
        f"x-priority {value!r}",
        ["B17"],
        lambda talk, value=value: (talk.declare("q"), talk.consume("q", x_priority=value)),  # type: ignore[func-returns-value]
    )


@session("B17")
def a_higher_priority_comes_first(talk: Talk) -> None:
    talk.declare("q")
    talk.send(BasicQos(0, 1, False))
    talk.consume("q", "low", x_priority=1)
    talk.consume("q", "high", x_priority=5)
    for _ in range(3):
        talk.publish("q")
    talk.ack(2)
    talk.ack(1)


@session("B18")
def cancel_keeps_what_was_delivered(talk: Talk) -> None:
    _filled(talk)
    talk.consume("q")
    talk.send(BasicCancel("c"))
    talk.send(BasicCancel("c"))
    talk.send(BasicCancel("none"))
    talk.publish("q", b"later")
    talk.ack(1)
    talk.declare("q", passive=True)


@session("B18")
def cancel_without_an_answer(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q")
    talk.send(BasicCancel("c", no_wait=True))
    talk.publish("q")


@session("B12")
def consume_without_an_answer(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q", no_wait=True)
    talk.publish("q")


@session("B19")
def a_deleted_queue_cancels_its_consumers(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q", "one")
    talk.consume("q", "two")
    other = talk.connect()
    talk.send(QueueDelete(queue="q"), connection=other)


@session("B19", is_bare=True)
def nobody_is_told_who_does_not_understand(talk: Talk) -> None:
    talk.connect([each for each in CAPABILITIES if each != "consumer_cancel_notify"])
    talk.declare("q")
    talk.consume("q")
    other = talk.connect()
    talk.send(QueueDelete(queue="q"), connection=other)
    talk.consume("q")


@session("B20")
def delivery_tags_count_on_each_channel(talk: Talk) -> None:
    _filled(talk)
    talk.open(2)
    talk.get("q", no_ack=False)
    talk.get("q", no_ack=False, channel=2)
    talk.get("q")
    talk.get("q", channel=2)


@session("B21")
def get_tells_how_many_are_left(talk: Talk) -> None:
    _filled(talk, b"a", b"b")
    for _ in range(3):
        talk.get("q")


@session("B21")
def get_of_what_is_not_there(talk: Talk) -> None:
    talk.get("none")


@session("B12")
def consume_what_is_not_there(talk: Talk) -> None:
    talk.consume("none")


# Acknowledgements


@session("B22")
def one_ack_may_cover_several(talk: Talk) -> None:
    _filled(talk)
    talk.consume("q")
    talk.ack(2, multiple=True)
    talk.ack(0, multiple=True)
    talk.ack(0, multiple=True)


for name, method in (
    ("ack", BasicAck(1)),
    ("ack of 0", BasicAck(0)),
    ("ack of all", BasicAck(0, True)),
    ("ack of several", BasicAck(5, True)),
    ("nack", BasicNack(1)),
    ("nack of all", BasicNack(0, True)),
    ("reject", BasicReject(1)),
):

    def unknown(talk: Talk, method: Any = method) -> None:
        talk.send(method)
        talk.send(BasicQos(0, 1, False))

    BOOK.add(f"{name} of nothing", ["B22"], unknown)

for name, first, second in (
    ("ack", BasicAck(1), BasicAck(1)),
    ("ack after reject", BasicReject(1, False), BasicAck(1)),
    ("reject after ack", BasicAck(1), BasicReject(1, False)),
    ("ack of several after each", BasicAck(2, True), BasicAck(2, True)),
    ("ack after nack of all", BasicNack(0, True, False), BasicAck(3)),
):

    def repeated(talk: Talk, first: Any = first, second: Any = second) -> None:
        _filled(talk)
        talk.consume("q")
        talk.send(first)
        talk.send(second)

    BOOK.add(f"{name} again", ["B22"], repeated)


@session("B22")
def an_ack_on_another_channel(talk: Talk) -> None:
    _filled(talk)
    talk.consume("q")
    talk.open(2)
    talk.ack(1, channel=2)


@session("B23", "B24", "B28", "U12")
def nack_gives_several_back(talk: Talk) -> None:
    _filled(talk)
    talk.send(BasicQos(0, 3, False))
    talk.consume("q")
    talk.send(BasicNack(3, True, True))


@session("B24", "B28")
def a_rejected_message_returns_to_its_place(talk: Talk) -> None:
    _filled(talk)
    talk.get("q", no_ack=False)
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, True))
    for _ in range(3):
        talk.get("q")


@session("B24")
def a_message_that_is_given_back_in_the_middle(talk: Talk) -> None:
    _filled(talk)
    for _ in range(3):
        talk.get("q", no_ack=False)
    talk.send(BasicReject(2, True))
    for _ in range(2):
        talk.get("q")
    talk.send(BasicReject(1, True))
    talk.get("q")


@session("B24")
def rejected_messages_are_dropped(talk: Talk) -> None:
    _filled(talk)
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, False))
    talk.declare("q", passive=True)


@session("B25")
def recover_gives_everything_back(talk: Talk) -> None:
    _filled(talk)
    talk.get("q", no_ack=False)
    talk.get("q", no_ack=False)
    talk.send(BasicRecover(True))
    talk.get("q")
    talk.get("q")


@session("B25")
def recover_with_a_consumer(talk: Talk) -> None:
    _filled(talk, b"a", b"b")
    talk.consume("q")
    talk.send(BasicRecover(True))


@session("B25")
def recover_async(talk: Talk) -> None:
    _filled(talk, b"a", b"b")
    talk.get("q", no_ack=False)
    talk.send(BasicRecoverAsync(True))
    talk.get("q")


@session("B26")
def recover_without_requeue(talk: Talk) -> None:
    talk.send(BasicRecover(False))


@session("B26")
def recover_async_without_requeue(talk: Talk) -> None:
    talk.send(BasicRecoverAsync(False))


@session("B27")
def messages_stay_in_order(talk: Talk) -> None:
    _filled(talk, *[b"%d" % number for number in range(20)])
    talk.consume("q", no_ack=True)


@session("B29")
def consumers_take_turns(talk: Talk) -> None:
    talk.declare("q")
    for tag in ("one", "two", "three"):
        talk.consume("q", tag, no_ack=True)
    for number in range(6):
        talk.publish("q", b"%d" % number)


@session("B29")
def consumers_without_credit_are_passed_over(talk: Talk) -> None:
    talk.declare("q")
    talk.send(BasicQos(0, 1, False))
    talk.consume("q", "one")
    talk.consume("q", "two")
    for number in range(4):
        talk.publish("q", b"%d" % number)
    talk.ack(2)
    talk.ack(1)


# Confirms and transactions


@session("P1", "P2")
def confirms_count_from_one(talk: Talk) -> None:
    talk.publish("none")
    talk.send(ConfirmSelect())
    talk.send(ConfirmSelect())
    talk.declare("q", durable=True)
    talk.publish("q")
    talk.publish("q", delivery_mode=2)
    talk.publish("none")


@session("P1")
def confirm_select_without_an_answer(talk: Talk) -> None:
    talk.send(ConfirmSelect(no_wait=True))
    talk.publish("none")


@session("P4", "F8")
def a_full_queue_refuses(talk: Talk) -> None:
    talk.declare("q", x_max_length=1, x_overflow="reject-publish")
    talk.send(ConfirmSelect())
    talk.publish("q", b"a")
    talk.publish("q", b"b")
    talk.get("q")
    talk.publish("q", b"c")


@session("P5")
def confirm_on_a_transactional_channel(talk: Talk) -> None:
    talk.send(TxSelect())
    talk.send(ConfirmSelect())


@session("P5")
def a_transaction_on_a_channel_with_confirms(talk: Talk) -> None:
    talk.send(ConfirmSelect())
    talk.send(TxSelect())


@session("T1")
def commit_without_select(talk: Talk) -> None:
    talk.send(TxCommit())


@session("T1")
def rollback_without_select(talk: Talk) -> None:
    talk.send(TxRollback())


@session("T2")
def publishes_wait_for_the_commit(talk: Talk) -> None:
    talk.declare("q")
    for _ in range(2):
        talk.send(TxSelect())
    talk.publish("q", b"a")
    talk.declare("q", passive=True)
    talk.send(TxCommit())
    talk.declare("q", passive=True)
    talk.publish("q", b"b")
    talk.send(TxRollback())
    talk.send(TxCommit())
    talk.declare("q", passive=True)


@session("T2")
def acknowledgements_wait_for_the_commit(talk: Talk) -> None:
    _filled(talk)
    talk.send(TxSelect())
    talk.consume("q")
    talk.ack(1)
    talk.send(TxRollback())
    talk.ack(1)
    talk.ack(1)


@session("T2")
def what_is_given_back_waits_for_the_commit(talk: Talk) -> None:
    _filled(talk, b"a", b"b")
    talk.send(TxSelect())
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, True))
    talk.declare("q", passive=True)
    talk.send(TxCommit())
    talk.declare("q", passive=True)


@session("T2", "B2")
def a_return_waits_for_the_commit(talk: Talk) -> None:
    talk.send(TxSelect())
    talk.publish("none", mandatory=True)
    talk.send(TxCommit())


@session("T2", "B1")
def an_unknown_exchange_in_a_transaction(talk: Talk) -> None:
    talk.send(TxSelect())
    talk.publish(exchange="none")


@session("T3")
def a_commit_over_several_queues(talk: Talk) -> None:
    talk.declare("q", durable=True)
    talk.declare("other", durable=True)
    talk.send(TxSelect())
    talk.publish("q", delivery_mode=2)
    talk.publish("other", delivery_mode=2)
    talk.send(TxCommit())
    talk.get("q")
    talk.get("other")


@session("T2", "H3")
def acknowledgements_of_a_transaction_that_is_not_committed(talk: Talk) -> None:
    _filled(talk, b"a", b"b")
    other = talk.connect()
    talk.send(TxSelect(), connection=other)
    talk.get("q", no_ack=False, connection=other)
    talk.ack(1, connection=other)
    talk.drop(other)
    talk.get("q")


@session("T4", "F8")
def a_commit_to_a_full_queue(talk: Talk) -> None:
    talk.declare("q", x_max_length=1, x_overflow="reject-publish")
    talk.send(TxSelect())
    for body in (b"a", b"b"):
        talk.publish("q", body)
    talk.send(TxCommit())
    talk.open(2)
    talk.declare("q", passive=True, channel=2)


# Direct reply-to


@session("N19")
def a_reply_comes_without_a_queue(talk: Talk) -> None:
    talk.consume(REPLY_TO, no_ack=True)
    talk.declare("q")
    talk.publish("q", b"request", reply_to=REPLY_TO, correlation_id="1")
    other = talk.connect()
    talk.get("q", connection=other)
    (content,) = [each.what for each in talk.heard]
    assert isinstance(content, Content)
    address = content.properties.reply_to
    assert address is not None
    talk.publish(address, b"reply", connection=other, correlation_id="1")
    talk.publish(address, b"reply", connection=other, correlation_id="1", mandatory=True)
    talk.declare(address, passive=True, connection=other)
    talk.send(BasicCancel("c"))
    talk.publish(address, b"late", connection=other, mandatory=True)
    talk.declare(address, passive=True, connection=other)


for name, script in {
    "a consumer that acknowledges": lambda talk: talk.consume(REPLY_TO),
    "a second consumer": lambda talk: (talk.consume(REPLY_TO, no_ack=True), talk.consume(REPLY_TO, "d", no_ack=True)),
    "a request without a consumer": lambda talk: talk.publish("q", reply_to=REPLY_TO),
    "get": lambda talk: talk.get(REPLY_TO),
    "a passive declare": lambda talk: talk.declare(REPLY_TO, passive=True),
    "a declare": lambda talk: talk.declare(REPLY_TO),
    "delete": lambda talk: talk.send(QueueDelete(queue=REPLY_TO)),
    "a reply to nobody": lambda talk: talk.publish(f"{REPLY_TO}.none.none", mandatory=True),
    "an exclusive consumer": lambda talk: talk.consume(REPLY_TO, no_ack=True, exclusive=True),
    "the consumer again": lambda talk: (
        talk.consume(REPLY_TO, no_ack=True),
        talk.send(BasicCancel("c")),
        talk.consume(REPLY_TO, no_ack=True),
    ),
}.items():
    BOOK.add(f"reply-to: {name}", ["N19"], script)
