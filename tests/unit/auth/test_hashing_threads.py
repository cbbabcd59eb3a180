"""Hashing beside the loop: few threads, a bounded queue, turns between sources."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from broker.auth.hashing_threads import HashingThreads
from broker.auth.passwords import Verdict
from broker.errors import ConnectionForced
from tests.support.node_in_process import turns

RIGHT = Verdict(True)


class Work:
    """Jobs that end when the test says so, in the order in which they began."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.begun: list[str] = []

    def job(self, name: str) -> Callable[[], Verdict]:
        def run() -> Verdict:
            self.begun.append(name)
            assert self.may_end.wait(10.0)
            return RIGHT

        return run


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def threads(work: Work) -> AsyncIterator[HashingThreads]:
    threads = HashingThreads(1, waiting=4)
    yield threads
    work.may_end.set()
    threads.close()


def always() -> bool:
    return True


async def begin(
    threads: HashingThreads, work: Work, name: str, source: str = "a", *, is_wanted: Callable[[], bool] = always
) -> asyncio.Task[Verdict | None]:
    """Let a client's check come; its key and its name are one."""
    check = threads.run(name.encode(), source, work.job(name), is_wanted)
    task = asyncio.get_running_loop().create_task(check)
    await turns(5)
    return task


async def test_a_job_runs_in_another_thread_and_the_loop_goes_on(threads: HashingThreads, work: Work) -> None:
    task = await begin(threads, work, "one")
    await turns(10)
    assert not task.done()
    work.may_end.set()
    assert await task == RIGHT
    assert threads.hashed == 1


async def test_equal_checks_at_the_same_time_are_one(threads: HashingThreads, work: Work) -> None:
    tasks = [await begin(threads, work, "one", source) for source in "abc" * 100]
    work.may_end.set()
    assert await asyncio.gather(*tasks) == [RIGHT] * 300
    assert threads.hashed == 1
    assert await (await begin(threads, work, "one")) == RIGHT
    assert threads.hashed == 2


async def test_a_client_that_goes_away_takes_nothing_from_those_who_wait_for_the_same(
    threads: HashingThreads, work: Work
) -> None:
    first, second = await begin(threads, work, "one"), await begin(threads, work, "one", "b")
    first.cancel()
    await turns(5)
    work.may_end.set()
    assert await second == RIGHT
    assert first.cancelled()


async def test_a_job_whose_client_has_gone_keeps_no_thread(threads: HashingThreads, work: Work) -> None:
    first, second = await begin(threads, work, "one"), await begin(threads, work, "two")
    first.cancel()
    work.may_end.set()
    assert await second == RIGHT


async def test_sources_have_turns_and_a_flood_displaces_itself(threads: HashingThreads, work: Work) -> None:
    await begin(threads, work, "running")
    flood = [await begin(threads, work, f"flood {number}", "flood") for number in range(6)]
    other = await begin(threads, work, "other", "b")
    late = [task for task in flood if task.done()]
    assert late == flood[3:]
    for task in late:
        with pytest.raises(ConnectionForced, match="too many logins wait to be checked, try again later"):
            await task
    work.may_end.set()
    assert await other == RIGHT
    await asyncio.gather(*flood[:3])
    assert work.begun == ["running", "flood 0", "other", "flood 1", "flood 2"]


async def test_what_nobody_wants_any_more_when_its_turn_has_come_is_not_run(
    threads: HashingThreads, work: Work
) -> None:
    wanted = {"two": True, "three": True}
    first = await begin(threads, work, "one")
    second = await begin(threads, work, "two", is_wanted=lambda: wanted["two"])
    third = await begin(threads, work, "three", is_wanted=lambda: wanted["three"])
    wanted["two"] = False
    work.may_end.set()
    assert await asyncio.gather(first, second, third) == [RIGHT, None, RIGHT]
    assert work.begun == ["one", "three"]


async def test_a_job_that_fails_fails_its_check_and_the_next_one_runs(threads: HashingThreads, work: Work) -> None:
    def fail() -> Verdict:
        raise MemoryError("no room for a hash")

    with pytest.raises(MemoryError, match="no room for a hash"):
        await threads.run(b"bad", "a", fail, always)
    work.may_end.set()
    assert await (await begin(threads, work, "one")) == RIGHT


async def test_at_the_end_nobody_waits_any_more(threads: HashingThreads, work: Work) -> None:
    running, waiting = await begin(threads, work, "one"), await begin(threads, work, "two")
    pause = asyncio.get_running_loop().create_task(threads.pause(3600.0))
    await turns(5)
    threads.close()
    await pause
    with pytest.raises(ConnectionForced, match="the node stops or begins anew"):
        await waiting
    with pytest.raises(ConnectionForced, match="the node stops or begins anew"):
        await threads.run(b"three", "a", work.job("three"), always)
    work.may_end.set()
    assert await running == RIGHT
    assert work.begun == ["one"]


async def test_a_pause_is_over_when_its_time_has_come(threads: HashingThreads) -> None:
    await threads.pause(0.0)
