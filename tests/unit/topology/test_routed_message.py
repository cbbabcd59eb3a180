from __future__ import annotations

import pytest

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.errors import SyntaxFault
from broker.topology.routed_message import ANY_MESSAGE, RoutedMessage
from tests.support.bindings import message


def test_properties_are_decoded_when_they_are_first_asked_for_and_again_when_they_were_forgotten() -> None:
    sent = message({"a": 1}, message_id="7")
    first = sent.properties
    assert (first.message_id, sent.headers) == ("7", FieldTable.of({"a": 1}))
    assert sent.properties is first
    sent.forget_properties()
    assert sent.properties == first
    assert sent.properties is not first


def test_properties_that_are_known_are_not_decoded() -> None:
    known = message({"a": 1}).properties
    assert RoutedMessage(b"unreadable", b"", None, properties=known).headers.values == {"a": 1}
    with pytest.raises(SyntaxFault):
        assert RoutedMessage(b"unreadable", b"", None).headers


def test_a_message_without_headers_has_none() -> None:
    assert message().headers is ANY_MESSAGE.headers is EMPTY_TABLE


def test_selectors_see_headers_that_are_known_and_one_view_is_enough() -> None:
    known = message({"a": 1}).properties
    sent = RoutedMessage(b"unreadable", b"", None, properties=known)
    assert (sent.view["a"], sent.view is sent.view) == (1, True)
    sent = message({"a": 2}, type="t")
    assert (sent.view["a"], sent.view["JMSType"], sent.view["b"]) == (2, "t", None)
    assert message().view["a"] is None
    first = sent.view
    sent.forget_properties()
    assert sent.view is not first
