from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from broker.store.sqlite.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    started = Worker("test-worker")
    yield started
    started.stop()


async def test_a_call_runs_in_the_thread_and_its_result_comes_back(worker: Worker) -> None:
    assert await worker.submit(lambda: threading.current_thread().name) == "test-worker"


async def test_an_exception_comes_back(worker: Worker) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await worker.submit(int, "x")

    assert await worker.submit(int, "1") == 1


async def test_calls_run_in_the_order_of_submission(worker: Worker) -> None:
    order: list[int] = []

    await asyncio.gather(*(worker.submit(order.append, number) for number in range(100)))

    assert order == list(range(100))


async def test_a_cancelled_call_still_runs(worker: Worker) -> None:
    done: list[int] = []

    worker.submit(done.append, 1).cancel()
    await worker.submit(done.append, 2)

    assert done == [1, 2]


async def test_stopping_waits_for_what_was_submitted() -> None:
    done: list[int] = []
    worker = Worker("test-worker")
    waiting = [worker.submit(done.append, number) for number in range(10)]

    worker.stop()

    assert done == list(range(10))
    await asyncio.gather(*waiting)


async def test_a_worker_that_has_nothing_to_do_tidies_up_once() -> None:
    tidied = threading.Semaphore(0)
    worker = Worker("test-worker", tidied.release)

    assert await asyncio.to_thread(tidied.acquire, timeout=30)
    assert await worker.submit(int, "1") == 1
    worker.stop()


async def test_a_worker_whose_tidying_fails_goes_on_working() -> None:
    tried = threading.Event()

    def tidy() -> None:
        tried.set()
        raise MemoryError

    worker = Worker("test-worker", tidy)
    await asyncio.get_running_loop().run_in_executor(None, tried.wait)

    assert await worker.submit(int, "1") == 1
    worker.stop()
