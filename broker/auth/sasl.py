"""The SASL mechanisms of connection.start-ok: PLAIN, AMQPLAIN and EXTERNAL (contract C4)."""

from __future__ import annotations

from typing import Final

from broker.codec.field_table import FieldTable
from broker.errors import CommandInvalid, SyntaxFault

EXTERNAL: Final = "EXTERNAL"
"""The client is who its certificate says."""

_MECHANISMS: Final = b"PLAIN AMQPLAIN"


def mechanisms(*, has_certificate: bool) -> bytes:
    """Return what connection.start offers: EXTERNAL only to a client whose certificate names a user."""
    return b"PLAIN AMQPLAIN EXTERNAL" if has_certificate else _MECHANISMS


def credentials(mechanism: str, response: bytes) -> tuple[str, str]:
    """Return user name and password, or raise what is wrong with the response. EXTERNAL has none of both."""
    if mechanism == "PLAIN":
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise SyntaxFault("PLAIN response is not authorisation identity, user and password")
        return _text(parts[1]), _text(parts[2])
    if mechanism == "AMQPLAIN":
        values = FieldTable(response).values
        login, password = values.get("LOGIN"), values.get("PASSWORD")
        if not isinstance(login, str) or not isinstance(password, str):
            raise SyntaxFault("AMQPLAIN response lacks LOGIN or PASSWORD")
        return login, password
    raise CommandInvalid(f"unknown authentication mechanism '{mechanism}'")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise SyntaxFault("credentials are not UTF-8") from None
