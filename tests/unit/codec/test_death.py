"""What a dead letter tells of its deaths, as our codec and pamqp read it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import frame as pamqp_frame

from broker.codec.death import HEADER_LIMIT, dead_letter_header, died_before
from broker.codec.field_table import MAX_ENTRIES, ByteArray, FieldTable, Int64, Timestamp
from broker.codec.properties import BasicProperties, decode_properties, encode_header

ALL = BasicProperties(
    content_type="text/plain",
    content_encoding="utf-8",
    headers=FieldTable.of({"a": 1, "tags": ["x", None], "b": {"c": True}}),
    delivery_mode=2,
    priority=9,
    correlation_id="c",
    reply_to="r",
    expiration="60000",
    message_id="m",
    timestamp=1234567890,
    type="t",
    user_id="guest",
    app_id="app",
    cluster_id="",
)


def header(headers: dict[str, object] | None = None, **properties: object) -> bytes:
    table = None if headers is None else FieldTable.of(headers)
    return encode_header(5, BasicProperties(headers=table, **properties))


def die(payload: bytes, queue: str = "q", reason: str = "rejected", now_s: int = 1000, **changes: object) -> bytes:
    way = {"exchange": "x", "routing_keys": ["k"], "drops_cc": False} | changes
    return dead_letter_header(payload, queue=queue, reason=reason, now_s=now_s, **way)


def headers_of(payload: bytes) -> dict[str, object]:
    headers = decode_properties(payload).headers
    assert headers is not None
    return headers.values


def deaths_of(payload: bytes) -> list[tuple[str, str, int]]:
    return [(death["queue"], death["reason"], death["count"]) for death in headers_of(payload)["x-death"]]


def without(properties: BasicProperties, *names: str) -> dict[str, object]:
    return {name: getattr(properties, name) for name in BasicProperties.__slots__ if name not in names}


# One death


def test_the_first_death_is_told_with_its_queue_reason_time_exchange_and_keys():
    payload = die(header(), "orders", "expired", 1234567890, exchange="shop", routing_keys=["new", "copy"])
    assert headers_of(payload) == {
        "x-death": [
            {
                "count": 1,
                "reason": "expired",
                "queue": "orders",
                "time": Timestamp(1234567890),
                "exchange": "shop",
                "routing-keys": ["new", "copy"],
            }
        ],
        "x-first-death-reason": "expired",
        "x-first-death-queue": "orders",
        "x-first-death-exchange": "shop",
        "x-last-death-reason": "expired",
        "x-last-death-queue": "orders",
        "x-last-death-exchange": "shop",
    }


def test_the_octets_are_those_of_an_array_of_tables_with_64_bits_long_strings_and_a_timestamp():
    payload = die(header(), "q", "maxlen", 1234567890, exchange="", routing_keys=["k"])
    death = (
        b"\x05countl\x00\x00\x00\x00\x00\x00\x00\x01"
        b"\x06reasonS\x00\x00\x00\x06maxlen"
        b"\x05queueS\x00\x00\x00\x01q"
        b"\x04timeT\x00\x00\x00\x00\x49\x96\x02\xd2"
        b"\x08exchangeS\x00\x00\x00\x00"
        b"\x0crouting-keysA\x00\x00\x00\x06S\x00\x00\x00\x01k"
    )
    array = b"F" + len(death).to_bytes(4, "big") + death
    assert b"\x07x-deathA" + len(array).to_bytes(4, "big") + array in payload


def test_a_message_without_properties_gets_headers():
    payload = die(bytes.fromhex("003c0000") + (5).to_bytes(8, "big") + b"\x00\x00")
    assert payload.startswith(bytes.fromhex("003c0000") + (5).to_bytes(8, "big") + b"\x20\x00")
    assert deaths_of(payload) == [("q", "rejected", 1)]


def test_every_other_property_and_header_keeps_its_octets():
    payload = die(encode_header(5, ALL))
    properties = decode_properties(payload)
    assert without(properties, "headers", "expiration") == without(ALL, "headers", "expiration")
    assert properties.headers.raw.startswith(ALL.headers.raw)
    assert payload[:12] == encode_header(5, ALL)[:12]


def test_headers_that_other_codecs_write_in_other_ways_keep_their_octets():
    raw = b"\x01aL\x00\x00\x00\x00\x00\x00\x00\x07\x01\xffS\x00\x00\x00\x01\xfe\x01bB\x07\x01at\x02"
    payload = die(encode_header(0, BasicProperties(headers=FieldTable(raw))))
    assert decode_properties(payload).headers.raw.startswith(raw)


def test_the_flag_without_a_property_and_a_second_word_of_flags_travel_on():
    payload = die(bytes.fromhex("003c0000") + bytes(8) + b"\x10\x03\x00\x00\x02")
    assert payload[12:16] == b"\x30\x03\x00\x00"
    assert decode_properties(payload).delivery_mode == 2


def test_the_expiration_is_removed_and_remembered():
    payload = die(header(expiration="60000"), reason="rejected")
    assert decode_properties(payload).expiration is None
    assert headers_of(payload)["x-death"][0]["original-expiration"] == "60000"


@pytest.mark.parametrize("drops_cc", [True, False])
def test_the_header_cc_goes_when_another_key_takes_the_place_of_the_keys(drops_cc):
    payload = die(header({"CC": ["copy"], "a": 1}), routing_keys=["k", "copy"], drops_cc=drops_cc)
    assert ("CC" in headers_of(payload)) is not drops_cc
    assert headers_of(payload)["a"] == 1
    assert headers_of(payload)["x-death"][0]["routing-keys"] == ["k", "copy"]


def test_names_that_are_no_utf8_are_told_octet_by_octet():
    payload = die(header(), routing_keys=[b"\xff".decode("utf-8", "surrogateescape")])
    assert headers_of(payload)["x-death"][0]["routing-keys"] == [b"\xff"]
    assert headers_of(die(payload))["x-death"][0]["routing-keys"] == [b"\xff"]


# Several deaths


def test_the_newest_death_comes_first():
    payload = die(die(header(), "a", "expired"), "b", "maxlen")
    assert deaths_of(payload) == [("b", "maxlen", 1), ("a", "expired", 1)]


def test_another_reason_in_the_same_queue_is_another_death():
    payload = die(die(header(), "a", "expired"), "a", "rejected")
    assert deaths_of(payload) == [("a", "rejected", 1), ("a", "expired", 1)]


def test_a_repeated_death_adds_one_and_moves_to_the_front_and_the_rest_of_it_stays():
    first = die(header(expiration="5"), "a", "expired", 1000, exchange="one", routing_keys=["first"])
    second = die(first, "b", "rejected", 2000)
    third = die(second, "a", "expired", 3000, exchange="two", routing_keys=["third"])
    assert deaths_of(third) == [("a", "expired", 2), ("b", "rejected", 1)]
    before = headers_of(first)["x-death"][0]
    assert headers_of(third)["x-death"][0] == before | {"count": 2}
    assert before["original-expiration"] == "5"


def test_the_first_death_stays_and_the_last_one_changes():
    payload = die(die(header(), "a", "expired", exchange="one"), "b", "maxlen", exchange="two")
    headers = headers_of(payload)
    assert [headers[f"x-first-death-{name}"] for name in ("queue", "reason", "exchange")] == ["a", "expired", "one"]
    assert [headers[f"x-last-death-{name}"] for name in ("queue", "reason", "exchange")] == ["b", "maxlen", "two"]


def test_a_count_of_64_bits_is_not_exceeded():
    most = (1 << 63) - 1
    death = headers_of(die(header()))["x-death"][0] | {"count": Int64(most)}
    assert deaths_of(die(header({"x-death": [death]}))) == [("q", "rejected", most)]


# What clients send


def test_a_history_that_a_client_sends_again_goes_on():
    death = {"count": 3, "reason": "rejected", "queue": "q", "time": 900, "exchange": "x", "routing-keys": [b"k"]}
    payload = die(header({"x-death": [death], "x-first-death-queue": "first"}))
    assert headers_of(payload)["x-death"] == [death | {"count": 4, "time": Timestamp(900), "routing-keys": ["k"]}]
    assert headers_of(payload)["x-first-death-queue"] == "first"


@pytest.mark.parametrize(
    "history",
    [
        "a text",
        None,
        {"queue": "q"},
        [],
        ["a text", 1, None, [], {}],
        [{"count": "1", "reason": "expired", "queue": "q", "time": Timestamp(1), "exchange": "", "routing-keys": []}],
        [{"count": True, "reason": "expired", "queue": "q", "time": Timestamp(1), "exchange": "", "routing-keys": []}],
        [{"count": -1, "reason": "expired", "queue": "q", "time": Timestamp(1), "exchange": "", "routing-keys": []}],
        [{"count": 1, "reason": 2, "queue": "q", "time": Timestamp(1), "exchange": "", "routing-keys": []}],
        [{"count": 1, "reason": "r", "queue": ByteArray(b"q"), "time": 1, "exchange": "", "routing-keys": []}],
        [{"count": 1, "reason": "expired", "queue": "q", "time": "now", "exchange": "", "routing-keys": []}],
        [{"count": 1, "reason": "expired", "queue": "q", "time": 1, "exchange": "e" * 256, "routing-keys": []}],
        [{"count": 1, "reason": "expired", "queue": "q", "time": 1, "exchange": "", "routing-keys": "k"}],
        [{"count": 1, "reason": "expired", "queue": "q", "time": 1, "exchange": "", "routing-keys": [1]}],
    ],
)
def test_a_history_of_wrong_types_is_replaced(history):
    payload = die(header({"x-death": history, "x-first-death-queue": "nowhere", "a": 1}))
    assert deaths_of(payload) == [("q", "rejected", 1)]
    assert headers_of(payload)["x-first-death-queue"] == "q"
    assert headers_of(payload)["a"] == 1


def test_only_what_is_no_death_is_left_out_of_a_history():
    right = headers_of(die(header(), "a"))["x-death"][0]
    assert deaths_of(die(header({"x-death": ["wrong", right, {}, right]}), "b")) == [
        ("b", "rejected", 1),
        ("a", "rejected", 1),
    ]


def test_of_a_repeated_header_the_last_one_counts_and_one_is_left():
    one, two = (headers_of(die(header(), queue))["x-death"] for queue in "ab")
    raw = FieldTable.of({"x-death": one}).raw + FieldTable.of({"x-death": two}).raw
    payload = die(encode_header(0, BasicProperties(headers=FieldTable(raw))), "c")
    assert deaths_of(payload) == [("c", "rejected", 1), ("b", "rejected", 1)]
    assert payload.count(b"\x07x-deathA") == 1


def test_a_history_that_is_nested_too_deep_is_replaced():
    deep: list[object] = []
    for _ in range(30):
        deep = [deep]
    raw = FieldTable.of({"x-death": deep}).raw
    nested = b"\x07x-deathA" + (len(raw) - 8).to_bytes(4, "big") + b"A" + raw[9:]
    payload = die(encode_header(0, BasicProperties(headers=FieldTable(nested))))
    assert deaths_of(payload) == [("q", "rejected", 1)]


@pytest.mark.parametrize("raw", [b"\x01", b"\x01a", b"\x01a?", b"\x01aS\x00\x00\x00\x09x", b"\x01aI\x00", b"\xff"])
def test_a_malformed_table_is_replaced(raw):
    payload = die(encode_header(0, BasicProperties(headers=FieldTable(raw))))
    assert deaths_of(payload) == [("q", "rejected", 1)]


# Limits


def test_the_largest_headers_of_the_message_make_room_for_its_deaths():
    payload = header({"small": "s" * 300, "large": "l" * (HEADER_LIMIT - 1000), "middle": "m" * 500}, app_id="app")
    dead = die(payload, "q" * 255, "expired", exchange="e" * 255)
    assert len(dead) <= HEADER_LIMIT
    assert deaths_of(dead) == [("q" * 255, "expired", 1)]
    assert {"small", "middle"} <= headers_of(dead).keys()
    assert "large" not in headers_of(dead)
    assert decode_properties(dead).app_id == "app"


def test_no_header_goes_as_long_as_the_frame_has_room():
    spare = len(die(header({"large": ""}))) - len(header({"large": ""}))
    fits = header({"large": "l" * (HEADER_LIMIT - spare - len(header({"large": ""})))})
    assert len(die(fits)) == HEADER_LIMIT
    assert "large" in headers_of(die(fits))
    too_large = header({"large": "l" * (HEADER_LIMIT - spare - len(header({"large": ""})) + 1)})
    assert "large" not in headers_of(die(too_large))


def test_a_header_of_a_larger_frame_does_not_grow():
    payload = header({"large": "l" * HEADER_LIMIT, "small": "s"})
    assert len(die(payload)) <= len(payload)
    assert "small" in headers_of(die(payload))


def history(count: int) -> list[object]:
    """Return deaths in queues of the longest names, the newest with the highest number."""
    death = headers_of(die(header(), exchange="e" * 255))["x-death"][0]
    return [death | {"queue": f"{number}".ljust(255, "q")} for number in range(count, 0, -1)]


def test_the_oldest_deaths_make_room_for_new_ones():
    payload = header({"x-death": history(213)})
    assert HEADER_LIMIT - 1500 < len(payload) <= HEADER_LIMIT
    dead = die(die(die(payload, "a" * 255), "b" * 255), "c" * 255)
    assert HEADER_LIMIT - 1500 < len(dead) <= HEADER_LIMIT
    queues = [queue[:3] for queue, _, _ in deaths_of(dead)]
    assert queues[:4] == ["ccc", "bbb", "aaa", "213"]
    assert queues[-1] != "1qq"


def test_the_headers_of_the_message_go_before_its_oldest_death():
    payload = header({"x-death": history(100), "own": ""})
    payload = header({"x-death": history(100), "own": "o" * (HEADER_LIMIT - len(payload))})
    assert len(deaths_of(die(payload, "new"))) == 101
    assert "own" not in headers_of(die(payload, "new"))


def test_a_history_has_no_more_deaths_than_an_array_may_have_entries():
    payload = header()
    death = headers_of(die(payload))["x-death"][0] | {"routing-keys": []}
    history = [death | {"queue": f"{number}"} for number in range(MAX_ENTRIES)]
    dead = die(header({"x-death": history}), "new", routing_keys=[])
    assert len(deaths_of(dead)) == MAX_ENTRIES
    assert deaths_of(dead)[:2] == [("new", "rejected", 1), ("0", "rejected", 1)]


def test_headers_have_no_more_entries_than_a_table_may_have():
    dead = die(header({f"{number:04}": None for number in range(MAX_ENTRIES)}))
    assert len(headers_of(dead)) == MAX_ENTRIES
    assert deaths_of(dead) == [("q", "rejected", 1)]


@pytest.mark.parametrize("keys", [["k"] * (MAX_ENTRIES + 1), ["k" * 255] * MAX_ENTRIES])
def test_as_many_keys_are_told_as_have_room(keys):
    dead = die(header(), routing_keys=keys)
    assert len(dead) <= HEADER_LIMIT
    told = headers_of(dead)["x-death"][0]["routing-keys"]
    assert told == keys[: len(told)]
    assert len(told) == MAX_ENTRIES or HEADER_LIMIT - len(dead) < 260


# Cycles (contract L5)


def test_a_queue_in_which_the_message_died_before_would_complete_a_cycle():
    payload = die(die(header(), "a", "expired"), "b", "maxlen")
    assert died_before(payload, ["a", "b", "c"]) == {"a", "b"}


def test_a_queue_must_not_feed_itself():
    assert died_before(die(header(), "a", "expired"), ["a"]) == {"a"}


def test_a_message_that_a_client_rejected_may_go_anywhere():
    assert died_before(die(die(header(), "a", "expired"), "b", "rejected"), ["a", "b"]) == set()


def test_only_deaths_since_the_last_rejection_complete_a_cycle():
    payload = die(die(die(header(), "a", "expired"), "b", "rejected"), "c", "delivery_limit")
    assert died_before(payload, ["a", "b", "c"]) == {"c"}


def test_a_loop_of_expiry_and_rejection_goes_on():
    payload = header()
    for count in range(1, 4):
        payload = die(payload, "work", "rejected")
        assert died_before(payload, ["wait"]) == set()
        payload = die(payload, "wait", "expired")
        assert died_before(payload, ["work"]) == set()
        assert deaths_of(payload) == [("wait", "expired", count), ("work", "rejected", count)]


@pytest.mark.parametrize("headers", [None, {}, {"x-death": "text"}, {"x-death": [1]}])
def test_a_message_without_deaths_completes_no_cycle(headers):
    assert died_before(header(headers), ["a"]) == set()


# Any history, against pamqp


QUEUES = st.sampled_from("abcd")
REASONS = st.sampled_from(["rejected", "expired", "maxlen", "delivery_limit"])
OWN = st.dictionaries(
    st.text("abx-", min_size=1, max_size=9), st.integers(0, 1 << 40) | st.text("aé€", max_size=9), max_size=3
)


def read_by_pamqp(payload: bytes) -> dict[str, object]:
    frame = b"\x02\x00\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce"
    _, _, read = pamqp_frame.unmarshal(frame)
    return read.properties.headers


def cycles(deaths: list[tuple[str, str]], target: str) -> bool:
    """Return RabbitMQ's answer: look for the newest death in `target`; none up to it may be a rejection."""
    queues = [queue for queue, _ in deaths]
    return target in queues and "rejected" not in [reason for _, reason in deaths[: queues.index(target) + 1]]


@settings(deadline=None, max_examples=200)
@given(
    own=OWN, deaths=st.lists(st.tuples(QUEUES, REASONS), min_size=1, max_size=8), expiration=st.none() | st.just("9")
)
def test_any_history_is_read_by_pamqp_as_a_list_of_counts_would_tell_it(own, deaths, expiration):
    payload = header(own, expiration=expiration)
    expected: dict[tuple[str, str], int] = {}
    for queue, reason in deaths:
        payload = die(payload, queue, reason)
        expected = {(queue, reason): expected.pop((queue, reason), 0) + 1} | expected
    theirs = read_by_pamqp(payload)
    assert [(death["queue"], death["reason"], death["count"]) for death in theirs["x-death"]] == [
        (*key, count) for key, count in expected.items()
    ]
    assert {name: theirs[name] for name in own} == own
    assert [theirs["x-first-death-queue"], theirs["x-first-death-reason"]] == list(deaths[0])
    assert [theirs["x-last-death-queue"], theirs["x-last-death-reason"]] == list(deaths[-1])
    assert died_before(payload, "abcd") == {target for target in "abcd" if cycles(list(expected), target)}


@settings(deadline=None, max_examples=100)
@given(noise=st.binary(max_size=60), name=st.sampled_from([b"", b"\x07x-deathA", b"\x07x-deathF\x00\x00\x00\x09"]))
def test_noise_in_the_headers_never_stops_a_death(noise, name):
    payload = die(encode_header(5, BasicProperties(headers=FieldTable(name + noise))), "a", "expired")
    assert deaths_of_any(payload)[0] == ("a", "expired")
    assert died_before(payload, ["a"]) == {"a"}


def deaths_of_any(payload: bytes) -> list[tuple[str, str]]:
    raw = decode_headers(payload)
    history = next(entry for entry in raw.entries if entry.startswith(b"\x07x-death"))
    return [(death["queue"], death["reason"]) for death in FieldTable(history).values["x-death"]]


def decode_headers(payload: bytes) -> FieldTable:
    """Return the headers of a message that has no other property; what a client nested in them may be malformed."""
    return FieldTable(payload[18:])
