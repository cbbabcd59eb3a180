"""WSO2's table of decisions, as clients meet it in the virtual host `carbon`.

The rows of its console and of MQTT have nobody here who could ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from broker.auth.access import Operation, Permission, Purpose
from broker.auth.carbon.grants import Grants
from broker.auth.carbon.permissions import CarbonPermissions
from broker.auth.carbon.topics import Topics
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicConsume,
    BasicGet,
    BasicPublish,
    ChannelClose,
    ExchangeBind,
    ExchangeDeclare,
    ExchangeDelete,
    QueueBind,
    QueueDeclare,
    QueueDelete,
    QueuePurge,
    QueueUnbind,
)
from broker.codec.properties import BasicProperties
from tests.support.carbon_people import CarbonNode, MemoryPeople, account
from tests.support.harness import Client

QUEUE = "event/queues/jms/shop.orders"
TOPIC = "event/topics/sport/cricket"
MANAGE = "/permission/admin/manage"
Grant = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """A line of the table: what is tried, what lets a user do it, and what does not."""

    name: str
    tried: Method
    enough: Sequence[Grant]
    not_enough: Sequence[Grant] = ()
    admin: bool = True
    everybody: bool = False
    before: Callable[[CarbonNode, Client], None] = field(default=lambda node, client: None)


def manages(*actions: str) -> list[Grant]:
    return [("ui.execute", f"{MANAGE}/{action}") for action in actions]


def declared(*methods: Method) -> Callable[[CarbonNode, Client], None]:
    """Return what lets somebody else make things first."""

    def declare(node: CarbonNode, client: Client) -> None:
        maker = node.client("admin")
        for method in methods:
            maker.call(1, method)

    return declare


def exclusive_and_durable(node: CarbonNode, client: Client) -> None:
    client.call(1, QueueDeclare(queue="own", durable=True, exclusive=True))


def a_temporary_queue(node: CarbonNode, client: Client) -> None:
    client.call(1, QueueDeclare(queue="tmp_1"))
    declared(QueueBind(queue="tmp_1", exchange="amq.topic", routing_key="sport.cricket"))(node, client)


def a_registered_topic(node: CarbonNode, client: Client) -> None:
    node.topics.set_resources(["event/topics/sport", TOPIC])


def an_unregistered_topic(node: CarbonNode, client: Client) -> None:
    node.topics.set_resources([])


def a_topic_with_a_role(node: CarbonNode, client: Client) -> None:
    node.topics.set_resources([TOPIC])
    node.topics.set_roles(["T_sport-cricket"])


def a_temporary_queue_of_a_registered_topic(node: CarbonNode, client: Client) -> None:
    a_temporary_queue(node, client)
    a_registered_topic(node, client)


def a_temporary_queue_of_no_topic(node: CarbonNode, client: Client) -> None:
    a_temporary_queue(node, client)
    an_unregistered_topic(node, client)


ORDERS = declared(QueueDeclare(queue="shop.orders", durable=True))
SUBSCRIBED = QueueBind(queue="shop.orders", exchange="amq.topic", routing_key="sport.cricket")


def orders_and(*steps: Callable[[CarbonNode, Client], None]) -> Callable[[CarbonNode, Client], None]:
    def prepare(node: CarbonNode, client: Client) -> None:
        for step in (ORDERS, *steps):
            step(node, client)

    return prepare


USES = [("consume", QUEUE), ("publish", QUEUE), ("consume", "event/queues/jms"), ("publish", "/")]
ROWS = [
    Row("declare an exchange", ExchangeDeclare(exchange="x", type="direct"), [], everybody=True),
    Row(
        "delete an exchange",
        ExchangeDelete(exchange="x"),
        [],
        everybody=True,
        before=declared(ExchangeDeclare(exchange="x", type="direct")),
    ),
    Row(
        "declare a queue",
        QueueDeclare(queue="shop.orders", durable=True),
        [*manages("queue/add", "topic/add", "queue"), ("ui.execute", "/permission")],
        [*USES, *manages("queue/delete")],
    ),
    Row("declare an own subscription", QueueDeclare(queue="s", durable=True, exclusive=True), [], everybody=True),
    Row("declare a temporary queue", QueueDeclare(queue="tmp_1"), [], everybody=True),
    Row("declare a durable queue that is called so", QueueDeclare(queue="tmp_1", durable=True), manages("queue/add")),
    Row("declare a queue of another tenant", QueueDeclare(queue="acme.com/q"), [], manages("queue/add"), admin=False),
    Row("declare a queue of the own tenant", QueueDeclare(queue="carbon.super/q"), manages("queue/add")),
    Row(
        "bind to amq.direct",
        QueueBind(queue="shop.orders", exchange="amq.direct", routing_key="k"),
        [*USES, *manages("queue/add")],
        [("changePermission", QUEUE), ("consume", "event/queues/jms/shop"), *manages("topic/add")],
        before=ORDERS,
    ),
    Row(
        "bind an own subscription to amq.direct",
        QueueBind(queue="own", exchange="amq.direct", routing_key="k"),
        manages("queue/add"),
        before=exclusive_and_durable,
    ),
    Row(
        "subscribe to a topic that has a role",
        SUBSCRIBED,
        [("subscribe", TOPIC), ("publish", TOPIC), ("subscribe", "event/topics/sport"), *manages("topic/add")],
        [("subscribe", "event/topics/sport/cricket/scores"), *manages("queue/add")],
        before=orders_and(a_topic_with_a_role),
    ),
    Row(
        "subscribe to a topic that is new",
        SUBSCRIBED,
        [("subscribe", TOPIC), *manages("topic/add")],
        before=orders_and(an_unregistered_topic),
    ),
    Row(
        "subscribe to a topic without a role",
        SUBSCRIBED,
        [("subscribe", TOPIC)],
        manages("topic/add"),
        before=orders_and(a_registered_topic),
    ),
    Row(
        "bind to another exchange",
        QueueBind(queue="shop.orders", exchange="x", routing_key="k"),
        [],
        [*USES, *manages("queue/add")],
        admin=False,
        before=orders_and(declared(ExchangeDeclare(exchange="x", type="direct"))),
    ),
    Row(
        "bind an exchange to another",
        ExchangeBind(destination="amq.direct", source="amq.topic", routing_key="k"),
        [],
        manages("topic/add"),
        admin=False,
    ),
    Row(
        "unbind",
        QueueUnbind(queue="shop.orders", exchange="amq.topic", routing_key="sport.cricket"),
        [],
        everybody=True,
        before=orders_and(declared(SUBSCRIBED)),
    ),
    Row(
        "publish to a queue by the default exchange",
        BasicPublish(routing_key="shop.orders"),
        [("publish", QUEUE), ("publish", "event/queues")],
        [("consume", QUEUE), *manages("queue/add")],
        before=ORDERS,
    ),
    Row(
        "publish to a queue by amq.direct",
        BasicPublish(exchange="amq.direct", routing_key="shop.orders"),
        [("publish", QUEUE)],
        [("consume", QUEUE)],
    ),
    Row(
        "publish to a topic",
        BasicPublish(exchange="amq.topic", routing_key="sport.cricket"),
        [("publish", TOPIC), ("publish", "event/topics/sport"), ("publish", "event/topics")],
        [("subscribe", TOPIC), ("publish", "event/topics/music")],
        before=a_registered_topic,
    ),
    Row(
        "publish to a topic that is not registered",
        BasicPublish(exchange="amq.topic", routing_key="sport.cricket"),
        [],
        [("publish", TOPIC)],
        before=an_unregistered_topic,
    ),
    Row(
        "publish to another exchange",
        BasicPublish(exchange="amq.fanout", routing_key="shop.orders"),
        [],
        [("publish", QUEUE)],
        admin=False,
    ),
    Row(
        "publish to the dead letter channel",
        BasicPublish(routing_key="DeadLetterChannel"),
        [],
        [("publish", "event/queues/jms")],
        admin=False,
    ),
    Row(
        "consume from a queue",
        BasicConsume(queue="shop.orders"),
        [("consume", QUEUE), ("consume", "event/queues/jms")],
        [("publish", QUEUE), ("browse", QUEUE), *manages("queue/add", "queue/browse")],
        before=ORDERS,
    ),
    Row("get from a queue", BasicGet(queue="shop.orders"), [("consume", QUEUE)], [("publish", QUEUE)], before=ORDERS),
    Row(
        "consume from a temporary queue of a topic",
        BasicConsume(queue="tmp_1"),
        [("subscribe", TOPIC), ("subscribe", "event/topics/sport"), ("consume", "event/queues/jms/tmp_1")],
        [("publish", TOPIC), *manages("topic/add")],
        before=a_temporary_queue_of_a_registered_topic,
    ),
    Row(
        "consume from a temporary queue of a topic that is not registered",
        BasicConsume(queue="tmp_1"),
        [("consume", "event/queues/jms/tmp_1")],
        [("subscribe", TOPIC)],
        before=a_temporary_queue_of_no_topic,
    ),
    Row(
        "consume from the dead letter channel",
        BasicConsume(queue="deadletterchannel"),
        [],
        [("consume", "event/queues/jms")],
        admin=False,
        before=declared(QueueDeclare(queue="deadletterchannel", durable=True)),
    ),
    Row(
        "purge a queue",
        QueuePurge(queue="shop.orders"),
        manages("queue/purge"),
        [*USES, *manages("queue/delete")],
        before=ORDERS,
    ),
    Row("purge an own subscription", QueuePurge(queue="own"), [], everybody=True, before=exclusive_and_durable),
    Row(
        "delete a queue",
        QueueDelete(queue="shop.orders"),
        manages("queue/delete", "topic/delete"),
        [*USES, ("changePermission", QUEUE), *manages("queue/add")],
        before=ORDERS,
    ),
    Row("delete an own subscription", QueueDelete(queue="own"), [], everybody=True, before=exclusive_and_durable),
]
CASES = [
    *((row, "admin", (), row.admin or row.everybody) for row in ROWS),
    *((row, "ann", (), row.everybody) for row in ROWS),
    *((row, "ann", (grant,), True) for row in ROWS for grant in row.enough),
    *((row, "ann", (grant,), False) for row in ROWS for grant in row.not_enough),
]


def name_of(case: object) -> str:
    return case.name if isinstance(case, Row) else repr(case)


@pytest.mark.parametrize(("row", "user", "grants", "allowed"), CASES, ids=name_of)
def test_the_table_decides(row: Row, user: str, grants: Sequence[Grant], allowed: bool) -> None:
    node = CarbonNode(MemoryPeople(account("ann", *grants), account("admin", roles=["admin"])))
    client = node.client(user)
    row.before(node, client)
    client.received()
    is_publish = isinstance(row.tried, BasicPublish)
    client.send(1, row.tried, BasicProperties() if is_publish else None, b"" if is_publish else None)
    refused = [method for _, method in client.received() if isinstance(method, ChannelClose)]
    assert [method.reply_code for method in refused] == ([] if allowed else [403])


def test_a_key_in_cc_needs_what_the_routing_key_needs() -> None:
    node = CarbonNode(MemoryPeople(account("ann", ("publish", QUEUE)), account("admin", roles=["admin"])))
    ORDERS(node, node.client("admin"))
    ann = node.client("ann")
    ann.publish("shop.orders", b"mine")
    assert ann.received() == []
    headers = FieldTable.of({"CC": ["secret"]})
    ann.publish("shop.orders", b"and somebody else's", properties=BasicProperties(headers=headers))
    ((_, closed),) = ann.received()
    assert isinstance(closed, ChannelClose)
    assert closed.reply_text == (
        "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost 'carbon' refused for user 'ann'"
    )


@pytest.mark.parametrize(("key", "allowed"), [("shop.orders", True), ("other", False), (None, False)])
def test_dead_letters_go_where_their_sender_may_publish(key: str | None, allowed: bool) -> None:
    ann = account("ann", *manages("queue/add"), ("consume", "event/queues/jms"), ("publish", QUEUE))
    arguments = {"x-dead-letter-exchange": ""} | ({} if key is None else {"x-dead-letter-routing-key": key})
    client = CarbonNode(MemoryPeople(ann)).client("ann")
    answer = client.call(1, QueueDeclare(queue="q", arguments=FieldTable.of(arguments)))
    assert isinstance(answer, ChannelClose) is not allowed


def test_names_are_asked_for_in_small_letters_and_as_they_are() -> None:
    def may(resource: str, queue: str) -> bool:
        grants = Grants(["staff"], account("ann", ("consume", resource)).statements)
        permissions = CarbonPermissions(False, grants, Topics())
        return permissions.permits(Permission.READ, "queue", queue, Purpose(Operation.CONSUME, queue))

    assert may("event/queues/jms/orders", "Orders")
    assert may("event/queues/jms/Orders", "Orders")
    assert not may("event/queues/jms/Orders", "orders")


def test_what_has_no_purpose_is_for_administrators() -> None:
    for is_admin in (False, True):
        permissions = CarbonPermissions(is_admin, Grants([], []), Topics())
        assert permissions.permits(Permission.READ, "queue", "q") is is_admin
        assert permissions.permits(Permission.WRITE, "exchange", "amq.default") is is_admin
        assert permissions.permits(Permission.CONFIGURE, "exchange", "x")


def test_users_who_may_do_the_same_share_their_routes() -> None:
    node = CarbonNode(MemoryPeople(account("ann", ("publish", QUEUE)), account("bob", ("publish", QUEUE))))
    ann, bob = (node.client(name).connection for name in ("ann", "bob"))
    first, second = (each.channels[1].connection.access.permissions for each in (ann, bob))
    assert first == second
    assert hash(first) == hash(second)


def test_who_creates_a_topic_is_told() -> None:
    topics = Topics()
    may_add = CarbonPermissions(False, Grants(["staff"], account("a", *manages("topic/add")).statements), topics)
    assert may_add.creates("sport.cricket")
    assert not CarbonPermissions(False, Grants([], []), topics).creates("sport.cricket")
    assert CarbonPermissions(True, Grants([], []), topics).creates("sport.cricket")
    topics.set_resources([])
    topics.add(TOPIC, "T_sport-cricket")
    assert not may_add.creates("sport.cricket")
    assert topics.exists(TOPIC)
