"""What queues do by themselves: time, length, dead letters, priorities, active consumers: rows F and L."""

from __future__ import annotations

from typing import Any

from broker.codec.methods import BasicCancel, BasicConsume, BasicGet, BasicNack, BasicQos, BasicReject, ConfirmSelect
from tests.differential.talk import Book, Talk

BOOK = Book()
session = BOOK.session
SOON = 0.5
"""Seconds in which what is due in a tenth of a second has happened."""


def _dying(talk: Talk, **options: Any) -> None:
    """Declare dead, and q whose dead letters go there."""
    talk.declare("dead")
    talk.declare("q", x_dead_letter_exchange="", x_dead_letter_routing_key="dead", **options)


# Time


@session("F1")
def a_queue_lets_messages_expire(talk: Talk) -> None:
    talk.declare("q", x_message_ttl=100)
    talk.publish("q")
    talk.declare("q", passive=True)
    talk.wait(SOON)
    talk.declare("q", passive=True)


@session("F1")
def no_time_to_live(talk: Talk) -> None:
    talk.declare("q", x_message_ttl=0)
    talk.publish("q", b"lost")
    talk.declare("q", passive=True)
    talk.consume("q", no_ack=True)
    talk.publish("q", b"seen")


@session("F2", "L1", "L4")
def a_message_expires_by_itself(talk: Talk) -> None:
    _dying(talk)
    talk.publish("q", expiration="100", headers={"h": 1}, message_id="m", delivery_mode=2)
    talk.wait(SOON)
    talk.get("dead")


@session("F2")
def the_shorter_time_counts(talk: Talk) -> None:
    _dying(talk, x_message_ttl=100)
    talk.publish("q", expiration="60000")
    talk.wait(SOON)
    talk.get("dead")


@session("F2", "B24")
def what_is_given_back_does_not_live_longer(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q", expiration="300")
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, True))
    talk.wait(SOON)
    talk.declare("q", passive=True)


@session("F2")
def what_a_client_holds_does_not_expire(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q", expiration="100")
    talk.get("q", no_ack=False)
    talk.wait(SOON)
    talk.ack(1)


@session("F3")
def an_unused_queue_expires(talk: Talk) -> None:
    talk.declare("q", x_expires=200)
    talk.wait(SOON)
    talk.declare("q", passive=True)


@session("F3")
def a_queue_with_a_consumer_does_not_expire(talk: Talk) -> None:
    talk.declare("q", x_expires=200)
    talk.consume("q")
    talk.wait(SOON)
    talk.declare("q", passive=True)
    talk.send(BasicCancel("c"))
    talk.wait(SOON)
    talk.declare("q", passive=True)


# Dead letters


@session("F4", "L1", "L3")
def a_rejected_message(talk: Talk) -> None:
    _dying(talk)
    talk.publish("q", headers={"h": [1, "a"]}, priority=3, message_id="m")
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, False))
    talk.get("dead")


@session("F4")
def a_dead_letter_exchange_that_is_not_there(talk: Talk) -> None:
    talk.declare("q", x_dead_letter_exchange="none")
    talk.publish("q")
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, False))
    talk.declare("q", passive=True)


@session("F5", "L1", "B8")
def the_keys_stay_without_a_key(talk: Talk) -> None:
    talk.exchange("x", "direct")
    for queue in ("dead", "copy", "hidden"):
        talk.declare(queue)
        talk.bind(queue, "x", queue)
    talk.declare("q", x_dead_letter_exchange="x")
    talk.bind("dead", "x", "q")
    talk.publish("q", headers={"CC": ["copy"], "BCC": ["hidden"]})
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, False))
    for queue in ("dead", "copy", "hidden"):
        talk.get(queue)


@session("F5")
def a_key_takes_the_place_of_cc(talk: Talk) -> None:
    _dying(talk)
    talk.declare("copy")
    talk.publish("q", headers={"CC": ["copy"]})
    talk.get("copy")
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, False))
    talk.get("dead")
    talk.get("copy")


@session("L2", "L3")
def a_message_that_dies_again_and_again(talk: Talk) -> None:
    talk.declare("work", x_dead_letter_exchange="", x_dead_letter_routing_key="wait")
    talk.declare("wait", x_message_ttl=100, x_dead_letter_exchange="", x_dead_letter_routing_key="work")
    talk.publish("work", expiration="60000")
    for tag in range(1, 4):
        talk.get("work", no_ack=False)
        talk.send(BasicNack(tag, False, False))
        talk.wait(SOON)
    talk.get("work")


@session("L5")
def a_cycle_without_a_rejection_ends(talk: Talk) -> None:
    talk.declare("q", x_message_ttl=50, x_dead_letter_exchange="", x_dead_letter_routing_key="other")
    talk.declare("other", x_message_ttl=50, x_dead_letter_exchange="", x_dead_letter_routing_key="q")
    talk.publish("q")
    talk.wait(2 * SOON)
    talk.declare("q", passive=True)
    talk.declare("other", passive=True)


@session("L5")
def a_queue_that_is_its_own_dead_letter_queue(talk: Talk) -> None:
    talk.declare("q", x_message_ttl=50, x_dead_letter_exchange="", x_dead_letter_routing_key="q")
    talk.publish("q")
    talk.wait(SOON)
    talk.declare("q", passive=True)


@session("L5")
def what_is_rejected_may_come_back_to_its_queue(talk: Talk) -> None:
    talk.declare("q", x_dead_letter_exchange="", x_dead_letter_routing_key="q")
    talk.publish("q")
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, False))
    talk.get("q", no_ack=False)
    talk.send(BasicReject(2, False))
    talk.get("q")


@session("L1")
def deaths_in_several_queues(talk: Talk) -> None:
    talk.declare("c")
    talk.declare("b", x_max_length=0, x_dead_letter_exchange="", x_dead_letter_routing_key="c")
    talk.declare("q", x_dead_letter_exchange="", x_dead_letter_routing_key="b")
    talk.publish("q")
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, False))
    talk.wait(SOON)
    talk.get("c")


@session("L1")
def a_header_x_death_that_a_client_made_up(talk: Talk) -> None:
    _dying(talk)
    talk.publish("q", headers={"x-death": "mine"})
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, False))
    talk.get("dead")


# Length


@session("F6")
def the_oldest_leave_a_queue_that_is_too_long(talk: Talk) -> None:
    _dying(talk, x_max_length=2)
    for number in range(4):
        talk.publish("q", b"%d" % number)
    for queue in ("q", "q", "q", "dead", "dead"):
        talk.get(queue)


@session("F6")
def what_clients_hold_does_not_count(talk: Talk) -> None:
    talk.declare("q", x_max_length=1)
    talk.publish("q", b"a")
    talk.get("q", no_ack=False)
    talk.publish("q", b"b")
    talk.declare("q", passive=True)
    talk.send(BasicReject(1, True))
    talk.declare("q", passive=True)
    talk.get("q")


@session("F7")
def octets_are_counted(talk: Talk) -> None:
    talk.declare("q", x_max_length_bytes=10)
    for body in (b"12345", b"67890", b"x", b"much too large"):
        talk.publish("q", body)
        talk.declare("q", passive=True)


for overflow in ("drop-head", "reject-publish", "reject-publish-dlx"):

    def full(talk: Talk, overflow: str = overflow) -> None:
        _dying(talk, x_max_length=1, x_overflow=overflow)
        talk.send(ConfirmSelect())
        talk.publish("q", b"a")
        talk.publish("q", b"b")
        talk.wait(SOON)
        talk.get("q")
        talk.get("dead")

    BOOK.add(f"overflow {overflow}", ["F8", "P4"], full)


@session("F8", "P4")
def one_queue_of_several_refuses(talk: Talk) -> None:
    talk.exchange("x", "fanout")
    talk.declare("q", x_max_length=0, x_overflow="reject-publish")
    talk.declare("other")
    for queue in ("q", "other"):
        talk.bind(queue, "x")
    talk.send(ConfirmSelect())
    talk.publish(exchange="x")
    talk.get("other")


# Priorities


@session("F9")
def the_highest_priority_comes_first(talk: Talk) -> None:
    talk.declare("q", x_max_priority=5)
    for number, priority in enumerate((1, 5, 0, None, 9, 3, 5)):
        talk.publish("q", b"%d" % number, priority=priority)
    for _ in range(8):
        talk.get("q")


@session("F9")
def a_consumer_gets_the_highest_that_is_there(talk: Talk) -> None:
    talk.declare("q", x_max_priority=5)
    for number, priority in enumerate((1, 2, 3)):
        talk.publish("q", b"%d" % number, priority=priority)
    talk.send(BasicQos(0, 1, False))
    talk.consume("q")
    talk.publish("q", b"4", priority=4)
    for tag in range(1, 4):
        talk.ack(tag)


@session("F9", "B24")
def what_is_given_back_keeps_its_priority(talk: Talk) -> None:
    talk.declare("q", x_max_priority=5)
    for number, priority in enumerate((1, 4, 4)):
        talk.publish("q", b"%d" % number, priority=priority)
    talk.get("q", no_ack=False)
    talk.send(BasicReject(1, True))
    for _ in range(3):
        talk.get("q")


@session("F9", "F6")
def a_length_and_priorities(talk: Talk) -> None:
    talk.declare("q", x_max_priority=5, x_max_length=2)
    for number, priority in enumerate((1, 5, 3)):
        talk.publish("q", b"%d" % number, priority=priority)
    for _ in range(3):
        talk.get("q")


@session("F9")
def priorities_of_a_queue_without_them(talk: Talk) -> None:
    talk.declare("q")
    for number, priority in enumerate((1, 5, 3)):
        talk.publish("q", b"%d" % number, priority=priority)
    for _ in range(3):
        talk.get("q")


# Deliveries


@session("F10")
def the_delivery_limit_of_a_quorum_queue(talk: Talk) -> None:
    talk.declare("dead")
    options = {"x_queue_type": "quorum", "x_dead_letter_exchange": "", "x_dead_letter_routing_key": "dead"}
    talk.declare("q", durable=True, x_delivery_limit=2, **options)
    talk.wait(SOON)
    talk.publish("q", delivery_mode=2)
    talk.wait(SOON)
    for tag in range(1, 4):
        talk.get("q", no_ack=False)
        talk.send(BasicReject(tag, True))
        talk.wait(SOON)
    talk.get("q", no_ack=False)
    talk.get("dead")


@session("F11")
def only_one_consumer_is_active(talk: Talk) -> None:
    talk.declare("q", x_single_active_consumer=True)
    talk.consume("q", "one", no_ack=True)
    talk.consume("q", "two", no_ack=True)
    for number in range(3):
        talk.publish("q", b"%d" % number)
    talk.send(BasicCancel("one"))
    talk.publish("q", b"next")


@session("F11", "B17")
def the_active_consumer_stays_although_another_has_a_priority(talk: Talk) -> None:
    talk.declare("q", x_single_active_consumer=True)
    talk.consume("q", "one", no_ack=True)
    talk.consume("q", "high", no_ack=True, x_priority=5)
    talk.publish("q")
    talk.consume("q", "two", no_ack=True)
    talk.send(BasicCancel("one"))
    talk.publish("q")


@session("F11", "B16")
def an_exclusive_consumer_of_a_queue_with_an_active_one(talk: Talk) -> None:
    talk.declare("q", x_single_active_consumer=True)
    talk.consume("q", exclusive=True)


@session("F11", "B21")
def get_beside_an_active_consumer(talk: Talk) -> None:
    talk.declare("q", x_single_active_consumer=True)
    talk.publish("q")
    talk.send(BasicGet(queue="q"))


@session("F12", "B9")
def the_prefetch_of_the_channel_on_a_quorum_queue(talk: Talk) -> None:
    talk.declare("q", durable=True, x_queue_type="quorum")
    talk.wait(SOON)
    talk.send(BasicQos(0, 1, True))
    talk.send(BasicConsume(queue="q", consumer_tag="c"))
