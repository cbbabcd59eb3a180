"""A kind of record that the broker does not have: an entry in each of three tables, and everything handles it.

If this needs more than `POLICY`, `POLICY_TABLE` and a `Handler` one day, `docs/adr/0022-one-apply.md` is not true
any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, String, Table, create_engine

from broker.coordination.replication.event_codec import decode, encode
from broker.errors import StoreError
from broker.ports.kinds import KINDS, EventForm, Kind, Kinds, Reference
from broker.ports.records import Change, Drop, ExchangeRecord, Put, Topology, VirtualHostRecord
from broker.store.memory.topology import Records
from broker.store.sql import schema
from broker.store.sql.topology import TABLES, KindTable, TopologyTables
from broker.topology.apply import HANDLERS, Handler, LiveTopology
from broker.topology.diff import changes_between, changes_to, topology_hash


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """What applies to the queues whose names match."""

    vhost: str
    name: str
    pattern: str
    priority: int
    definition: bytes = b""


@dataclass(frozen=True, slots=True)
class PolicyKey:
    vhost: str
    name: str


POLICY = Kind(
    "policy",
    PolicyRecord,
    PolicyKey,
    put=EventForm("PolicyPut"),
    drop=EventForm("PolicyDropped"),
    references=(Reference(VirtualHostRecord, {"name": "vhost"}),),
    is_replaced=True,
)
POLICY_TABLE = KindTable(
    Table(
        "POLICY",
        MetaData(),
        Column("vhost", String, primary_key=True),
        Column("policy_name", String, primary_key=True),
        Column("pattern", String),
        Column("priority", Integer),
        Column("definition", LargeBinary),
    ),
    {"name": "policy_name"},
)
WITH_POLICIES = Kinds([*KINDS, POLICY])

VHOST, CARBON = VirtualHostRecord("/"), VirtualHostRecord("carbon")
EXCHANGE = ExchangeRecord("/", "x", "fanout")
TTL = PolicyRecord("/", "ttl", "^q", 1, b"\x00\xff")
DEAD_LETTERS = PolicyRecord("/", "dlx", ".*", 0)
ELSEWHERE = PolicyRecord("carbon", "ttl", ".*", 0)
TOPOLOGY = Topology([VHOST, CARBON, EXCHANGE, DEAD_LETTERS, TTL, ELSEWHERE])


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        POLICY_TABLE.table.metadata.create_all(connection)
        yield connection
    engine.dispose()


class Store:
    """The same questions to a store in memory and one on SQL."""

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection
        self._records = Records(WITH_POLICIES)
        self._tables = TopologyTables(WITH_POLICIES, {**TABLES, PolicyRecord: POLICY_TABLE})

    def record(self, *changes: Change) -> None:
        if self._connection is None:
            for change in changes:
                self._records.record(change)
        else:
            self._tables.record(self._connection, changes)

    def load(self) -> Topology:
        return self._records.topology() if self._connection is None else self._tables.load(self._connection)


@pytest.fixture(params=["memory", "sql"])
def store(request: pytest.FixtureRequest, connection: Connection) -> Store:
    return Store(None if request.param == "memory" else connection)


@pytest.mark.parametrize("change", [Put(TTL), Drop(PolicyKey("/", "ttl"))], ids=repr)
def test_events_tell_of_it(change: Change) -> None:
    assert decode(encode([change], WITH_POLICIES), WITH_POLICIES) == [change]
    with pytest.raises(StoreError, match="an event of topology that makes no sense"):
        decode(encode([change], WITH_POLICIES))


def test_the_hash_tells_of_it() -> None:
    without, other = Topology([VHOST, EXCHANGE]), Topology([VHOST, EXCHANGE, replace(TTL, priority=2)])
    hashes = {topology_hash(each, WITH_POLICIES) for each in (without, other, Topology([VHOST, EXCHANGE, TTL]))}
    assert len(hashes) == 3
    assert topology_hash(without) in hashes


def test_one_that_changed_is_put_again_and_one_that_is_not_wanted_is_dropped() -> None:
    changed = replace(TTL, priority=2)
    wanted = Topology([VHOST, CARBON, EXCHANGE, changed])
    assert list(changes_between(TOPOLOGY, wanted, WITH_POLICIES)) == [
        Drop(PolicyKey("/", "dlx")),
        Drop(PolicyKey("carbon", "ttl")),
        Put(changed),
    ]


def test_it_goes_and_comes_with_what_it_refers_to() -> None:
    wanted = Topology([CARBON, ELSEWHERE])
    gone = list(changes_between(TOPOLOGY, wanted, WITH_POLICIES))
    assert gone[:2] == [Drop(PolicyKey("/", "dlx")), Drop(PolicyKey("/", "ttl"))]
    assert list(changes_between(wanted, TOPOLOGY, WITH_POLICIES))[-2:] == [Put(DEAD_LETTERS), Put(TTL)]


def test_stores_keep_it(store: Store) -> None:
    store.record(*changes_to(TOPOLOGY, WITH_POLICIES))
    store.record(*changes_to(TOPOLOGY, WITH_POLICIES))
    assert store.load() == TOPOLOGY
    changed = replace(TTL, priority=2)
    store.record(Put(changed), Drop(PolicyKey("/", "dlx")), Drop(PolicyKey("/", "nope")))
    assert store.load() == Topology([VHOST, CARBON, EXCHANGE, changed, ELSEWHERE])
    store.record(Drop(VHOST))
    assert store.load() == Topology([CARBON, ELSEWHERE])


def test_memory_takes_it_and_gives_it_back() -> None:
    policies: dict[PolicyKey, PolicyRecord] = {}

    def put(_: LiveTopology, record: PolicyRecord) -> list[object]:
        policies[PolicyKey(record.vhost, record.name)] = record
        return []

    def drop(_: LiveTopology, key: PolicyKey) -> list[object]:
        policies.pop(key, None)
        return []

    handlers = {**HANDLERS, PolicyRecord: Handler(put, drop, lambda _: policies.values())}
    live = LiveTopology({}, lambda name: None, WITH_POLICIES, handlers)
    assert live.restore(Topology([TTL, DEAD_LETTERS])) == []
    live.apply(Drop(PolicyKey("/", "dlx")))
    assert live.snapshot() == Topology([TTL])
