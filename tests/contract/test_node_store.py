"""What every node store, and every whole store, promises (`broker.ports.NodeStore`, `Store`)."""

from __future__ import annotations

import time

import pytest

from broker.errors import StoreError, StoreLocked
from broker.message import TRANSIENT
from broker.ports.store import Batch
from tests.contract.harness import Harness, message


async def test_a_node_keeps_its_lane(harness: Harness) -> None:
    first = harness.registration.lane

    assert (await harness.restart()).lane == first
    assert (await harness.crash()).lane == first


async def test_the_store_tells_its_time_in_milliseconds_since_1970(harness: Harness) -> None:
    """Here all stores are on one machine, and have its clock."""
    before = time.time_ns() // 1_000_000

    told = await harness.store.time_ms()

    assert before <= told <= time.time_ns() // 1_000_000


async def test_another_node_gets_another_lane(harness: Harness) -> None:
    first = harness.registration.lane

    other = await harness.restart("node-b")

    assert other.lane != first
    assert 0 <= other.lane <= 255
    assert (await harness.restart()).lane == first


async def test_a_new_store_is_clean(harness: Harness) -> None:
    assert harness.registration.clean
    assert harness.registration.last_message_id == 0


async def test_a_node_that_resigned_is_clean(harness: Harness) -> None:
    assert (await harness.restart()).clean


async def test_a_node_that_did_not_resign_is_not_clean(harness: Harness) -> None:
    assert not (await harness.crash()).clean
    assert (await harness.restart()).clean


async def test_what_another_node_left_when_it_crashed_is_not_clean(harness: Harness) -> None:
    assert not (await harness.crash("node-b")).clean


async def test_the_high_water_mark_survives_a_crash(harness: Harness) -> None:
    await harness.store.write(Batch(inserts=[message(500)], high_water=4000))

    assert (await harness.crash()).last_message_id >= 4000


async def test_the_high_water_mark_never_falls(harness: Harness) -> None:
    await harness.store.write(Batch(inserts=[message(500)], high_water=4000))
    await harness.store.write(Batch(inserts=[message(501)], high_water=600))
    await harness.restart()
    await harness.store.write(Batch(inserts=[message(502)], high_water=700))

    assert (await harness.restart()).last_message_id >= 4000


async def test_no_id_is_above_the_last_message_id_even_when_its_row_is_gone(harness: Harness) -> None:
    await harness.insert(message(500), message(900, state=TRANSIENT))
    await harness.delete(message(900))

    assert (await harness.crash()).last_message_id >= 900
    assert (await harness.crash()).last_message_id >= 900


@pytest.mark.usefixtures("short_lock_timeout")
async def test_a_store_that_is_open_is_refused_to_another(harness: Harness) -> None:
    with pytest.raises(StoreLocked, match="in use"):
        await harness.make().open()

    await harness.insert(message(1))
    assert await harness.ids() == [1]


async def test_a_closed_store_refuses_to_work(harness: Harness) -> None:
    await harness.store.close()

    with pytest.raises(StoreError, match="not open"):
        await harness.store.write(Batch(inserts=[message(1)]))
    with pytest.raises(StoreError, match="not open"):
        await harness.ids()


async def test_closing_twice_is_no_error(harness: Harness) -> None:
    await harness.store.close()
    await harness.store.close()


async def test_a_store_can_be_opened_again(harness: Harness) -> None:
    await harness.insert(message(1))
    await harness.store.close()
    await harness.store.open()

    assert await harness.ids() == [1]


async def test_a_probe_says_how_long_it_took(harness: Harness) -> None:
    assert [0 <= await harness.store.probe() < 60 for _ in range(2)] == [True, True]


async def test_a_store_describes_itself_in_one_line(harness: Harness) -> None:
    assert harness.store.describe().splitlines() == [harness.store.describe()]
