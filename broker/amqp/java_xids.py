"""The list of branches in dtx.recover-ok: a Java `ArrayList` of `org.wso2.andes.dtx.XidImpl`, serialized.

Written octet by octet after the Java Object Serialization Specification, chapter 6; nothing of the kind is ever read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from broker.ports.branches import Xid

_int: Final = struct.Struct(">i").pack
_handle: Final = struct.Struct(">BI").pack


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


_OBJECT: Final = b"\x73"
_ARRAY: Final = b"\x75"
_END_OF_CLASS: Final = b"\x78\x70"
"""No annotations, and no serializable class above it."""
_SERIALIZABLE, _WRITES_ITSELF = b"\x02", b"\x03"
_STRING: Final = b"\x74" + _text("[B")

_ARRAY_LIST: Final = (
    b"\x72" + _text("java.util.ArrayList") + bytes.fromhex("7881d21d99c7619d") + _WRITES_ITSELF
    + b"\x00\x01" + b"I" + _text("size") + _END_OF_CLASS
)  # fmt: skip
_OCTETS: Final = b"\x72" + _text("[B") + bytes.fromhex("acf317f8060854e0") + _SERIALIZABLE + b"\x00\x00" + _END_OF_CLASS


def _reference(number: int) -> bytes:
    """Return a reference to something that the stream had before. What can be named is numbered as it comes."""
    return _handle(0x71, 0x7E0000 + number)


# 0 is the class of the list, 1 the list, 2 the class of its members, 3 the string, 4 the first member, 5 the class of
# arrays of octets.
_XID: Final = (
    b"\x72" + _text("org.wso2.andes.dtx.XidImpl") + struct.pack(">q", -6712722300516914787) + _SERIALIZABLE
    + b"\x00\x03" + b"I" + _text("_formatID") + b"[" + _text("_branchQualifier") + _STRING
    + b"[" + _text("_globalTransactionID") + _reference(3) + _END_OF_CLASS
)  # fmt: skip

LARGEST_XID: Final = 160
"""Octets that a member takes at most, but for the first one, which takes `LARGEST_HEAD` more with all before it."""
LARGEST_HEAD: Final = 512


def serialized(xids: Sequence[Xid]) -> bytes:
    """Return a list of these branches, as `java.io.ObjectOutputStream` writes it."""
    parts = [b"\xac\xed\x00\x05", _OBJECT, _ARRAY_LIST, _int(len(xids)), b"\x77\x04", _int(len(xids))]
    for number, xid in enumerate(xids):
        of_xid, of_array = (_reference(2), _reference(5)) if number else (_XID, _OCTETS)
        parts += [_OBJECT, of_xid, _int(xid.format_id)]
        parts += [_ARRAY, of_array, _int(len(xid.branch_id)), xid.branch_id]
        parts += [_ARRAY, _reference(5), _int(len(xid.global_id)), xid.global_id]
    return b"".join([*parts, b"\x78"])
