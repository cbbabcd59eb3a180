"""A message as selectors see it: names that are headers, and those that JMS gives to properties.

Nothing is decoded before a selector asks for it, and then once for all selectors. What is malformed is NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from broker.codec.field_table import FieldTable, Int64, Timestamp
from broker.codec.properties import (
    FLAG_CORRELATION_ID,
    FLAG_DELIVERY_MODE,
    FLAG_EXPIRATION,
    FLAG_HEADERS,
    FLAG_MESSAGE_ID,
    FLAG_PRIORITY,
    FLAG_REPLY_TO,
    FLAG_TIMESTAMP,
    FLAG_TYPE,
    PERSISTENT,
    split_header,
)
from broker.errors import AmqpError
from broker.message import Message
from broker.selector.syntax import Value

_USUAL_PRIORITY: Final = 4
"""The priority of a message that names none, in JMS."""
_MOST_DIGITS: Final = 19


class MessageView(dict[str, Value]):
    """The values of one message, by the names that selectors have for them. Good for one message as it is now.

    Reading a name decodes what is behind it and remembers it. It never raises: NULL, which is None, is what is not
    there, is no value of a selector (a table, an array, octets), or is malformed.
    """

    __slots__ = ("_header_payload", "_headers", "_properties", "_redelivered")

    def __init__(self, header_payload: bytes, redelivered: int = 0, headers: Mapping[str, Any] | None = None) -> None:
        """`header_payload` is that of the content header frame; `redelivered` is how often it was delivered before.
        `headers` are those in it, if they are decoded already.
        """
        super().__init__()
        self._header_payload = header_payload
        self._redelivered = redelivered
        self._properties: dict[int, bytes] | None = None
        self._headers = headers

    @classmethod
    def of(cls, message: Message) -> MessageView:
        """Return the view of a message in a queue."""
        return cls(message.header_payload, message.redelivered)

    @property
    def size(self) -> int:
        """Octets of the content header: no value is longer."""
        return len(self._header_payload)

    def __missing__(self, name: str) -> Value:
        read = _PROPERTIES.get(name)
        value = self[name] = read(self) if read is not None else self._header(name)
        return value

    def present(self, names: Collection[str]) -> Iterable[str]:
        """Return those of `names` that may have a value, by the shorter way: all of them, or those of the message."""
        if len(names) <= len(_PROPERTIES) or len(names) <= len(_PROPERTIES) + len(self.headers):
            return names
        headers = self.headers
        return [name for name in (*headers, *(_PROPERTIES.keys() - headers.keys())) if name in names]

    @property
    def headers(self) -> Mapping[str, Any]:
        """The decoded headers; none when they are malformed."""
        if self._headers is None:
            try:
                self._headers = FieldTable(self._octets(FLAG_HEADERS)[4:]).values
            except AmqpError:
                self._headers = {}
        return self._headers

    def _header(self, name: str) -> Value:
        value = self.headers.get(name)
        convert = _CONVERTERS.get(type(value))
        return None if convert is None else convert(value)

    def _octets(self, flag: int) -> bytes:
        """Return the octets of a property, empty when it is not set."""
        if self._properties is None:
            try:
                self._properties = split_header(self._header_payload)[1]
            except AmqpError:
                self._properties = {}
        return self._properties.get(flag, b"")

    def _text(self, flag: int) -> str | None:
        octets = self._octets(flag)
        return text_of(octets[1:]) if octets else None

    def _priority(self) -> int:
        octets = self._octets(FLAG_PRIORITY)
        return octets[0] if octets else _USUAL_PRIORITY

    def _delivery_mode(self) -> str | None:
        octets = self._octets(FLAG_DELIVERY_MODE)
        if not octets:
            return None
        return "PERSISTENT" if octets[0] == PERSISTENT else "NON_PERSISTENT"

    def _timestamp(self) -> int | None:
        octets = self._octets(FLAG_TIMESTAMP)
        return int.from_bytes(octets, "big") if octets else None

    def _expiration(self) -> int | None:
        """Return the number in the property, as JMS clients read it; 0 for a message that does not expire."""
        text = self._text(FLAG_EXPIRATION)
        if not text:
            return 0
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None

    def _delivery_count(self) -> Value:
        return self._redelivered + 1 if (told := self._header("JMSXDeliveryCount")) is None else told


def text_of(octets: bytes) -> str:
    """Return a string as a client meant it: UTF-8, otherwise one octet for each character, as WSO2's clients write."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


_CONVERTERS: Final[Mapping[type, Callable[[Any], Value]]] = {
    bool: bool,
    int: int,
    Int64: int,
    float: float,
    str: str,
    bytes: text_of,  # a long string that is no UTF-8
    Timestamp: lambda value: int(value.seconds),
    Decimal: float,
}
_PROPERTIES: Final[Mapping[str, Callable[[MessageView], Value]]] = {
    "AMQMessageID": lambda view: view._text(FLAG_MESSAGE_ID),
    "JMSCorrelationID": lambda view: view._text(FLAG_CORRELATION_ID),
    "JMSDeliveryMode": MessageView._delivery_mode,
    "JMSDestination": lambda view: None,
    "JMSExpiration": MessageView._expiration,
    "JMSMessageID": lambda view: view._text(FLAG_MESSAGE_ID),
    "JMSPriority": MessageView._priority,
    "JMSRedelivered": lambda view: view._redelivered > 0,
    "JMSReplyTo": lambda view: view._text(FLAG_REPLY_TO),
    "JMSTimestamp": MessageView._timestamp,
    "JMSType": lambda view: view._text(FLAG_TYPE),
    "JMSXDeliveryCount": MessageView._delivery_count,
}
