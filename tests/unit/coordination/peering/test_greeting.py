"""What peers tell of themselves, and why one does not take another for a member."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.coordination.peering.greeting import ClusterTerms, Greeting, decode, dump, encode, load, objection
from broker.ports.cluster_rows import Incarnation

HERE = Greeting(
    Incarnation("a", "a-1"),
    ("10.0.0.1", 4000),
    ("10.0.0.1", 7611),
    1,
    True,
    ClusterTerms("d", 3, "mb"),
    (("10.0.0.2", 4000),),
)
THERE = replace(HERE, incarnation=Incarnation("b", "b-1"), address=("10.0.0.2", 4000), thrift=("10.0.0.2", 7611))


def test_a_greeting_arrives_as_it_was_sent() -> None:
    assert decode(load(dump(encode(HERE)))) == HERE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("node", ""),
        ("node", "x" * 256),
        ("incarnation", 7),
        ("domain", "a\nb"),
        ("address", ["10.0.0.1"]),
        ("address", ["10.0.0.1", 0]),
        ("thrift", ["", 7611]),
        ("rank", -1),
        ("rank", True),
        ("mayLead", 1),
        ("known", {}),
        ("known", [["h", 1]] * 257),
    ],
)
def test_a_greeting_that_is_none_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(encode(HERE) | {name: value})


@pytest.mark.parametrize("octets", [b"", b"[", b"[]", b"\xff", b"[" * 60_000])
def test_octets_that_are_no_message_are_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match="a message is not"):
        load(octets)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (THERE, ""),
        (HERE, ""),
        (replace(THERE, terms=ClusterTerms("e", 3)), "domain: 'e' on node 'b', 'd' on node 'a'"),
        (
            replace(THERE, terms=ClusterTerms("d", 1)),
            "minimumClusterSize: none (partitions are not detected) on node 'b', 3 on node 'a'",
        ),
        (
            replace(THERE, incarnation=Incarnation("a", "a-2")),
            "node id 'a' is that of 10.0.0.1:4000, incarnation a-1, and of 10.0.0.2:4000, incarnation a-2",
        ),
        (
            replace(THERE, thrift=HERE.thrift),
            "thriftServerHost and port: nodes 'b' and 'a' both tell of 10.0.0.1:7611; each must name an address of its"
            " own machine",
        ),
        (
            replace(THERE, thrift=("localhost", 7611)),
            "thriftServerHost 'localhost' of node 'b' is reached on its own machine only; node 'a' is at 10.0.0.1:4000",
        ),
    ],
)
def test_what_keeps_two_nodes_apart_names_both_values(other: Greeting, reason: str) -> None:
    assert objection(HERE, other) == reason


def test_another_database_is_no_objection_by_its_name() -> None:
    assert objection(HERE, replace(THERE, terms=ClusterTerms("d", 3, "another"))) == ""
