"""Contract C4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker.auth.sasl import credentials, mechanisms
from broker.codec.field_table import FieldTable
from broker.errors import CommandInvalid, SyntaxFault


def test_plain_is_offered_first() -> None:
    assert mechanisms(has_certificate=False).split() == [b"PLAIN", b"AMQPLAIN"]


def test_external_is_offered_to_those_who_have_shown_a_certificate() -> None:
    assert mechanisms(has_certificate=True).split() == [b"PLAIN", b"AMQPLAIN", b"EXTERNAL"]


@pytest.mark.parametrize(
    ("response", "name", "password"),
    [
        (b"\0user\0secret", "user", "secret"),
        (b"identity\0user\0secret", "user", "secret"),
        (b"\0user\0", "user", ""),
        ("\0ümläut\0pässwörd".encode(), "ümläut", "pässwörd"),
    ],
)
def test_plain_is_identity_user_and_password(response: bytes, name: str, password: str) -> None:
    assert credentials("PLAIN", response) == (name, password)


@pytest.mark.parametrize("response", [b"", b"user", b"user\0secret", b"\0user\0sec\0ret"])
def test_plain_of_another_shape_is_refused(response: bytes) -> None:
    with pytest.raises(SyntaxFault, match="PLAIN response is not"):
        credentials("PLAIN", response)


@pytest.mark.parametrize("response", [b"\0\xff\0secret", b"\0user\0\xff"])
def test_credentials_are_utf_8(response: bytes) -> None:
    with pytest.raises(SyntaxFault, match="credentials are not UTF-8"):
        credentials("PLAIN", response)


def test_amqplain_is_a_table() -> None:
    table = FieldTable.of({"LOGIN": "user", "PASSWORD": "secret", "more": 1})
    assert credentials("AMQPLAIN", table.raw) == ("user", "secret")


@pytest.mark.parametrize(
    "table",
    [{}, {"LOGIN": "user"}, {"PASSWORD": "secret"}, {"LOGIN": 1, "PASSWORD": "x"}, {"LOGIN": "u", "PASSWORD": b"\xff"}],
)
def test_amqplain_needs_both_as_strings(table: Mapping[str, Any]) -> None:
    with pytest.raises(SyntaxFault, match="AMQPLAIN response lacks LOGIN or PASSWORD"):
        credentials("AMQPLAIN", FieldTable.of(table).raw)


@pytest.mark.parametrize("mechanism", ["", "plain", "EXTERNAL", "ANONYMOUS", "SCRAM-SHA-256"])
def test_other_mechanisms_are_unknown(mechanism: str) -> None:
    with pytest.raises(CommandInvalid, match=f"unknown authentication mechanism '{mechanism}'"):
        credentials(mechanism, b"\0guest\0guest")
