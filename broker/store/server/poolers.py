"""Whether a pooler before PostgreSQL lends its sessions for a transaction: what one is told then reaches others."""

from __future__ import annotations

import uuid
from typing import Any, Final

import asyncpg

# Without a prepared statement, which such a pooler may not know; so an error has to carry the answer.
_TELL_SESSION: Final = (
    "DO $$ BEGIN RAISE EXCEPTION '% %', pg_backend_pid(), coalesce(current_setting('cordillera.session', true), '');"
    " END $$"
)


async def shares_session(raw: Any, other: Any) -> bool:
    """Return whether two connections have no sessions of their own. What `raw` was told for that it forgets."""
    token = uuid.uuid4().hex
    await raw.execute(f"SET cordillera.session = '{token}'")
    process, told = await _session_of(other)
    seen: set[str] = set()
    while told != token and process not in seen:  # a pooler may lend its sessions in turn
        seen.add(process)
        process, told = await _session_of(other)
    # One that is lent to somebody else, or reset behind each transaction, does not keep what it was told.
    is_shared = told == token or (await _session_of(raw))[1] != token
    await raw.execute("RESET cordillera.session")
    return is_shared


async def _session_of(raw: Any) -> tuple[str, str]:
    """Return which process of the server has answered, and what its session was told."""
    try:
        await raw.execute(_TELL_SESSION)
    except asyncpg.RaiseError as error:
        process, _, told = str(error).partition(" ")
        return process, told
    raise AssertionError("RAISE EXCEPTION has raised nothing")
