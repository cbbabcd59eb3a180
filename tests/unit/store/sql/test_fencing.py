"""What lets an incarnation last: a lock, or a write where a lock holds on one server only (ADR 87)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, StaticPool, create_engine, insert, select, update

from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Fence
from broker.store.sql import fencing, members, migrate
from broker.store.sql.events import lock_head
from broker.store.sql.schema import EVENT_HEAD, FENCE, NODE, NODE_HEARTBEAT

A = Incarnation("a", "a1")


@pytest.fixture(params=[False, True], ids=["one server", "several servers"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A database with the node a; of several servers if it has local locks."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as opened:
        migrate.upgrade(opened)
        opened.execute(insert(NODE).values(node_id="a", lane=3, state="running", incarnation="a1", batch=7))
        opened.execute(update(FENCE).values(epoch=2, term="t2", sequence=0))
        opened.info[fencing.HAS_LOCAL_LOCKS] = request.param
        yield opened
    engine.dispose()


def is_written(connection: Connection) -> bool:
    return fencing.has_local_locks(connection)


def test_an_incarnation_that_lasts_has_its_lane(connection: Connection) -> None:
    assert fencing.lane_of(connection, A, exclusive=True) == 3
    assert connection.scalar(select(NODE.c.batch)) == (8 if is_written(connection) else 7)


def test_an_incarnation_that_is_over_has_none(connection: Connection) -> None:
    assert fencing.lane_of(connection, Incarnation("a", "a0")) is None
    assert connection.scalar(select(NODE.c.batch)) == 7


def test_the_fence_is_passed_by_its_term_alone(connection: Connection) -> None:
    assert fencing.is_passed(connection, Fence(2, "t2"))
    assert not fencing.is_passed(connection, Fence(2, "other"))
    assert connection.scalar(select(FENCE.c.sequence)) == is_written(connection)


def test_the_end_of_an_incarnation_passes_no_assignment_of_another_server(connection: Connection) -> None:
    fencing.end_incarnation(connection, A, fencing.DEAD)

    assert connection.execute(select(NODE.c.incarnation, NODE.c.state)).one() == ("", "dead")
    assert connection.scalar(select(FENCE.c.sequence)) == is_written(connection)


def test_a_join_writes_what_it_would_lock(connection: Connection) -> None:
    lock_head(connection)

    assert bool(connection.scalar(select(EVENT_HEAD.c.token))) == is_written(connection)


def test_a_node_that_joins_writes_its_beats(connection: Connection) -> None:
    row = {"node_id": "a", "incarnation": "a1", "fence": 1, "beat": 5, "state": "UP", "last_heartbeat": 0}
    connection.execute(insert(NODE_HEARTBEAT).values(**row, cluster_agent_host="h", cluster_agent_port=1))

    assert members._incarnations_that_are_up(connection, locked="a") == {A}
    assert connection.scalar(select(NODE_HEARTBEAT.c.beat)) == (6 if is_written(connection) else 5)
