"""Streams in `brokerctl`: read by `sub`, and what does not read them says what does."""

from __future__ import annotations

import json

import pytest

from tests.support.command_line import CommandLine
from tests.unit.cli.test_program import brokerctl as brokerctl
from tests.unit.cli.test_program import with_stream


@pytest.mark.parametrize(
    ("options", "payloads"),
    [
        ("--offset first", "012"),
        ("--offset 1", "12"),
        ("--offset 7", ""),
        ("--offset last", "2"),
        ("--offset next", ""),
        ("--offset 2h", "012"),
        ("--offset first --count 2", "01"),
    ],
)
def test_a_stream_is_read_from_a_place_and_keeps_its_messages(
    options: str, payloads: str, brokerctl: CommandLine
) -> None:
    stream = with_stream(brokerctl)
    for _ in range(2):
        ended = brokerctl(f"sub {stream} {options} --seconds 0.1")
        assert (ended.code, ended.out.split(), ended.err) == (0, list(payloads), "")
    assert brokerctl("list_queues name -s").out == "log\norders\n"


def test_what_comes_later_is_read_too(brokerctl: CommandLine) -> None:
    stream = with_stream(brokerctl)
    peer = brokerctl.node.harness.peer()

    def publish() -> None:
        peer.publish(stream, b"new")
        brokerctl.node.harness.commit()

    brokerctl.on_sleep = publish
    ended = brokerctl(f"sub {stream} --offset 1 --count 4 --json")
    assert ended.err == ""
    assert [json.loads(line)["payload"] for line in ended.out.splitlines()] == ["1", "2", "new", "new"]


@pytest.mark.parametrize("line", ["browse log", "sub log", "get log", "purge_queue log --yes"])
def test_what_reads_no_stream_says_what_does(line: str, brokerctl: CommandLine) -> None:
    with_stream(brokerctl)
    ended = brokerctl(line)
    assert (ended.code, ended.out, ended.err.count("\n")) == (65, "", 1)
    assert "--offset first reads it" in ended.err


def test_a_place_that_is_none_is_refused_before_a_queue_is_made(brokerctl: CommandLine) -> None:
    ended = brokerctl(f"sub {with_stream(brokerctl)} --offset frist")
    assert (ended.code, "--offset frist is none of first, last, next, an offset" in ended.err) == (64, True)


def test_a_consumer_without_a_place_is_told_apart_from_a_stream_that_is_missing(brokerctl: CommandLine) -> None:
    stream = with_stream(brokerctl)
    assert "keeps no place of a consumer 'readerx'" in brokerctl(f"streams forget {stream} readerx --yes").err
    assert "there is no queue 'lg' in vhost '/'" in brokerctl("streams forget lg reader --yes").err
