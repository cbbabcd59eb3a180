"""What every topology store promises (`broker.ports.TopologyStore`)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from broker.codec.field_table import FieldTable
from broker.ports.levels import storage_id, storage_ids
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeKey,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    Topology,
    VirtualHostRecord,
)
from tests.contract.harness import Harness, Queue, message

SALES = ExchangeRecord("/", "sales", "topic", auto_delete=True, internal=True, arguments=b"\x01aS\x00\x00\x00\x01b")
AUDIT = ExchangeRecord("/", "audit", "fanout")
ORDERS = QueueRecord("/", "orders", 7, auto_delete=True, arguments=b"\x01at\x01")
INVOICES = QueueRecord("/", "invoices", 8)
NEW_ORDERS = BindingRecord("/", "sales", "queue", "orders", "new.#", b"\x01at\x01")
ALL_SALES = BindingRecord("/", "audit", "exchange", "sales")


async def load(harness: Harness) -> Topology:
    """Return what is recorded, in an order that makes it comparable."""
    loaded = await harness.store.load()
    return Topology(
        [
            *sorted(loaded.of(VirtualHostRecord), key=lambda record: record.name),
            *sorted(loaded.of(ExchangeRecord), key=lambda record: (record.vhost, record.name)),
            *sorted(loaded.of(QueueRecord), key=lambda record: record.queue_id),
            *sorted(loaded.of(BindingRecord), key=repr),
        ]
    )


async def record_all(harness: Harness) -> None:
    await harness.store.record(
        [
            Put(VirtualHostRecord("/")),
            Put(SALES),
            Put(AUDIT),
            Put(ORDERS),
            Put(INVOICES),
            Put(NEW_ORDERS),
            Put(ALL_SALES),
        ]
    )


EVERYTHING = Topology([VirtualHostRecord("/"), AUDIT, SALES, ORDERS, INVOICES, ALL_SALES, NEW_ORDERS])


async def test_a_new_store_has_recorded_nothing(harness: Harness) -> None:
    assert await load(harness) == Topology()


async def test_what_is_recorded_is_loaded_after_a_crash(harness: Harness) -> None:
    await record_all(harness)

    await harness.crash()

    assert await load(harness) == EVERYTHING


async def test_more_than_is_read_at_once_is_loaded_once_each_and_bindings_in_their_order(harness: Harness) -> None:
    exchanges = [ExchangeRecord(f"vhost {number % 3}", f"exchange {number:04}", "fanout") for number in range(1001)]
    bindings = [BindingRecord("/", "audit", "queue", "orders", f"{(number * 7) % 503}") for number in range(503)]
    await record_all(harness)
    await harness.store.record([Put(record) for record in (*exchanges, *bindings)])

    loaded = await harness.store.load()
    assert sorted(loaded.of(ExchangeRecord), key=repr) == sorted([*exchanges, SALES, AUDIT], key=repr)
    assert [record for record in loaded.of(BindingRecord) if record.destination_kind == "queue"] == [
        NEW_ORDERS,
        *bindings,
    ]


async def test_recording_what_is_recorded_already_changes_nothing(harness: Harness) -> None:
    await record_all(harness)
    await record_all(harness)

    assert await load(harness) == EVERYTHING


async def test_deleting_what_is_not_there_changes_nothing(harness: Harness) -> None:
    await record_all(harness)

    await harness.store.record(
        [
            Drop(ExchangeKey("/", "nope")),
            Drop(QueueKey("/", "nope", 99)),
            Drop(replace(NEW_ORDERS, routing_key="old")),
            Drop(replace(NEW_ORDERS, arguments=b"")),
            Drop(VirtualHostRecord("nope")),
        ]
    )

    assert await load(harness) == EVERYTHING


async def test_changes_are_recorded_in_their_order(harness: Harness) -> None:
    await harness.store.record([Put(ORDERS), Drop(QueueKey("/", "orders", 7)), Put(replace(ORDERS, queue_id=9))])

    assert (await load(harness)).of(QueueRecord) == (replace(ORDERS, queue_id=9),)


async def test_changes_are_recorded_all_or_none(harness: Harness) -> None:
    with pytest.raises(Exception, match=r".*"):
        await harness.store.record([Put(ORDERS), "no change"])  # type: ignore[list-item]

    assert await load(harness) == Topology()


async def test_a_deleted_exchange_takes_its_bindings_along(harness: Harness) -> None:
    await record_all(harness)

    await harness.store.record([Drop(ExchangeKey("/", "sales"))])

    assert await load(harness) == Topology([VirtualHostRecord("/"), AUDIT, ORDERS, INVOICES])


async def test_a_deleted_exchange_leaves_a_queue_of_the_same_name_bound(harness: Harness) -> None:
    to_queue = BindingRecord("/", "audit", "queue", "sales")
    await harness.store.record([Put(to_queue), Put(ALL_SALES)])

    await harness.store.record([Drop(ExchangeKey("/", "sales"))])

    assert (await load(harness)).of(BindingRecord) == (to_queue,)


async def test_a_deleted_queue_takes_its_bindings_and_messages_along(harness: Harness) -> None:
    await record_all(harness)
    await harness.insert(message(1, Queue(7)), message(2, Queue(8)), message(3, Queue(7), b"x" * 70_000))

    await harness.store.record([Drop(QueueKey("/", "orders", 7))])

    assert await load(harness) == Topology([VirtualHostRecord("/"), AUDIT, SALES, INVOICES, ALL_SALES])
    assert await harness.ids(Queue(7)) == []
    assert await harness.ids(Queue(8)) == [2]


async def test_a_deleted_queue_takes_the_messages_of_all_its_levels_along(harness: Harness) -> None:
    levels = [Queue(each) for each in storage_ids(7, 3)]
    beyond = Queue(storage_id(7, 4))
    arguments = FieldTable.of({"x-max-priority": 3}).raw
    await harness.store.record([Put(VirtualHostRecord("/")), Put(replace(ORDERS, arguments=arguments)), Put(INVOICES)])
    for number, level in enumerate([*levels, beyond, Queue(storage_id(8, 1))]):
        await harness.insert(message(10 * number + 1, level), message(10 * number + 2, level, state=5))

    await harness.store.record([Drop(QueueKey("/", "orders", 7))])

    assert [await harness.ids(level, transient=True) for level in levels] == [[]] * 4
    assert await harness.ids(Queue(storage_id(8, 1)), transient=True) == [51, 52]


async def test_a_deletion_of_a_queue_that_is_there_anew_leaves_the_new_one(harness: Harness) -> None:
    await record_all(harness)
    await harness.insert(message(1, Queue(7)), message(2, Queue(99)))

    await harness.store.record([Drop(QueueKey("/", "orders", 99))])

    assert await load(harness) == EVERYTHING
    assert await harness.ids(Queue(7)) == [1]
    assert await harness.ids(Queue(99)) == []


async def test_a_deleted_queue_leaves_content_that_another_queue_shares(harness: Harness) -> None:
    await harness.insert(message(1, Queue(7), b"shared", content_id=1), message(2, Queue(8), b"shared", content_id=1))

    await harness.store.record([Drop(QueueKey("/", "orders", 7))])

    assert [stored.payload for stored in await harness.read(Queue(8))] == [b"shared"]


async def test_deleting_a_queue_that_is_not_durable_deletes_its_messages(harness: Harness) -> None:
    await harness.insert(message(1, Queue(9), state=5), message(2, Queue(9)), message(3, Queue(8)))

    await harness.store.record([Drop(QueueKey("/", "amq.gen-1", 9))])

    assert await harness.ids(Queue(9), transient=True) == []
    assert await harness.ids(Queue(8)) == [3]


async def test_a_removed_binding_leaves_its_neighbours(harness: Harness) -> None:
    others = (
        replace(NEW_ORDERS, arguments=b""),
        replace(NEW_ORDERS, destination="invoices"),
        replace(NEW_ORDERS, destination_kind="exchange"),
        replace(NEW_ORDERS, routing_key="new"),
        replace(NEW_ORDERS, source="audit"),
        replace(NEW_ORDERS, vhost="carbon"),
    )
    await harness.store.record([Put(binding) for binding in (NEW_ORDERS, *others)])

    await harness.store.record([Drop(NEW_ORDERS)])

    assert set((await load(harness)).of(BindingRecord)) == set(others)


async def test_a_deleted_virtual_host_takes_all_it_holds_along(harness: Harness) -> None:
    await record_all(harness)
    elsewhere: list[Change] = [Put(VirtualHostRecord("carbon")), Put(replace(ORDERS, vhost="carbon", queue_id=9))]
    await harness.store.record(elsewhere)
    await harness.insert(message(1, Queue(7)), message(2, Queue(9)))

    await harness.store.record([Drop(VirtualHostRecord("/"))])

    assert await load(harness) == Topology([VirtualHostRecord("carbon"), replace(ORDERS, vhost="carbon", queue_id=9)])
    assert await harness.ids(Queue(7)) == []
    assert await harness.ids(Queue(9)) == [2]


@pytest.mark.parametrize(
    "name",
    [
        "it's",
        'a "b"',
        "100%s %(x)s %d",
        "a;b--c",
        "\N{PILE OF POO} \N{SNOWMAN}",
        "é" * 127 + "e",
        "nul\0nul",
        "?:x",
        "",
        " ",
    ],
    ids=ascii,
)
async def test_any_name_is_kept_byte_by_byte(harness: Harness, name: str) -> None:
    exchange, queue = ExchangeRecord(name, name, name), QueueRecord(name, name, 7)
    binding = BindingRecord(name, name, "queue", name, name, name.encode())
    changes: list[Change] = [
        Put(VirtualHostRecord(name)),
        Put(exchange),
        Put(queue),
        Put(binding),
    ]

    await harness.store.record(changes)
    recorded = await load(harness)
    await harness.store.record([Drop(VirtualHostRecord(name))])

    assert recorded == Topology([VirtualHostRecord(name), exchange, queue, binding])
    assert await load(harness) == Topology()


async def test_names_that_differ_in_case_accents_or_blanks_are_different(harness: Harness) -> None:
    names = ("orders", "Orders", "ORDERS", "ordérs", "orde\u0301rs", "orders ", "orders\0")
    queues = tuple(QueueRecord("/", name, number) for number, name in enumerate(names, 1))

    await harness.store.record([Put(queue) for queue in queues])
    await harness.store.record([Drop(QueueKey("/", "Orders", 2))])

    assert (await load(harness)).of(QueueRecord) == (queues[0], *queues[2:])


async def test_fields_of_a_binding_do_not_run_over_into_each_other(harness: Harness) -> None:
    bindings = (BindingRecord("/", "a", "queue", "bc", "d"), BindingRecord("/", "ab", "queue", "c", "d"))

    await harness.store.record([Put(binding) for binding in bindings])

    assert (await load(harness)).of(BindingRecord) == bindings


async def test_queue_ids_are_never_reserved_twice(harness: Harness) -> None:
    ranges = [(harness.registration.first_queue_id, harness.registration.last_queue_id)]
    ranges.append(await harness.store.reserve_queue_ids(3))
    registration = await harness.restart()
    ranges.append((registration.first_queue_id, registration.last_queue_id))
    ranges.append(await harness.store.reserve_queue_ids(1))
    registration = await harness.crash()
    ranges.append((registration.first_queue_id, registration.last_queue_id))
    ranges.append(await harness.store.reserve_queue_ids(2))

    assert [last - first + 1 for first, last in ranges[1::2]] == [3, 1, 2]
    assert all(0 < first <= last for first, last in ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
