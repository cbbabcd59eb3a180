"""How file descriptors are shared out."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from broker.config.configuration import Configuration
from broker.node.descriptors import raise_limit, rooms, warn_of_few


@pytest.fixture(autouse=True)
def _limits_as_before() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def set_soft_limit(descriptors: int) -> int:
    """Return the hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    return hard


def test_a_node_may_have_as_many_descriptors_as_the_system_allows() -> None:
    hard = set_soft_limit(700)
    raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, 1 << 20), hard)


@pytest.mark.parametrize(("limit", "clients", "strangers"), [(1024, 960, 480), (256, 192, 96), (100_000, 99_936, 512)])
def test_the_store_keeps_descriptors_that_clients_cannot_take(limit: int, clients: int, strangers: int) -> None:
    config = Configuration(origins={})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit > hard:
        pytest.skip(f"this system allows {hard} descriptors")
    set_soft_limit(limit)
    room = rooms(config).clients
    assert (room.descriptors, room.strangers) == (clients, strangers)


def test_too_few_descriptors_for_the_clients_that_are_allowed_are_said() -> None:
    config = Configuration(origins={})
    set_soft_limit(1024)
    with capture_logs() as logs:
        warn_of_few(config)
    assert [(log["log_level"], log["clients"], log["max_connections"]) for log in logs] == [("warning", 960, 10_000)]
