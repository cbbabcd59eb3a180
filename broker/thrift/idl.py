"""The loaded IDL file, and the conversion between its structs and octets.

This module alone imports thriftpy2, which has no types. `convert` turns the structs into this broker's values.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import thriftpy2
from thriftpy2.protocol import binary
from thriftpy2.protocol.exc import TProtocolException
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import memory

from broker.thrift.wire import EXCEPTION, MalformedMessage

UNKNOWN_METHOD: Final[int] = TApplicationException.UNKNOWN_METHOD
INTERNAL_ERROR: Final[int] = TApplicationException.INTERNAL_ERROR
PROTOCOL_ERROR: Final[int] = TApplicationException.PROTOCOL_ERROR

# Arguments with this id or a higher one are this broker's additions; Andes does not send them, so they may be missing.
FIRST_ADDED_ID: Final = 16

_new_protocol: Any = binary.TBinaryProtocol
_new_buffer: Any = memory.TMemoryBuffer
_module: Any = thriftpy2.load(str(Path(__file__).with_name("slot.thrift")), module_name="broker_slot_thrift")
_service: Any = _module.SlotManagementService

SlotInfo: Any = _module.SlotInfo
CallContext: Any = _module.CallContext
SlotTraits: Any = _module.SlotTraits
QueueDemand: Any = _module.QueueDemand
SlotSupply: Any = _module.SlotSupply
QueueCount: Any = _module.QueueCount
Reply: Any = _module.Reply
FigurePage: Any = _module.FigurePage
TopologyEvent: Any = _module.TopologyEvent
NotCoordinator: Any = _module.NotCoordinator
Unauthorized: Any = _module.Unauthorized
Unavailable: Any = _module.Unavailable

METHODS: Final[frozenset[str]] = frozenset(_service.thrift_services)


def arguments(method: str) -> Any:
    """Return an empty struct of the method's arguments."""
    return getattr(_service, f"{method}_args")()


def result(method: str) -> Any:
    """Return an empty struct of the method's result: `success` and the exceptions that the IDL declares for it."""
    return getattr(_service, f"{method}_result")()


def missing_argument(given: Any) -> str:
    """Return the name of a required argument that is missing, or an empty text."""
    for field_id, spec in given.thrift_spec.items():
        if field_id < FIRST_ADDED_ID and getattr(given, spec[1]) is None:
            return str(spec[1])
    return ""


def encode(name: str, kind: int, sequence_id: int, content: Any) -> bytes:
    """Return the octets of one message."""
    buffer = _new_buffer()
    protocol = _new_protocol(buffer)
    protocol.write_message_begin(name, kind, sequence_id)
    protocol.write_struct(content)
    return bytes(buffer.getvalue())


def encode_error(name: str, sequence_id: int, error_type: int, text: str) -> bytes:
    """Return the octets of a TApplicationException, the error that libthrift sends for an undeclared failure
    (andes §3.2).
    """
    return encode(name, EXCEPTION, sequence_id, TApplicationException(error_type, text))


def decode(content: Any, body: bytes) -> Any:
    """Fill the struct `content` from the body of a whole message. Raises MalformedMessage."""
    protocol = _new_protocol(_new_buffer(body), strict_decode=True)
    try:
        protocol.read_struct(content)
    except (UnicodeDecodeError, TProtocolException, RecursionError, struct.error) as error:
        raise MalformedMessage(f"a struct that cannot be read: {error}") from error
    return content


def decode_error(body: bytes) -> str:
    """Return the text of a TApplicationException."""
    return str(decode(TApplicationException(), body))
