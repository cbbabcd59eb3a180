"""Names that several packages give a meaning."""

from __future__ import annotations

from typing import Final

DEAD_LETTER_CHANNEL: Final = "deadletterchannel"
"""The queue of a virtual host for messages that no consumer of clients of JMS could handle; they may spell it in
capitals."""
SCHEDULE: Final = "amq.delayed"
"""The queue of a virtual host in which messages wait for their time; clients see nothing of it (ADR 79)."""
