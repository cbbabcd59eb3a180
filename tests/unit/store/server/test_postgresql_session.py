"""What a session of PostgreSQL is told and asked beside the rows of a batch: limits, locks, branches and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest
import structlog.testing

from broker.config.connection_options import ConnectionOptions
from broker.config.store_url import StoreUrl
from broker.errors import ConfigError, StoreUnavailable
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.store import Batch
from broker.store.server.batch import rows_of
from broker.store.server.dialect import Marker
from broker.store.server.engine import NotReplicated, SessionTimeouts
from broker.store.server.postgresql import PREPARE, PostgreSql, _refuse_read_only

MARKER = Marker(3, "abc123", 8, "node-a")
KEY = BranchKey("/", Xid(7, b"g", b"b"))
SETTINGS = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "synchronous_standby_names": "s1"}
Answer = Callable[[str, tuple[Any, ...]], Any]


def done(statement: str, _: tuple[Any, ...]) -> Any:
    """Answer as a server does for which everything is as it should be."""
    return {"COMMIT": "COMMIT", "DELETE": "DELETE 1"}.get(statement.split()[0], "INSERT 0 1")


@dataclass(eq=False)
class Raw:
    """A connection of the driver, whose server answers what the test says."""

    answer: Answer = done
    heard: list[str] = field(default_factory=list)
    given: list[tuple[Any, ...]] = field(default_factory=list)

    async def execute(self, statement: str, *arguments: Any) -> Any:
        self.heard.append(statement)
        self.given.append(arguments)
        return self.answer(statement, arguments)

    fetchval = fetchrow = fetch = execute


def dialect(timeouts: SessionTimeouts | None = None, schema: str = "") -> PostgreSql:
    return PostgreSql(StoreUrl(engine="postgresql"), ConnectionOptions(schema=schema), timeouts)


@pytest.mark.parametrize(
    ("timeouts", "milliseconds"),
    [(None, (10_000, 5_000, 600_000)), (SessionTimeouts(idle=1.5, lock=2.5, statement=3.5), (1_500, 2_500, 3_500))],
)
def test_a_session_has_limits_in_milliseconds(
    timeouts: SessionTimeouts | None, milliseconds: tuple[int, int, int]
) -> None:
    idle, lock, statement = milliseconds
    told = dialect(timeouts)._set_up

    assert f"set_config('idle_in_transaction_session_timeout','{idle}',false)" in told
    assert f"set_config('lock_timeout','{lock}',false)" in told
    assert f"set_config('statement_timeout','{statement}',false)" in told
    assert "set_config('jit','off',false)" in told
    assert "set_config('default_transaction_isolation','read committed',false)" in told
    assert "search_path" not in told


def test_a_session_looks_into_the_schema_of_the_url() -> None:
    assert "set_config('search_path','it''s',false)" in dialect(schema="it's")._set_up


async def test_a_lock_that_may_wait_has_so_many_milliseconds_and_the_session_its_own_limit_after_it() -> None:
    raw = Raw()

    assert await dialect().lock(raw, "alone", wait=0.25, silence=9.0) is True

    assert raw.heard == ["SET lock_timeout = 250", "SELECT pg_advisory_lock($1)", "RESET lock_timeout"]


async def test_a_lock_that_another_session_keeps_is_not_had() -> None:
    def refuse(statement: str, _: tuple[Any, ...]) -> None:
        if "pg_advisory_lock" in statement:
            raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")

    assert await dialect().lock(Raw(refuse), "alone", wait=1.0, silence=9.0) is False


@pytest.mark.parametrize("is_free", [True, False])
async def test_a_lock_that_may_not_wait_is_tried_once(is_free: bool) -> None:
    raw = Raw(lambda *_: is_free)

    assert await dialect().lock(raw, "alone", wait=0.0, silence=9.0) is is_free

    assert raw.heard == ["SELECT pg_try_advisory_lock($1)"]


async def test_a_lock_is_known_by_64_bits_of_its_schema_and_name() -> None:
    raw = Raw()
    for schema, name in (("", "alone"), ("", "alone"), ("", "shared"), ("other", "alone")):
        await dialect(schema=schema).lock(raw, name, wait=0.0, silence=9.0)

    keys = [key for (key,) in raw.given]
    assert keys == [-4584736437414187576, keys[0], *keys[2:]]
    assert len(set(keys)) == 3
    assert all(-(1 << 63) <= key < 1 << 63 for key in keys)


async def test_a_branch_that_is_prepared_is_added_with_its_content() -> None:
    raw = Raw()

    await dialect().begin(raw, MARKER, rows_of(Batch(prepared=[PreparedBranch(KEY, b"what it does")]), 0))

    added, content = raw.heard[2:]
    assert added.startswith('INSERT INTO "MB_DTX_BRANCH" ')
    assert content.startswith('INSERT INTO "MB_DTX_BRANCH_CONTENT" ')
    assert raw.given[2:] == [(KEY.digest, "/", 7, b"g", b"b"), (KEY.digest, 0, b"what it does")]


async def test_a_branch_that_is_resolved_is_removed_with_its_content() -> None:
    raw = Raw()

    await dialect().begin(raw, MARKER, rows_of(Batch(resolved=[KEY]), 0))

    removed, content = raw.heard[2:]
    assert removed.startswith('DELETE FROM "MB_DTX_BRANCH" ')
    assert content.startswith('DELETE FROM "MB_DTX_BRANCH_CONTENT" ')
    assert raw.given[2:] == [(KEY.digest,), (KEY.digest,)]


async def test_the_statement_of_every_batch_is_planned_once_for_a_connection() -> None:
    speaker, first, second = dialect(), Raw(), Raw()
    for raw in (first, first, second):
        await speaker.begin(raw, MARKER, rows_of(Batch(), 0))

    assert [raw.heard.count(PREPARE) for raw in (first, second)] == [1, 1]


@dataclass
class Notice:
    sqlstate: str = "01000"
    server_source_filename: str = "syncrep.c"


async def test_a_commit_for_which_the_server_warned_is_in_doubt() -> None:
    speaker, raw = dialect(), Raw()
    await speaker.commit(raw)

    def warn(statement: str, _: tuple[Any, ...]) -> str:
        speaker._on_notice(raw, Notice())
        return statement

    raw.answer = warn
    with pytest.raises(NotReplicated, match="the commit did not wait for the synchronous standby"):
        await speaker.commit(raw)


async def test_a_commit_that_was_a_rollback_is_none() -> None:
    with pytest.raises(StoreUnavailable, match="the commit was answered with ROLLBACK"):
        await dialect().commit(Raw(lambda *_: "ROLLBACK"))


async def test_the_last_batch_is_read_under_a_lock_whose_commit_waits_as_that_of_a_batch() -> None:
    speaker = dialect()
    answers = {"BEGIN": "BEGIN", "SELECT": 3, "COMMIT": "COMMIT"}
    raw = Raw(lambda statement, _: answers[statement.split()[0]])

    assert await speaker.last_batch(raw, MARKER) == 3
    assert [statement.split()[0] for statement in raw.heard] == ["BEGIN", "SELECT", "SELECT", "COMMIT"]
    assert raw.heard[1].endswith('WHERE "LANE"=$1 AND "INCARNATION"=$2 FOR UPDATE')

    answers["COMMIT"] = "ROLLBACK"
    with pytest.raises(StoreUnavailable):
        await speaker.last_batch(raw, MARKER)


class Pool:
    """A pooler whose sessions have these processes. It lends the one that was used last, or each in turn, for a
    transaction, and may reset them behind it; or it keeps a session for each connection.
    """

    def __init__(self, *processes: str, in_turn: bool = False, resets: bool = False, keeps: bool = False) -> None:
        self.processes = list(processes)
        self.in_turn, self.resets, self.keeps = in_turn, resets, keeps
        self.told: dict[str, str] = {}

    def connection(self, number: int) -> Raw:
        def answer(statement: str, _: tuple[Any, ...]) -> None:
            process = self.processes[number if self.keeps else 0]
            if self.in_turn:
                self.processes.append(self.processes.pop(0))
            if statement.startswith("SET"):
                self.told[process] = "" if self.resets else statement.split("'")[1]
            elif statement.startswith("DO"):
                raise asyncpg.RaiseError(f"{process} {self.told.get(process, '')}")

        return Raw(answer)


@pytest.mark.parametrize(
    "pool", [Pool("1"), Pool("1", "2", "3", in_turn=True), Pool("1", resets=True)], ids=["one", "in turn", "reset"]
)
async def test_a_pooler_is_known_by_what_one_session_sees_of_another(pool: Pool) -> None:
    with pytest.raises(ConfigError, match="lends sessions for one transaction or one statement"):
        await dialect().refuse_shared_sessions(pool.connection(0), pool.connection(1))


async def test_sessions_that_are_kept_are_left_as_they_were() -> None:
    pool = Pool("1", "2", keeps=True)
    raw, other = pool.connection(0), pool.connection(1)

    await dialect().refuse_shared_sessions(raw, other)

    assert raw.heard[-1] == "RESET cordillera.session"
    assert len(other.heard) == 2


@dataclass(eq=False)
class Server(Raw):
    """A server that tells these parameters by itself."""

    settings: Mapping[str, str] = field(default_factory=dict)

    def get_settings(self) -> Any:
        return SimpleNamespace(**self.settings)


@pytest.mark.parametrize(
    ("settings", "recovers", "reason"),
    [
        ({"in_hot_standby": "on"}, False, "is a standby and takes no writes"),
        ({}, True, "is a standby and takes no writes"),  # before version 14
        ({"default_transaction_read_only": "on"}, False, "default_transaction_read_only is on"),
        (
            {"in_hot_standby": "off", "default_transaction_read_only": "on"},
            False,
            "default_transaction_read_only is on",
        ),
    ],
)
async def test_a_server_that_takes_no_writes_is_passed_over(
    settings: dict[str, str], recovers: bool, reason: str
) -> None:
    with pytest.raises(StoreUnavailable, match=reason):
        await _refuse_read_only(Server(lambda *_: recovers, settings=settings))


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"in_hot_standby": "off", "default_transaction_read_only": "off"}, []),
        ({}, ["SELECT pg_is_in_recovery()"]),
    ],
)
async def test_a_server_that_takes_writes_is_asked_only_if_it_has_not_told(
    settings: dict[str, str], asked: list[str]
) -> None:
    server = Server(lambda *_: False, settings=settings)

    await _refuse_read_only(server)

    assert server.heard == asked


class Written:
    """A connection of SQLAlchemy."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def exec_driver_sql(self, statement: str) -> None:
        self.heard.append(statement)


async def test_what_is_written_anyway_is_in_the_log_and_in_no_table_and_not_where_nothing_may_be_written() -> None:
    connection = Written()

    await dialect().write_anyway(cast(Any, connection))

    (statement,) = connection.heard
    assert "pg_logical_emit_message(true," in statement
    assert "CASE current_setting('transaction_read_only') WHEN 'off'" in statement


async def test_sessions_that_hang_are_those_of_brokers_for_longer_than_a_session_may_be_idle() -> None:
    raw = Raw(lambda *_: [(1,), (2,)])

    assert await dialect(SessionTimeouts(idle=1.5)).end_hung_sessions(raw) == 2

    assert raw.given == [("cordillera", 1.5)]


async def test_room_is_made_in_the_tables_of_what_comes_and_goes() -> None:
    raw = Raw()

    await dialect().free_room(raw)

    (statement,) = raw.heard
    assert statement.startswith('VACUUM "MB_METADATA", "MB_CONTENT", ')


def shown(settings: Mapping[str, str], standbys: int, synchronous: int, known: int, *absent: str) -> Answer:
    """Answer with these settings and standbys, of whose states so many are known."""

    def answer(statement: str, _: tuple[Any, ...]) -> Any:
        if "pg_stat_replication" in statement:
            return standbys, synchronous, known
        return [(name,) for name in absent] if "pg_replication_slots" in statement else list(settings.items())

    return answer


async def test_settings_are_told_when_they_have_changed() -> None:
    speaker, raw = dialect(), Raw(shown(SETTINGS, 1, 1, 1))
    with structlog.testing.capture_logs() as logs:
        assert await speaker.check_safety(raw) == []
        assert await speaker.check_safety(raw) == []
        raw.answer = shown(SETTINGS, 1, 1, 1, "standby2")
        assert await speaker.check_safety(raw) == []

    assert [(log["event"], log["standbys"], log["absent"]) for log in logs] == [
        ("what a commit means", 1, []),
        ("what a commit means", 1, ["standby2"]),
    ]
    assert logs[0]["synchronous_standby_names"] == "s1"


async def test_standbys_whose_state_this_user_may_not_know_are_taken_to_be_synchronous() -> None:
    assert await dialect().check_safety(Raw(shown(SETTINGS, 1, 0, 0))) == []
    (line,) = await dialect().check_safety(Raw(shown(SETTINGS, 1, 0, 1)))
    assert line.startswith("synchronous_standby_names is 's1', and no such standby is connected:")


async def test_the_slot_of_a_standby_that_is_absent_is_named() -> None:
    (line,) = await dialect().check_safety(Raw(shown(SETTINGS | {"synchronous_standby_names": ""}, 0, 0, 0, "s2")))
    assert line.startswith("the standby of the replication slot 's2' is not connected")
