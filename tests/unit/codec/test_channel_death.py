from __future__ import annotations

from typing import Any

from broker.codec.channel_death import channel_header, died_in, told_of, went_through
from broker.codec.death import HEADER_LIMIT
from broker.codec.field_table import MAX_ENTRIES, FieldTable
from broker.codec.properties import BasicProperties, decode_properties, encode_header


def header(headers: dict[str, Any] | None = None, **properties: Any) -> bytes:
    table = None if headers is None else FieldTable.of(headers)
    return encode_header(5, BasicProperties(headers=table, **properties))


def die(payload: bytes, queue: str = "q", reason: str = "rejected", now_s: int = 1000, **changes: Any) -> bytes:
    way = {"exchange": "x", "keeps_expiration": False, "has_path": False} | changes
    return channel_header(payload, queue=queue, reason=reason, now_s=now_s, **way)


def table_of(payload: bytes) -> FieldTable:
    headers = decode_properties(payload).headers
    assert headers is not None
    return headers


def test_the_first_death_stays_and_the_last_one_is_told_with_their_number() -> None:
    payload = die(die(header({"a": 1}), "q", "expired", 1), "r", "rejected", 2, exchange="y")
    values = table_of(payload).values
    assert {name: str(value) for name, value in values.items() if "time" not in name} == {
        "a": "1",
        "x-first-death-queue": "q",
        "x-first-death-reason": "expired",
        "x-first-death-exchange": "x",
        "x-last-death-queue": "r",
        "x-last-death-reason": "rejected",
        "x-last-death-exchange": "y",
        "x-death-count": "2",
    }
    assert (values["x-first-death-time"].seconds, values["x-last-death-time"].seconds) == (1, 2)


def test_only_types_are_written_that_wso2s_clients_read() -> None:
    types = table_of(die(header(), has_path=True, reason="expired")).types
    assert set(types.values()) == {"longstr", "signedint", "timestamp"}


def test_an_array_that_came_with_the_message_goes_and_everything_else_stays() -> None:
    payload = die(header({"a": 1, "x-death": [{"queue": "q"}], "b": "c"}, priority=4, message_id="m"))
    properties = decode_properties(payload)
    assert (properties.priority, properties.message_id) == (4, "m")
    assert table_of(payload).raw.startswith(FieldTable.of({"a": 1, "b": "c"}).raw)
    assert b"x-death" + b"A" not in payload


def test_the_expiration_goes_or_stays() -> None:
    assert decode_properties(die(header(expiration="5"))).expiration is None
    assert decode_properties(die(header(expiration="5"), keeps_expiration=True)).expiration == "5"


def test_keys_that_another_one_replaces_go() -> None:
    came = header({"CC": ["k"], "a": 1})
    assert "CC" in table_of(die(came)).values
    assert "CC" not in table_of(die(came, drops_cc=True)).values


def test_a_number_that_is_none_begins_anew() -> None:
    for came in ("many", -1, (1 << 31) - 1):
        payload = die(header({"x-death-count": came, "x-first-death-queue": "other"}))
        assert told_of(payload)["x-death-count"] == 1
        assert told_of(payload)["x-first-death-queue"] == "q"


def test_what_a_publisher_says_of_a_first_death_is_taken_if_it_can_be_one() -> None:
    whole = table_of(die(header(), "q", "expired", 1)).values
    assert told_of(die(header(whole), "r"))["x-first-death-queue"] == "q"
    for name, value in (("x-first-death-queue", "x" * 256), ("x-first-death-time", 5), ("x-first-death-reason", [1])):
        payload = die(header({**whole, name: value}), "r")
        assert told_of(payload)["x-first-death-queue"] == "r"
        assert "array" not in table_of(payload).types.values()
    payload = die(header({**whole, "x-first-death-more": ["x" * (HEADER_LIMIT - 1000)]}))
    assert len(payload) < 1000


def test_a_header_stays_within_its_limit() -> None:
    large = {f"h{number}": "x" * 100 for number in range(MAX_ENTRIES)}
    payload = die(header(large))
    assert len(table_of(payload).entries) <= MAX_ENTRIES
    payload = die(header({"large": "x" * (HEADER_LIMIT - 100), "small": 1}))
    assert len(payload) <= HEADER_LIMIT
    assert "large" not in table_of(payload).values
    assert died_in(payload) == "q"


def test_a_letter_has_gone_through_the_queues_since_a_client_rejected_it() -> None:
    payload = die(die(header(), "a", "rejected", has_path=True), "b", "expired", has_path=True)
    payload = die(payload, "c", "maxlen", has_path=True)
    assert went_through(payload, {"a", "b", "c", "d"}) == {"b", "c"}
    assert went_through(die(payload, "d", "rejected", has_path=True), {"a", "b", "c", "d"}) == set()
    assert went_through(die(payload, "d"), {"a", "b", "c", "d"}) == set(), "the channel is the end of its way"


def test_a_long_way_is_known_as_far_as_there_is_room() -> None:
    payload = header()
    names = [f"{number:0250}" for number in range(40)]
    for name in names:
        payload = die(payload, name, "expired", has_path=True)
    assert went_through(payload, names) == set(names[-33:])


def test_what_is_no_header_tells_nothing() -> None:
    assert (died_in(b""), told_of(b"")) == (None, {})
    assert died_in(header({"x-last-death-queue": 5})) is None
