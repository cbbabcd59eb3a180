"""A kind of record that the broker does not have: an entry in each of three tables, and everything handles it.

If this needs more than `LABEL`, `LABEL_TABLE` and a `Handler` one day, `docs/adr/0022-one-apply.md` is not true
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
class LabelRecord:
    """What applies to the queues whose names match."""

    vhost: str
    name: str
    pattern: str
    priority: int
    definition: bytes = b""


@dataclass(frozen=True, slots=True)
class LabelKey:
    vhost: str
    name: str


LABEL = Kind(
    "label",
    LabelRecord,
    LabelKey,
    put=EventForm("LabelPut"),
    drop=EventForm("LabelDropped"),
    references=(Reference(VirtualHostRecord, {"name": "vhost"}),),
    is_replaced=True,
)
LABEL_TABLE = KindTable(
    Table(
        "LABEL",
        MetaData(),
        Column("vhost", String, primary_key=True),
        Column("label_name", String, primary_key=True),
        Column("pattern", String),
        Column("priority", Integer),
        Column("definition", LargeBinary),
    ),
    {"name": "label_name"},
)
WITH_LABELS = Kinds([*KINDS, LABEL])

VHOST, CARBON = VirtualHostRecord("/"), VirtualHostRecord("carbon")
EXCHANGE = ExchangeRecord("/", "x", "fanout")
TTL = LabelRecord("/", "ttl", "^q", 1, b"\x00\xff")
DEAD_LETTERS = LabelRecord("/", "dlx", ".*", 0)
ELSEWHERE = LabelRecord("carbon", "ttl", ".*", 0)
TOPOLOGY = Topology([VHOST, CARBON, EXCHANGE, DEAD_LETTERS, TTL, ELSEWHERE])


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        LABEL_TABLE.table.metadata.create_all(connection)
        yield connection
    engine.dispose()


class Store:
    """The same questions to a store in memory and one on SQL."""

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection
        self._records = Records(WITH_LABELS)
        self._tables = TopologyTables(WITH_LABELS, {**TABLES, LabelRecord: LABEL_TABLE})

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


@pytest.mark.parametrize("change", [Put(TTL), Drop(LabelKey("/", "ttl"))], ids=repr)
def test_events_tell_of_it(change: Change) -> None:
    assert decode(encode([change], WITH_LABELS), WITH_LABELS) == [change]
    with pytest.raises(StoreError, match="an event of topology that makes no sense"):
        decode(encode([change], WITH_LABELS))


def test_the_hash_tells_of_it() -> None:
    without, other = Topology([VHOST, EXCHANGE]), Topology([VHOST, EXCHANGE, replace(TTL, priority=2)])
    hashes = {topology_hash(each, WITH_LABELS) for each in (without, other, Topology([VHOST, EXCHANGE, TTL]))}
    assert len(hashes) == 3
    assert topology_hash(without) in hashes


def test_one_that_changed_is_put_again_and_one_that_is_not_wanted_is_dropped() -> None:
    changed = replace(TTL, priority=2)
    wanted = Topology([VHOST, CARBON, EXCHANGE, changed])
    assert list(changes_between(TOPOLOGY, wanted, WITH_LABELS)) == [
        Drop(LabelKey("/", "dlx")),
        Drop(LabelKey("carbon", "ttl")),
        Put(changed),
    ]


def test_it_goes_and_comes_with_what_it_refers_to() -> None:
    wanted = Topology([CARBON, ELSEWHERE])
    gone = list(changes_between(TOPOLOGY, wanted, WITH_LABELS))
    assert gone[:2] == [Drop(LabelKey("/", "dlx")), Drop(LabelKey("/", "ttl"))]
    assert list(changes_between(wanted, TOPOLOGY, WITH_LABELS))[-2:] == [Put(DEAD_LETTERS), Put(TTL)]


def test_stores_keep_it(store: Store) -> None:
    store.record(*changes_to(TOPOLOGY, WITH_LABELS))
    store.record(*changes_to(TOPOLOGY, WITH_LABELS))
    assert store.load() == TOPOLOGY
    changed = replace(TTL, priority=2)
    store.record(Put(changed), Drop(LabelKey("/", "dlx")), Drop(LabelKey("/", "nope")))
    assert store.load() == Topology([VHOST, CARBON, EXCHANGE, changed, ELSEWHERE])
    store.record(Drop(VHOST))
    assert store.load() == Topology([CARBON, ELSEWHERE])


def test_memory_takes_it_and_gives_it_back() -> None:
    policies: dict[LabelKey, LabelRecord] = {}

    def put(_: LiveTopology, record: LabelRecord) -> list[object]:
        policies[LabelKey(record.vhost, record.name)] = record
        return []

    def drop(_: LiveTopology, key: LabelKey) -> list[object]:
        policies.pop(key, None)
        return []

    handlers = {**HANDLERS, LabelRecord: Handler(put, drop, lambda _: policies.values())}
    live = LiveTopology({}, lambda name: None, WITH_LABELS, handlers)
    assert live.restore(Topology([TTL, DEAD_LETTERS])) == []
    live.apply(Drop(LabelKey("/", "dlx")))
    assert live.snapshot() == Topology([TTL])
