"""Compatibility profiles: what a listener tells of itself, and whose rules hold where programs expect different ones.

What a profile refuses although the broker could serve it is in `refusals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from broker.broker import PRODUCT


class PrefetchRule(Enum):
    """Which consumers `basic.qos` without `global` limits (contract B10, U2)."""

    EACH_CONSUMER = "each consumer of the channel"
    LATER_CONSUMERS = "each consumer that begins afterwards"
    CHANNEL = "all consumers of the channel together"


@dataclass(frozen=True, slots=True)
class Profile:
    """How a listener behaves."""

    name: str
    prefetch_rule: PrefetchRule
    product: str = PRODUCT
    version: str = ""
    """The version told to clients; this program's own if it is empty."""
    is_strict: bool = False
    """Do the reply codes of the specification hold where RabbitMQ has others?"""


CORDILLERA: Final = Profile("cordillera", PrefetchRule.EACH_CONSUMER)
RABBITMQ: Final = Profile("rabbitmq-3.13", PrefetchRule.LATER_CONSUMERS, "RabbitMQ", "3.13.7")
STRICT: Final = Profile("strict-spec", PrefetchRule.CHANNEL, is_strict=True)

PROFILES: Final[Mapping[str, Profile]] = {each.name: each for each in (CORDILLERA, RABBITMQ, STRICT)}
"""The profiles by the names that the configuration has for them."""
