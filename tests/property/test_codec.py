"""The codec against pamqp, the codec of the Python clients, and against noise.

What pamqp reads or writes differently is left out of the comparison and held by literals in the unit tests: `L` (it
writes none), timestamps past 2106 (it takes them for milliseconds), negative decimals (it writes them signed and reads
them unsigned), entry names beyond 128 bytes (it cuts them), empty properties (it takes them for unset), an unset
cluster id (it takes that for empty), the access class (it has none) and `basic.recover-async` (it warns of it).
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands, header
from pamqp import frame as pamqp_frame

import broker.codec.methods as methods
from broker.codec import constants as spec
from broker.codec.field_table import ByteArray, FieldTable, Int64, Timestamp
from broker.codec.method import METHODS, decode, frame
from broker.codec.properties import BasicProperties, decode_properties, encode_header, walk_properties
from broker.errors import FrameFault, NotImplementedFault, SyntaxFault
from tests.support.peer import FRAME_MAX, Content, Peer, command, raw_frame

ALL_KINDS = list(METHODS.values())
COMMON_KINDS = [
    kind for kind in ALL_KINDS if kind.index in commands.INDEX_MAPPING and kind is not methods.BasicRecoverAsync
]

TEXT = st.text(st.characters(codec="utf-8"), max_size=24)
NAMES = st.text("abcXYZ019-_.:@#,/ ", max_size=40)
SECONDS = st.integers(0, 0xFFFFFFFF)
FLOATS = st.floats(width=32, allow_nan=False)
DECIMALS = st.builds(
    lambda unscaled, scale: Decimal(unscaled).scaleb(-scale), st.integers(0, 2**31 - 1), st.integers(0, 255)
)
INT64 = st.integers(-(2**63), 2**63 - 1)


def walk(payload: bytes) -> tuple[int, int]:
    """Return the flags and the delivery mode."""
    return walk_properties(payload[12:], len(payload) - 12)[:2]


def tables(scalars):
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(TEXT, values, max_size=6)


OUR_TABLES = tables(
    st.none()
    | st.booleans()
    | INT64
    | INT64.map(Int64)
    | FLOATS
    | st.floats(allow_nan=False)
    | DECIMALS
    | TEXT
    | st.binary(max_size=24)
    | st.binary(max_size=24).map(ByteArray)
    | SECONDS.map(Timestamp)
)
THEIR_TABLES = tables(
    st.none()
    | st.booleans()
    | INT64
    | FLOATS
    | DECIMALS
    | TEXT
    | st.binary(max_size=24).map(bytearray)
    | SECONDS.map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
)

OURS = {
    "B": st.integers(0, 2**8 - 1),
    "H": st.integers(0, 2**16 - 1),
    "I": st.integers(0, 2**32 - 1),
    "Q": st.integers(0, 2**63 - 1),
    "shortstr": TEXT,
    "longstr": st.binary(max_size=60),
    "bit": st.booleans(),
    "table": OUR_TABLES.map(FieldTable.of),
}
THEIRS = OURS | {"shortstr": NAMES, "longstr": TEXT, "table": THEIR_TABLES}

PROPERTIES = {
    field.name: OURS[{"delivery_mode": "B", "priority": "B", "headers": "table"}.get(field.name, "shortstr")]
    for field in dataclasses.fields(BasicProperties)
} | {"timestamp": SECONDS}
OUR_PROPERTIES = st.builds(BasicProperties, **{name: st.none() | values for name, values in PROPERTIES.items()})


def wire_kinds(kind):
    hints = get_type_hints(kind, vars(methods), include_extras=True)
    return [(field.name, hints[field.name].__metadata__[0]) for field in dataclasses.fields(kind)]


@st.composite
def our_methods(draw, kinds=ALL_KINDS):
    kind = draw(st.sampled_from(kinds))
    return kind(*(draw(OURS[wire]) for _, wire in wire_kinds(kind)))


@st.composite
def their_methods(draw):
    """A method of pamqp's. It insists on its own defaults for reserved fields."""
    kind = draw(st.sampled_from(COMMON_KINDS))
    theirs = commands.INDEX_MAPPING[kind.index]()
    for (name, wire), attribute in zip(wire_kinds(kind), theirs.attributes(), strict=True):
        if not name.startswith("reserved"):
            setattr(theirs, attribute, draw(THEIRS[wire]))
    return theirs


def plain(value):
    """Return `value` in types both codecs share: text as its octets, since a long string is either."""
    if isinstance(value, FieldTable):
        return plain(value.values)
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, Timestamp):
        return value.seconds
    if isinstance(value, datetime):
        return int(value.timestamp())
    return value


def answer(read, *data):
    """Return the text of the fault `read` raises, or nothing."""
    try:
        read(*data)
    except (SyntaxFault, FrameFault, NotImplementedFault) as fault:
        return str(fault)
    return ""


def arguments(ours):
    return [plain(getattr(ours, field.name)) for field in dataclasses.fields(ours)]


def their_arguments(theirs):
    return [plain(getattr(theirs, name)) for name in theirs.attributes()]


@settings(deadline=None, max_examples=300)
@given(method=our_methods(COMMON_KINDS), channel=st.integers(0, 65535))
def test_pamqp_reads_the_methods_we_write(method, channel):
    data = frame(channel, method.encode())
    consumed, their_channel, theirs = pamqp_frame.unmarshal(data)
    assert (consumed, their_channel, theirs.index) == (len(data), channel, method.index)
    assert their_arguments(theirs) == arguments(method)


@settings(deadline=None, max_examples=300)
@given(theirs=their_methods())
def test_we_read_the_methods_pamqp_writes(theirs):
    data = pamqp_frame.marshal(theirs, 1)
    ours = decode(data[7:-1])
    assert (ours.index, arguments(ours)) == (theirs.index, their_arguments(theirs))


@settings(deadline=None, max_examples=300)
@given(method=our_methods())
def test_we_read_the_methods_we_write(method):
    assert decode(method.encode()) == method


@settings(deadline=None, max_examples=200)
@given(properties=OUR_PROPERTIES, body_size=st.integers(0, 2**63))
def test_pamqp_reads_the_properties_we_write(properties, body_size):
    data = raw_frame(spec.FRAME_HEADER, 1, encode_header(body_size, properties))
    _, _, theirs = pamqp_frame.unmarshal(data)
    assert (theirs.class_id, theirs.weight, theirs.body_size) == (60, 0, body_size)
    assert their_arguments(theirs.properties)[:-1] == arguments(properties)[:-1]
    assert theirs.properties.cluster_id == (properties.cluster_id or "")


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_we_read_the_properties_pamqp_writes(data):
    theirs = commands.Basic.Properties()
    for ours, attribute in zip(PROPERTIES, theirs.attributes(), strict=True):
        values = {
            "headers": THEIR_TABLES,
            "timestamp": SECONDS.map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
            "delivery_mode": st.integers(0, 255),
            "priority": st.integers(0, 255),
        }
        setattr(theirs, attribute, data.draw(st.none() | values.get(ours, TEXT.filter(bool)), label=ours))
    properties = decode_properties(header.ContentHeader(0, 9, theirs).marshal())
    assert arguments(properties) == their_arguments(theirs)


@settings(deadline=None, max_examples=200)
@given(properties=OUR_PROPERTIES)
def test_partial_readers_agree_with_the_whole_reader(properties):
    payload = encode_header(0, properties)
    assert decode_properties(payload) == properties
    assert walk(payload)[1] == (properties.delivery_mode or 0)
    set_properties = [
        field.name for field in dataclasses.fields(properties) if getattr(properties, field.name) is not None
    ]
    assert walk(payload)[0].bit_count() == len(set_properties)


@settings(deadline=None, max_examples=200)
@given(mapping=OUR_TABLES)
def test_a_table_read_and_written_again_keeps_its_bytes(mapping):
    table = FieldTable.of(mapping)
    assert FieldTable.of(table.values) == table


@settings(deadline=None, max_examples=200)
@given(mapping=OUR_TABLES, name=TEXT)
def test_removing_an_entry_is_the_same_as_writing_the_table_without_it(mapping, name):
    rest = {key: kept for key, kept in mapping.items() if key != name}
    assert FieldTable.of(mapping).without(name) == FieldTable.of(rest)


@settings(deadline=None, max_examples=300)
@given(noise=st.binary(max_size=80))
def test_noise_in_a_table_is_a_table_or_a_syntax_fault(noise):
    try:
        table = FieldTable(noise).validate()
    except SyntaxFault:
        return
    assert set(table.types) == set(table.values)


@settings(deadline=None, max_examples=300)
@given(index=st.sampled_from(sorted(METHODS)) | st.integers(0, 2**32 - 1), noise=st.binary(max_size=60))
def test_noise_in_a_method_is_a_method_or_a_fault(index, noise):
    payload = index.to_bytes(4, "big") + noise
    try:
        method = decode(payload)
    except (SyntaxFault, NotImplementedFault):
        return
    assert decode(method.encode()) == method


@settings(deadline=None, max_examples=300)
@given(method=our_methods(), position=st.integers(0, 200), octet=st.integers(0, 255))
def test_one_wrong_octet_in_a_method_is_a_method_or_a_fault(method, position, octet):
    payload = bytearray(method.encode())
    payload[position % len(payload)] = octet
    assert "\n" not in answer(decode, bytes(payload))


@settings(deadline=None, max_examples=300)
@given(flags=st.integers(0, 65535), noise=st.binary(max_size=60))
@pytest.mark.parametrize("read", [decode_properties, walk])
def test_noise_in_a_content_header_is_read_or_a_fault(read, flags, noise):
    assert "\n" not in answer(read, bytes(12) + flags.to_bytes(2, "big") + noise)


@settings(deadline=None, max_examples=150)
@given(
    exchanged=st.lists(st.tuples(our_methods(), OUR_PROPERTIES, st.binary(max_size=200)), max_size=5),
    cuts=st.lists(st.integers(0, 4000), max_size=12),
)
def test_any_chunking_of_the_bytes_gives_the_same_methods_and_contents(exchanged, cuts):
    stream = b"".join(
        command(1, method, properties, body, 64 if len(body) > 100 else FRAME_MAX)
        if method.has_content
        else command(1, method)
        for method, properties, body in exchanged
    )
    peer = Peer(lambda data: None)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in pairwise(edges):
        peer.feed(stream[start:end])
    assert peer.received() == [(1, method) for method, _, _ in exchanged]
    assert peer.received_content() == [Content(1, *content) for content in exchanged if content[0].has_content]
