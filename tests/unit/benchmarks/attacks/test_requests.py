import struct

import pytest

from benchmarks.attacks import ATTACKS
from benchmarks.attacks.requests import empty_publish, table
from broker.codec.field_table import FieldTable
from broker.codec.properties import decode_properties


def test_a_table_is_encoded_as_the_broker_reads_it():
    fields = {"word": "a", "number": -1, "keys": ["k1", "k2"], "there": None}

    octets = table(fields)

    assert FieldTable(octets[4:]).values == fields
    assert struct.unpack_from(">I", octets)[0] == len(octets) - 4


def test_an_empty_publish_carries_its_headers():
    octets = empty_publish("x", "k", {"CC": ["a"]})

    header = octets[octets.index(b"\xce") + 1 :]
    headers = decode_properties(header[7:-1]).headers
    assert headers is not None
    assert headers.values == {"CC": ["a"]}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_request_says_what_it_is(name):
    assert ATTACKS[name].__doc__
