"""Certificates that are replaced while the node runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme

from broker.config.ssl_connection import KeyStore, SslConnection, TrustStore
from broker.errors import ConfigError
from broker.server import certificates
from broker.server.certificates import LOOK_INTERVAL, Certificates
from tests.support.stage import drive

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


class Stage:
    """Certificates in a folder, a clock, and what was read beside the loop."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.own, self.trusted = folder / "own.pem", folder / "trusted.pem"
        self.now = datetime(2026, 6, 1, tzinfo=UTC)
        self.reads = 0
        self._authority = authority
        self._written = 0
        self.issue()
        authority.cert_pem.write_to_path(str(self.trusted))
        self.certificates = Certificates(self.connection(), lambda: self.now, self.aside)

    def connection(self) -> SslConnection:
        return SslConnection.model_validate(
            {
                "@enabled": "true",
                "keyStore": KeyStore.model_validate({"location": str(self.own)}),
                "trustStore": TrustStore.model_validate({"location": str(self.trusted)}),
            }
        )

    def issue(self, end: datetime | None = None) -> None:
        issued = self._authority.issue_cert(
            "localhost", not_before=datetime(2010, 1, 1, tzinfo=UTC), not_after=end or self.now + 400 * DAY
        )
        self.write(issued.private_key_and_cert_chain_pem.bytes())

    def write(self, content: bytes) -> None:
        self.own.write_bytes(content)
        self._written += 1
        os.utime(self.own, (self._written, self._written))

    async def aside(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.reads += 1
        return call(*arguments)

    def look(self) -> bool:
        return drive(self.certificates.look())


@pytest.fixture
def stage(tmp_path: Path, authority: trustme.CA) -> Stage:
    return Stage(tmp_path, authority)


def test_files_that_are_as_they_were_are_not_read(stage: Stage) -> None:
    before = stage.certificates.context
    assert [stage.look() for _ in range(3)] == [False] * 3
    assert (stage.reads, stage.certificates.context) == (0, before)


def test_a_new_certificate_is_taken_once(stage: Stage, logged: list[MutableMapping[str, Any]]) -> None:
    before = stage.certificates.context
    stage.issue()
    assert [stage.look(), stage.look()] == [True, False]
    assert stage.reads == 1
    assert stage.certificates.context is not before
    assert [(line["log_level"], line["event"]) for line in logged] == [("info", "the TLS certificates were read again")]


def test_a_new_trust_store_is_taken_too(stage: Stage) -> None:
    trustme.CA().cert_pem.write_to_path(str(stage.trusted))
    os.utime(stage.trusted, (99, 99))
    assert stage.look()


@pytest.mark.parametrize("content", [b"broken", None])
def test_a_file_that_cannot_be_used_leaves_what_was_there_and_is_one_error(
    stage: Stage, logged: list[MutableMapping[str, Any]], content: bytes | None
) -> None:
    before = stage.certificates.context
    if content is None:
        stage.own.unlink()
    else:
        stage.write(content)
    assert [stage.look() for _ in range(3)] == [False] * 3
    assert stage.certificates.context is before
    (line,) = logged
    assert line["log_level"] == "error"
    assert line["reason"].startswith(f"transports/amqp/sslConnection/keyStore: cannot use {stage.own}: ")


def test_another_broken_file_is_another_error_and_a_good_one_ends_that(
    stage: Stage, logged: list[MutableMapping[str, Any]]
) -> None:
    for content in (b"broken", b"broken, too"):
        stage.write(content)
        assert not stage.look()
    stage.issue()
    assert stage.look()
    assert [line["log_level"] for line in logged] == ["error", "error", "info"]


def test_a_file_that_could_not_be_read_for_a_while_is_tried_again(stage: Stage) -> None:
    stage.issue()

    async def no_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    stage.certificates._aside = no_thread
    assert not stage.look()
    stage.certificates._aside = stage.aside
    assert stage.look()


def test_another_configuration_is_taken_and_a_wrong_one_changes_nothing(stage: Stage) -> None:
    before = stage.certificates.context
    stage.certificates.use(stage.connection())
    assert stage.certificates.context is not before
    now = stage.certificates.context
    wrong = stage.connection().model_copy(update={"key_store": KeyStore.model_validate({"location": "/none"})})
    with pytest.raises(ConfigError):
        stage.certificates.use(wrong)
    assert stage.certificates.context is now
    assert not stage.look()


def test_a_configuration_that_comes_while_files_are_read_wins(stage: Stage) -> None:
    async def overtaken(call: Callable[..., Any], *arguments: Any) -> Any:
        read = call(*arguments)
        stage.certificates.use(stage.connection())
        stage.newest = stage.certificates.context  # type: ignore[attr-defined]
        return read

    stage.issue()
    stage.certificates._aside = overtaken
    assert not stage.look()
    assert stage.certificates.context is stage.newest  # type: ignore[attr-defined]


def test_a_wrong_store_at_the_start_is_an_error(stage: Stage) -> None:
    stage.write(b"broken")
    with pytest.raises(ConfigError, match="keyStore: cannot use"):
        Certificates(stage.connection())


def test_what_expires_is_reported_at_the_start_and_daily(stage: Stage, logged: list[MutableMapping[str, Any]]) -> None:
    stage.issue(stage.now + 30 * DAY + DAY / 2)
    assert stage.look()
    del logged[:]
    events: list[list[str]] = []
    for _ in range(4):
        stage.look()
        stage.now += DAY / 2
        events.append([line["event"] for line in logged])
        del logged[:]
    assert events == [[], [], ["a TLS certificate expires soon"], []]
    stage.now += 31 * DAY
    stage.look()
    assert [line["log_level"] for line in logged] == ["error"]


def test_what_is_trusted_is_reported_too(stage: Stage, logged: list[MutableMapping[str, Any]]) -> None:
    stage.now = datetime(4000, 1, 1, tzinfo=UTC)
    stage.look()
    assert {line["element"].rpartition("/")[2] for line in logged} == {"keyStore", "trustStore"}


def test_what_watches_tells_of_changes_and_sleeps_between_two_looks(stage: Stage) -> None:
    slept: list[float] = []
    changes: list[int] = []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            stage.issue()
        if len(slept) == 4:
            raise Enough

    with pytest.raises(Enough):
        drive(stage.certificates.watch(lambda: changes.append(len(slept)), sleep))
    assert (slept, changes) == ([LOOK_INTERVAL] * 4, [2])


def test_a_machine_that_is_short_of_something_does_not_end_the_watch(
    stage: Stage, logged: list[MutableMapping[str, Any]]
) -> None:
    async def short(*_: Any) -> None:
        raise MemoryError

    class Enough(Exception):
        pass

    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise Enough

    stage.issue()
    stage.certificates._aside = short
    with pytest.raises(Enough):
        drive(stage.certificates.watch(lambda: None, sleep))
    assert [line["log_level"] for line in logged] == ["error"]


def test_without_a_clock_of_its_own_it_has_that_of_the_machine(
    stage: Stage, logged: list[MutableMapping[str, Any]]
) -> None:
    stage.issue(datetime(2020, 1, 1, tzinfo=UTC))
    Certificates(stage.connection())
    assert [line["event"] for line in logged] == ["a TLS certificate has expired, peers will refuse it"]


def test_files_are_looked_at_every_ten_seconds() -> None:
    assert (certificates.LOOK_INTERVAL, certificates.REPORT_INTERVAL) == (10.0, DAY)


def test_it_is_known_when_the_certificate_that_is_shown_ends(stage: Stage) -> None:
    stage.issue(datetime(2026, 7, 1, tzinfo=UTC))
    drive(stage.certificates.look())
    assert stage.certificates.end == datetime(2026, 7, 1, tzinfo=UTC).timestamp()
