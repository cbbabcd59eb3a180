"""The cases that a client fails against every broker, and why it is the client that fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CONNECTIONS: Final = ("connect", "clientid", "idle", "badpass", "sync", "foreign", "failover")
_QUEUES: Final = (
    "queue",
    "nosub",
    "noroute",
    "qtypes",
    "reqrep",
    "multi",
    "mixed",
    "prefetch",
    "closed",
    "browse",
    "browsesel",
    "expiry",
)
_TOPICS: Final = ("topic", "temptopic", "hier", "durable", "durable2", "unsub")
_SELECTORS: Final = ("selector", "tsel", "durablesel", "selgrammar", "badsel")
_ANSWERS: Final = ("clientack", "acktimeout", "dups", "permsg", "listener", "redeliver")
_TRANSACTIONS: Final = ("tx", "txmix", "xa")
CASES: Final = (*_CONNECTIONS, *_QUEUES, *_TOPICS, *_SELECTORS, *_ANSWERS, *_TRANSACTIONS)

FAILURES: Final[Mapping[str, Mapping[str, str]]] = {
    "andes-client": {
        "qtypes": "it writes the low eight bits of each character of a property, and reads octets as signed: é is lost",
    },
    "qpid-client": {
        "permsg": "the mode 259, acknowledgement of single messages, is WSO2's alone: here it acknowledges nothing",
        "closed": "it gives back what a closed consumer has prefetched only when its session ends",
        "xa": "its AMQP 0-9-1 has no distributed transactions: it throws UnsupportedOperationException",
    },
}
"""By the name of the client, then by case."""
