"""A message on its way through exchanges: what they may look at, and who wants a copy of it."""

from __future__ import annotations

from typing import Any, Final, Protocol

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.codec.properties import BasicProperties, decode_properties, encode_header
from broker.message import tail
from broker.selector.message_view import MessageView


class RoutedMessage:
    """What exchanges see of a message beside its keys: `header`, `body` and `chunks` are those of `Message`."""

    __slots__ = ("_properties", "_view", "body", "chunks", "guards", "header", "is_persistent", "keepers", "publisher")

    def __init__(
        self,
        header: bytes,
        body: bytes,
        chunks: list[bytes] | None,
        is_persistent: bool = False,
        properties: BasicProperties | None = None,
        publisher: object = None,
    ) -> None:
        """`properties` are those in `header`, if they are known already. `publisher` is the connection that has
        published it just now; None when it comes another way.
        """
        self.header = header
        self.body = body
        self.chunks = chunks
        self.is_persistent = is_persistent
        self.publisher = publisher
        self.keepers: tuple[Keeper, ...] = ()
        """The exchanges on its way that want a copy, if it is published: one in a transaction may never be."""
        self.guards: Any = None
        """The keys that it needs on its way (`topology/guards.py`); None if no exchange asks for one."""
        self._properties = properties
        self._view: MessageView | None = None

    @property
    def properties(self) -> BasicProperties:
        """All properties, decoded when they are first asked for."""
        properties = self._properties
        if properties is None:
            properties = self._properties = decode_properties(self.header[4:-1])
        return properties

    @property
    def view(self) -> MessageView:
        """The message as selectors see it."""
        view = self._view
        if view is None:
            known = self._properties
            headers = None if known is None else (known.headers or EMPTY_TABLE).values
            view = self._view = MessageView(self.header[4:-1], headers=headers)
        return view

    def forget_properties(self) -> None:
        """Free what was decoded: the message waits."""
        self._properties = self._view = None

    @property
    def headers(self) -> FieldTable:
        """The headers, the empty table when it has none."""
        properties = self._properties
        return (self.properties if properties is None else properties).headers or EMPTY_TABLE


class Keeper(Protocol):
    """An exchange that keeps copies of what it has routed."""

    def keep(self, routing: bytes, message: RoutedMessage) -> None:
        """Keep a message that was published; `routing` is that of `Message`."""


ANY_MESSAGE: Final = RoutedMessage(tail(encode_header(0, BasicProperties())), b"", None)
"""Stands for the message where none decides."""
