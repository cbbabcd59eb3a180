"""`advanced/qpid-config.xml`: heartbeats, frame size and channels of AMQP connections (andes §1.3, §8.1).

Only the values that `connection.tune` proposes are read; the rest of the file configures Qpid's own network layer.
"""

from __future__ import annotations

from typing import Annotated

from broker.config.values import Section, integer, number, xml


class Advanced(Section):
    """The frame size that `connection.tune` proposes."""

    # 0-9-1 §4.2.3: no peer may ask for less than 4096.
    frame_size_bytes: Annotated[int, integer(4096, 134_217_728)] = xml("framesize", 131_072)


class Heartbeat(Section):
    """The heartbeat interval that `connection.tune` proposes, in seconds (0: off), and after how many of them without
    traffic the client counts as dead.
    """

    delay: Annotated[int, integer(0, 65_535)] = xml("delay", 30)
    timeout_factor: Annotated[float, number(1, 1000)] = xml("timeoutFactor", 2.0)


class QpidConfig(Section):
    """The whole file."""

    advanced: Advanced = xml("advanced", Advanced())
    maximum_channel_count: Annotated[int, integer(1, 65_535)] = xml("maximumChannelCount", 2047)
    heartbeat: Heartbeat = xml("heartbeat", Heartbeat())
