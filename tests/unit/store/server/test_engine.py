"""What the engine does about each class of failure, with a driver that fails as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs

from broker.config.server_hosts import Address
from broker.config.store_url import parse
from broker.errors import ConfigError, StoreError, StoreFull, StoreLocked, StoreUnavailable
from broker.store.server.addresses import Servers
from broker.store.server.engine import Engine, Failure, NotReplicated, PoolLimits


class DriverError(Exception):
    """What a driver raises."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


class Raw:
    """A connection, which knows its host."""

    def __init__(self, host: str) -> None:
        self.host = host


class FakeDriver:
    """A driver whose connections are of no use."""

    engine = "postgresql+asyncpg://"
    where = "db.example.org:5432/mb"
    servers = Servers(parse("jdbc:postgresql://db.example.org/mb"))
    sessions_may_hang = True

    def __init__(self) -> None:
        self.aborted: list[Any] = []
        self.looks = 0
        self.unreplicated = 0
        self.written = 0
        self.on_abort: Callable[[], None] = lambda: None
        self.refusal: Exception | None = None
        self.refusals: dict[str, Exception] = {}
        """By host."""
        self.identities: dict[str, int] = {}
        """By host."""

    async def connect(self, address: Address) -> Any:
        refusal = self.refusals.get(address[0], self.refusal)
        if refusal is not None:
            raise refusal
        return Raw(address[0])

    async def identity(self, raw: Any) -> int | None:
        return self.identities.get(raw.host)

    def has_local_locks(self, raw: Any) -> bool:
        return False

    async def end_hung_sessions(self, raw: Any) -> int:
        self.looks += 1
        return 1

    def refuse_unreplicated(self, raw: Any) -> None:
        if self.unreplicated:
            self.unreplicated -= 1
            raise NotReplicated("the commit did not wait for the synchronous standby")

    async def write_anyway(self, connection: Any) -> None:
        self.written += 1

    def abort(self, raw: Any) -> None:
        self.aborted.append(raw)
        self.on_abort()

    def failure(self, error: BaseException) -> Failure:
        return error.failure if isinstance(error, DriverError) else Failure.LOST


def conflict() -> DriverError:
    return DriverError(Failure.CONFLICT, "deadlock")


class Attempts:
    """Something that fails with each of `errors` in turn and then succeeds."""

    def __init__(self, errors: Iterable[Exception]) -> None:
        self._errors = list(errors)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
async def engine(driver: FakeDriver, pauses: list[float]) -> AsyncIterator[Engine]:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    made = Engine(driver, PoolLimits(), sleep=sleep, chance=lambda: 0.5)
    await made.open()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (Failure.LOST, StoreUnavailable),
        (Failure.BUSY, StoreUnavailable),
        (Failure.READ_ONLY, StoreUnavailable),
        (Failure.CONFLICT, StoreUnavailable),
        (Failure.FULL, StoreFull),
        (Failure.REFUSED, ConfigError),
        (Failure.BUG, StoreError),
    ],
)
def test_each_class_of_failure_has_its_error(engine: Engine, failure: Failure, raised: type[Exception]) -> None:
    told = engine.translate(DriverError(failure, "why\n  it failed"))

    assert type(told) is raised
    assert str(told).endswith("mb: why it failed")


def test_what_is_refused_after_it_was_accepted_is_an_outage(engine: Engine) -> None:
    engine.is_proven = True

    assert type(engine.translate(DriverError(Failure.REFUSED, "wrong password"))) is StoreUnavailable
    assert type(engine.translate(ConfigError("no TLS"))) is StoreUnavailable


def test_an_error_of_ours_is_passed_on(engine: Engine) -> None:
    error = StoreLocked("in use")

    assert engine.translate(error) is error


def test_the_drivers_own_error_is_found_below_that_of_sqlalchemy(engine: Engine) -> None:
    layer = RuntimeError("a layer in between")
    layer.__cause__ = DriverError(Failure.FULL, "no room")

    assert type(engine.translate(DBAPIError("SELECT 1", None, layer))) is StoreFull
    assert type(engine.translate(DBAPIError("SELECT 1", None, DriverError(Failure.FULL, "no room")))) is StoreFull


def test_a_pool_without_a_free_connection_is_an_outage(engine: Engine) -> None:
    assert type(engine.translate(PoolTimeout("QueuePool limit"))) is StoreUnavailable


def test_want_of_memory_is_an_outage(engine: Engine) -> None:
    assert type(engine.translate(MemoryError())) is StoreUnavailable


def test_a_numbered_error_is_told_with_its_number(engine: Engine) -> None:
    assert str(engine.translate(OSError(111, "Connection refused"))).endswith("Connection refused (111)")


def test_silence_is_told_as_such(engine: Engine) -> None:
    assert str(engine.translate(TimeoutError())) == "db.example.org:5432/mb: no answer in time"


async def test_a_conflict_is_tried_again_after_growing_pauses(engine: Engine, pauses: list[float]) -> None:
    attempts = Attempts(conflict() for _ in range(9))

    assert await engine.retrying(attempts) == "done"
    assert attempts.count == 10
    assert pauses == [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0]


async def test_conflicts_in_a_row_are_one_reason_to_look_for_sessions_that_hang(
    engine: Engine, driver: FakeDriver
) -> None:
    await engine.retrying(Attempts(conflict() for _ in range(5)))
    await engine.close()
    assert driver.looks == 1


async def test_where_no_session_hangs_nobody_looks_for_one(engine: Engine, driver: FakeDriver) -> None:
    driver.sessions_may_hang = False
    await engine.retrying(Attempts([conflict()]))
    await engine.close()
    assert driver.looks == 0


async def test_a_conflict_that_does_not_end_is_an_outage(engine: Engine) -> None:
    attempts = Attempts(conflict() for _ in range(50))

    with pytest.raises(StoreUnavailable, match="deadlock"):
        await engine.retrying(attempts)
    assert attempts.count == 10


@pytest.mark.parametrize(
    "failure", [failure for failure in Failure if failure is not Failure.CONFLICT], ids=lambda failure: failure.name
)
async def test_nothing_but_a_conflict_is_tried_again(engine: Engine, pauses: list[float], failure: Failure) -> None:
    attempts = Attempts([DriverError(failure, "no")])

    with pytest.raises((StoreError, ConfigError)):
        await engine.retrying(attempts)
    assert (attempts.count, pauses) == (1, [])


async def test_what_may_be_repeated_is_tried_once_more_after_a_stale_connection(engine: Engine) -> None:
    lost = DriverError(Failure.LOST, "gone")
    once, twice = Attempts([lost]), Attempts([lost, lost])

    assert await engine.retrying(once, again=Failure.LOST) == "done"
    with pytest.raises(StoreUnavailable, match="gone"):
        await engine.retrying(twice, again=Failure.LOST)
    assert twice.count == 2


async def test_a_late_answer_closes_the_connection_and_cancels_nothing(driver: FakeDriver, engine: Engine) -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    driver.on_abort = lambda: answer.set_exception(ConnectionResetError("closed"))

    with pytest.raises(StoreUnavailable, match=r"has not answered for 0 s"), engine.deadline("raw", 0.0):
        await answer
    assert driver.aborted == ["raw"]


async def test_an_answer_in_time_leaves_the_connection_alone(driver: FakeDriver, engine: Engine) -> None:
    with engine.deadline("raw", 60.0):
        await asyncio.sleep(0)

    assert driver.aborted == []


async def test_an_error_in_time_is_passed_on(driver: FakeDriver, engine: Engine) -> None:
    with pytest.raises(DriverError), engine.deadline("raw", 60.0):
        raise conflict()
    assert driver.aborted == []


async def test_a_caller_that_is_cancelled_does_not_stop_the_work(engine: Engine) -> None:
    go_on, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        done.set()

    await cancelled_caller(engine.own(work()))
    go_on.set()

    await asyncio.wait_for(done.wait(), 5.0)


@pytest.mark.parametrize(
    ("error", "level"), [(StoreUnavailable("away"), "debug"), (StoreError("no such table"), "warning")]
)
async def test_work_that_fails_after_its_caller_has_gone_is_told_of_when_nobody_else_will(
    engine: Engine, error: Exception, level: str
) -> None:
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        raise error

    with capture_logs() as logs:
        await cancelled_caller(engine.own(work()))
        go_on.set()
        await asyncio.sleep(0)
        assert await engine.own(Attempts([])()) == "done"

    assert [(line["log_level"], line["reason"]) for line in logs] == [(level, str(error))]


async def test_closing_waits_for_the_work_that_was_begun(driver: FakeDriver) -> None:
    engine = Engine(driver, PoolLimits())
    await engine.open()
    go_on, ended = asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        await go_on.wait()
        ended = True

    await cancelled_caller(engine.own(work()))
    asyncio.get_running_loop().call_soon(go_on.set)
    await engine.close()

    assert ended


async def test_an_engine_that_is_not_open_refuses_work(driver: FakeDriver) -> None:
    attempts = Attempts([])

    with pytest.raises(StoreError, match="not open"):
        await Engine(driver, PoolLimits()).own(attempts())
    assert attempts.count == 0


async def test_a_connection_that_is_refused_is_told_in_our_words(driver: FakeDriver, engine: Engine) -> None:
    driver.refusal = DriverError(Failure.REFUSED, "wrong password")

    with pytest.raises(ConfigError, match=r"correct the datasource or the database: .*wrong password$"):
        await engine.connect()


async def test_a_connection_that_takes_too_long_is_an_outage(driver: FakeDriver) -> None:
    async def never(address: Address) -> Any:
        await asyncio.Event().wait()

    driver.connect = never  # type: ignore[method-assign]
    engine = Engine(driver, PoolLimits(connect_timeout=0.0))

    with pytest.raises(StoreUnavailable, match="no answer in time"):
        await engine.connect()


@pytest.fixture
def two_servers(driver: FakeDriver) -> Servers:
    driver.servers = Servers(parse("jdbc:postgresql://one,two/mb"))
    return driver.servers


@pytest.mark.usefixtures("two_servers")
async def test_a_server_that_takes_no_writes_is_passed_over(driver: FakeDriver, engine: Engine) -> None:
    driver.refusals["one"] = StoreUnavailable("this server is a standby and takes no writes")

    assert (await engine.connect()).host == "two"


async def test_a_server_is_tried_again_when_it_is_its_turn(
    driver: FakeDriver, engine: Engine, two_servers: Servers
) -> None:
    driver.refusals["one"] = DriverError(Failure.LOST, "refused")
    await engine.connect()
    del driver.refusals["one"]

    assert (await engine.connect()).host == "two"
    two_servers.on_failed(("two", 5432))
    assert (await engine.connect()).host == "one"


@pytest.mark.parametrize(("identities", "what"), [({}, "no tables"), ({"one": 8}, "another database")])
async def test_a_server_with_another_database_is_passed_over_and_told_once(
    driver: FakeDriver, engine: Engine, two_servers: Servers, identities: dict[str, int], what: str
) -> None:
    driver.identities = {"two": 7} | identities
    two_servers.expect(7, [("two", 5432)])

    with capture_logs() as logs:
        for _ in range(2):
            assert (await engine.connect()).host == "two"
            two_servers.on_failed(("two", 5432))
            del driver.identities["two"]
            with pytest.raises(StoreUnavailable, match=f"one:5432/mb: this server has {what} of this broker, not the"):
                await engine.connect()
            driver.identities["two"] = 7

    told = [line["server"] for line in logs if line["event"] == "a server has another database and is passed over"]
    assert told == ["one:5432/mb", "two:5432/mb", "two:5432/mb"]
    assert {raw.host for raw in driver.aborted} == {"one", "two"}


@pytest.mark.usefixtures("two_servers")
async def test_when_no_server_serves_each_of_them_is_told_with_its_reason(driver: FakeDriver, engine: Engine) -> None:
    driver.refusals = {
        "one": DriverError(Failure.LOST, "no route"),
        "two": StoreUnavailable("this server is a standby and takes no writes"),
    }

    with pytest.raises(StoreUnavailable) as failure:
        await engine.connect()
    assert str(failure.value) == "one:5432/mb: no route; two:5432/mb: this server is a standby and takes no writes"


async def test_the_only_server_is_named_with_its_reason(driver: FakeDriver, engine: Engine) -> None:
    driver.refusal = StoreUnavailable("this server takes no writes (read_only is ON)")

    with pytest.raises(StoreUnavailable, match=r"^db.example.org:5432/mb: this server takes no writes"):
        await engine.connect()


@pytest.mark.usefixtures("two_servers")
async def test_what_all_servers_refuse_an_operator_must_correct(driver: FakeDriver, engine: Engine) -> None:
    driver.refusal = DriverError(Failure.REFUSED, "wrong password")

    with pytest.raises(ConfigError, match="wrong password"):
        await engine.connect()


async def cancelled_caller(waiting: Awaitable[Any]) -> None:
    """Begin to wait and be cancelled at once."""

    async def caller() -> None:
        await waiting

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(caller())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()


async def test_what_is_begun_beside_everything_else_is_done_and_its_failure_only_logged(engine: Engine) -> None:
    done: list[str] = []

    async def work() -> None:
        done.append("begun")
        raise DriverError(Failure.BUG, "no such table")

    with capture_logs() as logs:
        engine.start(work())
        await engine.close()

    assert (done, [line["reason"] for line in logs]) == (["begun"], ["no such table"])


async def test_nothing_is_begun_on_a_closed_engine(engine: Engine) -> None:
    async def work() -> None:
        raise AssertionError("begun")

    await engine.close()

    engine.start(work())


async def test_a_commit_that_did_not_wait_for_its_standby_is_an_outage_to_be_tried_again(
    driver: FakeDriver, engine: Engine
) -> None:
    driver.unreplicated = 2

    async def once() -> None:
        with engine.deadline("raw", 60.0):
            pass

    with pytest.raises(StoreUnavailable, match="mb: the commit did not wait for the synchronous standby"):
        await engine.retrying(once, again=Failure.LOST)
    await engine.retrying(once)


class Begun:
    """A connection of SQLAlchemy with one of the driver's."""

    driver_connection = "raw"

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[None]:
        yield

    async def get_raw_connection(self) -> Begun:
        return self


@pytest.mark.parametrize("is_single", [True, False])
async def test_after_a_commit_in_doubt_each_one_writes_until_one_was_waited_for(
    driver: FakeDriver, engine: Engine, is_single: bool
) -> None:
    async def commit() -> None:
        async with engine.committing(cast(Any, Begun()), is_single=is_single):
            pass

    await commit()
    assert driver.written == 0

    engine._doubts += 1
    driver.unreplicated = 1
    with pytest.raises(NotReplicated):
        await commit()
    assert driver.written == 1

    await commit()
    await commit()
    assert driver.written == 2
