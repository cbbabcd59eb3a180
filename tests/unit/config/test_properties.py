from __future__ import annotations

import pytest

from broker.config.properties import parse
from broker.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a.b=1", [("a.b", "1", 1)]),
        (b"# c\n! d\n\n  a = 1  \nb: 2\nc 3", [("a", "1", 4), ("b", "2", 5), ("c", "3", 6)]),
        (b"a=1,\\\n   2\nb=3", [("a", "1,2", 1), ("b", "3", 3)]),
        (b"a\\ b=c\\=d\\u00e9\\t.", [("a b", "c=d\u00e9\t.", 1)]),
        (b"a=\xe9\r\nb=", [("a", "é", 1), ("b", "", 2)]),
        (b"a=x\\\\\nb=1", [("a", "x\\", 1), ("b", "1", 2)]),
        (b"\xef\xbb\xbfa=1", [("a", "1", 1)]),
        (b"a=1\\", [("a", "1\\", 1)]),
    ],
)
def test_properties_are_read_as_java_does(content, expected):
    assert [(entry.key, entry.value, entry.line) for entry in parse(content, "x")] == expected


def test_utf_16_is_refused():
    with pytest.raises(ConfigError, match=r"^x:1: a properties file is ISO-8859-1 text, not UTF-16$"):
        parse("a=1".encode("utf-16"), "x")


def test_a_wrong_property_stops_the_start_with_its_place(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files({"hazelcast.properties": "# c\nhazelcast.max.no.heartbeat.seconds=soon"})
    assert str(failure.value) == (
        "conf/hazelcast.properties:2: hazelcast.max.no.heartbeat.seconds: "
        "'soon' is not an integer between 1 and 2147483647"
    )


def test_a_misspelt_property_is_reported(load_files):
    loaded = load_files({"hazelcast.properties": "hazelcast.shutdownhook.enable=false"})
    assert loaded.warnings == [
        "conf/hazelcast.properties:1: unknown element 'hazelcast.shutdownhook.enable' in hazelcast.properties; "
        "did you mean 'hazelcast.shutdownhook.enabled'?"
    ]
