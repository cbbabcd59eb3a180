"""The numbers of AMQP 0-9-1 that more than one module needs.

Knows constants only: frame types, sizes and the protocol header. Methods have theirs in `methods`, properties in
`properties`, reply codes in `errors`.
"""

from __future__ import annotations

from typing import Final

# Frame types (0-9-1 §4.2.3).
FRAME_METHOD: Final = 1
FRAME_HEADER: Final = 2
FRAME_BODY: Final = 3
FRAME_HEARTBEAT: Final = 8

# The octet that ends every frame, as `data[index]` gives it and as bytes to write.
FRAME_END_OCTET: Final = 0xCE
FRAME_END: Final = b"\xce"

# What both sides must accept before tuning, and the least that tuning may agree on.
FRAME_MIN_SIZE: Final = 4096

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
HEARTBEAT_FRAME: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

# The only class with content.
BASIC_CLASS: Final = 60
