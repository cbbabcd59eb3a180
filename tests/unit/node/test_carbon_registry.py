"""What WSO2's databases are told of the virtual host `carbon`, and what of it counts before they know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.auth.carbon.permissions import CarbonPermissions
from broker.codec.field_table import FieldTable
from broker.codec.methods import QueueBind, QueueDeclare
from broker.config.datasources import PoolConfiguration
from broker.node.carbon_registry import CarbonRegistry, RegistryPart
from broker.node.registry_places import RegistryPlace
from broker.ports.names import SCHEDULE
from broker.ports.records import BindingRecord, Drop, Put, QueueKey, QueueRecord, VirtualHostRecord
from tests.support.carbon_people import PLAIN, CarbonNode, MemoryPeople, account

QUEUE = "event/queues/jms/orders"


class Noting:
    """A writer that notes what it is to write."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Callable[[Any], object]]] = []
        self.is_away = False
        self.last: asyncio.Future[None] | None = None

    def put(self, what: str, function: object, on_done: Callable[[Any], object] = bool) -> None:
        self.jobs.append((what, on_done))

    @property
    def taken(self) -> list[str]:
        jobs, self.jobs = self.jobs, []
        return [what for what, _ in jobs]


class Site:
    """A node with users ann, who may add queues and topics, and admin; `registry` and `grants` note what is written."""

    def __init__(self, *, read_only: bool = False, may_grant: bool = True) -> None:
        manage = "/permission/admin/manage"
        adds = [("ui.execute", f"{manage}/{kind}/add") for kind in ("queue", "topic")]
        self.people = MemoryPeople(account("ann", *adds), account("admin", roles=["admin"]))
        self.node = CarbonNode(self.people)
        self.registry, self.grants = Noting(), Noting()
        place = RegistryPlace(PoolConfiguration(), "/_system/governance/event/x", read_only, versioned=False)
        part = RegistryPart(place, self.registry)  # type: ignore[arg-type]
        users: Any = SimpleNamespace(accounts=self.node.accounts, topics=self.node.topics, rules=PLAIN)
        broker = self.node.harness.broker
        self.told = CarbonRegistry(
            broker.vhosts.get,
            broker.on_user_changed,
            users=users,
            grants=self.grants if may_grant else None,  # type: ignore[arg-type]
            queues=part,
            topics=part,
            admin="admin",
            settle_timeout=0.0,
        )
        self.clients = {name: self.node.client(name) for name in ("ann", "admin")}

    def change(self, change: Any, user: str = "ann") -> None:
        self.told.on_change(change, self.clients[user].connection.channels[1].connection)

    def may(self, action: str, resource: str) -> bool:
        permissions = self.clients["ann"].connection.channels[1].connection.access.permissions
        assert isinstance(permissions, CarbonPermissions)
        return permissions.grants.allows(action, resource)


def queue(name: str, **more: Any) -> Put:
    return Put(QueueRecord("carbon", name, 7, **more))


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_creator_has_a_queue_before_the_database_knows(site: Site) -> None:
    site.change(queue("Orders"))
    assert site.registry.taken == [f"'{QUEUE}'"]
    assert [what for what, _ in site.grants.jobs] == ["role 'Internal/Q_orders'"]
    assert site.may("consume", QUEUE)


def test_a_role_that_belongs_to_somebody_else_gives_no_rights(site: Site) -> None:
    site.change(queue("orders"))
    ((_, on_done),) = site.grants.jobs
    with capture_logs() as logs:
        on_done(False)
    assert not site.may("consume", QUEUE)
    assert logs[0]["role"] == "Internal/Q_orders"


def test_what_was_read_meanwhile_is_completed_when_the_role_is_written(site: Site) -> None:
    site.change(queue("orders"))
    ((_, on_done),) = site.grants.jobs
    site.node.accounts.change("ann", lambda known: site.people.accounts["ann"])
    on_done(True)
    assert site.may("consume", QUEUE)


@pytest.mark.parametrize(
    ("change", "user"),
    [
        (queue("orders"), "admin"),
        (queue("tmp_1", durable=False), "ann"),
        (queue("s", exclusive=True), "ann"),
        (queue("s", arguments=FieldTable.of({"x-durable-subscription": True}).raw), "ann"),
        (queue("DeadLetterChannel"), "ann"),
    ],
)
def test_some_queues_have_a_collection_and_no_role(site: Site, change: Put, user: str) -> None:
    site.change(change, user)
    assert len(site.registry.taken) == 1
    assert site.grants.taken == []


def test_nothing_is_told_of_other_virtual_hosts(site: Site) -> None:
    site.change(Put(QueueRecord("/", "orders", 7)))
    site.change(Drop(QueueKey("/", "orders", 7)))
    site.change(Put(BindingRecord("carbon", "amq.direct", "queue", "orders", "k")))
    site.change(queue(SCHEDULE))  # no queue of clients
    assert site.registry.taken + site.grants.taken == []


def test_a_registry_that_is_read_only_and_a_path_that_it_refuses_are_not_written() -> None:
    site = Site(read_only=True)
    site.change(queue("orders"))
    assert site.registry.taken == []
    site = Site()
    site.change(queue("a*b"))
    assert site.registry.taken == []


def test_where_users_are_read_only_creators_get_nothing() -> None:
    site = Site(may_grant=False)
    site.change(queue("orders"))
    assert not site.may("consume", QUEUE)


def test_a_first_subscriber_has_the_topic_on_every_level(site: Site) -> None:
    ann = site.clients["ann"]
    ann.call(1, QueueDeclare(queue="orders", durable=True))
    site.change(Put(BindingRecord("carbon", "amq.topic", "queue", "orders", "Sport.cricket.#")))
    assert site.registry.taken == [
        "'event/topics/sport/cricket'",
        "'event/topics/sport/cricket/jms.subscriptions/orders'",
    ]
    assert site.grants.taken == ["role 'Internal/T_sport-cricket'", "roles for subscription 'orders'"]
    assert site.may("consume", QUEUE)
    assert site.may("subscribe", "event/topics/sport")
    site.change(Put(BindingRecord("carbon", "amq.topic", "queue", "orders", "sport.cricket")))
    assert "'event/topics/sport/cricket'" not in site.registry.taken


def test_with_a_queue_go_its_subscriptions_and_then_its_permissions(site: Site) -> None:
    ann, admin = site.clients["ann"], site.clients["admin"]
    ann.call(1, QueueDeclare(queue="orders", durable=True))
    admin.call(1, QueueBind(queue="orders", exchange="amq.topic", routing_key="sport"))
    (queue_id,) = site.node.harness.broker.vhosts["carbon"].routing.queues_by_id
    site.change(queue("orders"))
    site.registry.jobs.clear()
    site.grants.jobs.clear()
    site.change(Drop(QueueKey("carbon", "orders", queue_id)))
    subscription, (what, on_done) = site.registry.jobs
    assert (subscription[0], what) == ("subscription 'orders' is gone", "queue 'orders' is gone")
    on_done(False)
    assert site.grants.taken == []
    on_done(True)
    assert site.grants.taken == ["permissions of queue 'orders' are gone"]
    assert not site.may("consume", QUEUE)


def test_with_the_virtual_host_goes_everything_in_it(site: Site) -> None:
    for name in ("a", "b"):
        site.clients["ann"].call(1, QueueDeclare(queue=name, durable=True))
    site.change(Drop(VirtualHostRecord("/")))
    assert site.registry.taken == []
    site.change(Drop(VirtualHostRecord("carbon")))
    assert site.registry.taken == ["queue 'a' is gone", "queue 'b' is gone"]


async def test_an_answer_waits_until_all_is_written_but_not_for_long(site: Site) -> None:
    assert site.told.settled("carbon") is None
    last = site.registry.last = asyncio.get_running_loop().create_future()
    assert site.told.settled("/") is None
    waiting = site.told.settled("carbon")
    assert waiting is not None
    await waiting
    assert site.told.settled("carbon") is None  # one has waited in vain
    last.set_result(None)
    waiting = site.told.settled("carbon")
    assert waiting is not None
    await waiting
    site.registry.is_away = True
    assert site.told.settled("carbon") is None
