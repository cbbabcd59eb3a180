"""Values of JSON, in and out."""

from __future__ import annotations

import json

import pytest

from broker.management.http.call import BadRequest, TooLarge, as_json, parsed
from tests.support.http_api import new_call
from tests.support.stage import drive


@pytest.mark.parametrize("octets", [b"", b"nope", b"{", b"[NaN]", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_a_bad_request(octets: bytes) -> None:
    with pytest.raises(BadRequest, match="not_json"):
        parsed(octets)


def test_octets_of_a_text_that_are_no_utf_8_become_question_marks() -> None:
    assert json.loads(as_json({"a\udcff": ["é\udcff", {"b": 1}]})) == {"a?": ["é?", {"b": 1}]}


def test_numbers_that_json_does_not_have_are_null() -> None:
    assert as_json([float("nan"), float("inf"), 1.5, 1]) == b"[null,null,1.5,1]"


def test_an_empty_body_stands_for_an_empty_object_and_another_value_for_none() -> None:
    assert drive(new_call("PUT", "/").json_object()) == {}
    with pytest.raises(BadRequest):
        drive(new_call("PUT", "/", b"[]").json_object())


def test_a_body_may_have_so_many_octets() -> None:
    with pytest.raises(TooLarge, match="more than 3 octets") as refused:
        drive(new_call("PUT", "/", b"[1,2]").json(3))
    assert refused.value.status == 413
