"""One peer gets no more than its share of the log."""

from __future__ import annotations

import pytest
from structlog import DropEvent

from broker.node.log_flood import LogFlood
from tests.support.clock import FakeClock


class Log:
    """What gets through."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.flood = LogFlood(self.clock.monotonic, lines=3, seconds=10.0, seldom={"a TLS handshake has failed": 60.0})

    def logged(self, times: int, event: str, **fields: object) -> int:
        through = 0
        for _ in range(times):
            try:
                self.flood(None, "info", {"event": event, **fields})
            except DropEvent:
                continue
            through += 1
        return through


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.mark.parametrize("field", ["connection", "peer"])
def test_lines_of_one_host_are_limited_from_whatever_port_they_come(log: Log, field: str) -> None:
    assert sum(log.logged(1, "login refused", **{field: f"10.0.0.1:{port}"}) for port in range(50_000, 50_100)) == 3
    assert log.logged(1, "login refused", **{field: "10.0.0.2:50000"}) == 1
    assert log.logged(1, "connection opened", **{field: "10.0.0.1:50000"}) == 1


def test_what_is_about_no_peer_has_a_wider_limit(log: Log) -> None:
    assert log.logged(2000, "store write failed, will retry") == 1000
    assert log.logged(100, "the store is down") == 100


def test_what_was_left_out_is_told_once_when_its_time_is_over(log: Log) -> None:
    log.logged(10, "login refused", peer="[::1]:50000")
    log.logged(2, "login refused", peer="10.0.0.2:50000")
    assert log.flood.is_holding_back
    assert log.flood.left_out() == []
    log.clock.advance(10.0)
    assert log.flood.left_out() == [{"host": "[::1]", "of": "login refused", "lines": 7}]
    assert not log.flood.is_holding_back
    assert log.logged(10, "login refused", peer="[::1]:50000") == 3


def test_what_was_left_out_can_be_told_at_the_end(log: Log) -> None:
    log.logged(4, "login refused", peer="10.0.0.1:50000")
    assert log.flood.left_out(at_once=True) == [{"host": "10.0.0.1", "of": "login refused", "lines": 1}]


def test_a_host_that_goes_on_all_the_time_gets_its_share_again_after_its_count_is_told(log: Log) -> None:
    log.logged(4, "login refused", peer="10.0.0.1:50000")
    log.clock.advance(10.0)
    assert log.logged(4, "login refused", peer="10.0.0.1:50000") == 0
    assert log.flood.left_out() == [{"host": "10.0.0.1", "of": "login refused", "lines": 5}]
    assert log.logged(4, "login refused", peer="10.0.0.1:50000") == 3


def test_a_browser_that_does_not_know_the_certificate_leaves_one_line_a_minute(log: Log) -> None:
    failed, unknown, old = "a TLS handshake has failed", "certificate unknown", "no version in common"
    assert sum(log.logged(1, failed, peer=f"10.0.0.1:{port}", reason=unknown) for port in range(50_000, 50_020)) == 1
    assert log.logged(1, failed, peer="10.0.0.1:51000", reason=old) == 1
    assert log.logged(1, failed, peer="10.0.0.2:50000", reason=unknown) == 1
    log.clock.advance(59.0)
    assert log.logged(1, failed, peer="10.0.0.1:52000", reason=unknown) == 0
    log.clock.advance(1.0)
    assert log.flood.left_out() == [{"host": "10.0.0.1", "of": failed, "lines": 20}]
    assert log.logged(1, failed, peer="10.0.0.1:53000", reason=unknown) == 1


def test_a_stranger_that_finds_a_new_reason_each_time_gets_no_more_than_its_share(log: Log) -> None:
    reasons = (f"a message of {size} octets" for size in range(1000))
    assert sum(log.logged(1, "a TLS handshake has failed", peer="10.0.0.1:50000", reason=each) for each in reasons) == 3


def test_hosts_without_number_take_a_bounded_amount_of_memory(log: Log) -> None:
    for number in range(10_000):
        log.logged(1, "login refused", peer=f"[2001:db8::{number:x}]:50000")
    assert len(log.flood._shares) <= 4096


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("10.0.0.1:50000", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("[2001:db8::1]:50000", "[2001:db8::1]"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_peer_has_its_share_with_and_without_its_port(log: Log, peer: str, host: str) -> None:
    log.logged(4, "login refused", peer=peer)
    assert log.flood.left_out(at_once=True) == [{"host": host, "of": "login refused", "lines": 1}]
