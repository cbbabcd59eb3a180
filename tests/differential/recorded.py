"""The recorded conversations, and how they are recorded anew: `python -m tests.differential.recorded`.

`rabbitmq.json` has what RabbitMQ said; `ours.json` what this broker says where that differs, and only there: why it
does is in `differences.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.differential.live import rabbitmq, run
from tests.differential.ours import OwnWire
from tests.differential.sessions import SESSIONS

_HERE: Final = Path(__file__).parent
RABBITMQ: Final = _HERE / "rabbitmq.json"
OURS: Final = _HERE / "ours.json"

Conversations = Mapping[str, Sequence[str]]


def load(path: Path) -> Conversations:
    """Return conversations by the names of their sessions."""
    found: Conversations = json.loads(path.read_text())
    return found


def save(path: Path, conversations: Conversations) -> None:
    """Write conversations, one line of text in a line of the file."""
    path.write_text(json.dumps(conversations, indent=0, ensure_ascii=False) + "\n")


def ours() -> Conversations:
    """Return what this broker says in every session."""
    return {session.name: session.run(OwnWire()).lines for session in SESSIONS}


def theirs() -> Conversations:
    """Return what RabbitMQ says in every session."""
    with tempfile.TemporaryDirectory() as folder, rabbitmq(Path(folder)) as port:
        return {session.name: run(session, port) for session in SESSIONS}


if __name__ == "__main__":
    if "--ours" not in sys.argv:
        save(RABBITMQ, theirs())
    recorded = load(RABBITMQ)
    save(OURS, {name: lines for name, lines in ours().items() if lines != recorded.get(name)})
