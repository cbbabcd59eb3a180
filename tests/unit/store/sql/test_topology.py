"""What the tables of topology hold; what a store does with them is in tests/contract/test_topology_store.py."""

from __future__ import annotations

from broker.ports.kinds import KINDS
from broker.ports.records import BindingRecord, Drop, ExchangeKey, Put, QueueKey, QueueRecord, VirtualHostRecord
from broker.store.sql.topology import TABLES, TOPOLOGY, digest_of


def test_the_hash_of_a_binding_is_the_one_that_databases_have() -> None:
    binding = BindingRecord("/", "x", "queue", "q", "k.#", b"\x01a\xff")
    bindings = KINDS.of(Put(binding))
    assert digest_of(bindings.unique_of(binding)) == "23a308783022512637e686b23a050adc1f90d750f9ecbfae515d1488c1c04cfb"


def test_every_kind_has_a_table_with_a_column_for_each_field() -> None:
    for kind in KINDS:
        for name in KINDS.types_of(kind.record):
            assert TABLES[kind.record].column(name) is not None


def test_what_has_messages_or_keys_may_take_long_to_delete() -> None:
    assert TOPOLOGY.deletes_messages([Drop(QueueKey("/", "q", 1))])
    assert TOPOLOGY.deletes_messages([Put(VirtualHostRecord("new")), Drop(VirtualHostRecord("old"))])
    assert TOPOLOGY.deletes_messages([Drop(ExchangeKey("/", "x"))])  # its keys
    assert not TOPOLOGY.deletes_messages(
        [Drop(BindingRecord("/", "x", "queue", "q", "", b"")), Put(QueueRecord("/", "q", 1))]
    )
