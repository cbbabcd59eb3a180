"""Which texts a column can hold. MySQL refuses to compare one with a text that its character set does not have.

Databases of WSO2's guides are latin1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.sql.selectable import TableClause

_CODECS: Final = {"latin1": "cp1252", "ascii": "ascii"}
_LONGEST: Final = {"utf8": 0xFFFF, "utf8mb3": 0xFFFF, "ucs2": 0xFFFF}
"""The last character of sets that have the basic plane only."""


def character_set_of(connection: Connection, table: TableClause) -> str:
    """Return the character set of a table's first text; empty where all texts can be held."""
    if connection.dialect.name != "mysql":
        return ""
    found = connection.scalar(
        text(
            "SELECT CHARACTER_SET_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()"
            " AND TABLE_NAME = :name AND CHARACTER_SET_NAME IS NOT NULL ORDER BY ORDINAL_POSITION LIMIT 1"
        ),
        {"name": table.name},
    )
    return str(found or "")


def holder(character_set: str) -> Callable[[str], bool]:
    """Return what tells whether a text can be held in a character set of MySQL's."""
    if character_set in _LONGEST:
        last = chr(_LONGEST[character_set])
        return lambda value: not value or max(value) <= last
    codec = _CODECS.get(character_set)
    return (lambda value: _is_encodable(value, codec)) if codec else (lambda value: True)


def _is_encodable(value: str, codec: str) -> bool:
    try:
        value.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
