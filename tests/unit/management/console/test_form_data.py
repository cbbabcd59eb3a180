"""What browsers send: plain forms, and forms with a file."""

from __future__ import annotations

import pytest

from broker.management.console.form_data import fields_of
from broker.management.http.call import HttpRefusal

PLAIN = "application/x-www-form-urlencoded"
KIND = "multipart/form-data; boundary=----Web7x"


def part(name: str, content: bytes, more: str = "") -> bytes:
    return f'------Web7x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


def test_a_form_with_a_file_has_its_fields_as_they_were_sent() -> None:
    content = b'{"a": "b"}\r\n--no boundary\r\n\xff'
    octets = (
        part("mark", b"m") + part("file", content, '; filename="x.json"\r\nContent-Type: application/json')
    ) + b"------Web7x--\r\n"
    fields = fields_of(KIND, octets)
    assert fields["mark"] == "m"
    assert fields["file"].encode("utf-8", "surrogateescape") == content


def test_a_plain_form_may_hold_names_that_are_no_utf_8() -> None:
    assert fields_of(PLAIN, b"name=a%FFb&x=") == {"name": "a\udcffb", "x": ""}


@pytest.mark.parametrize(
    ("kind", "octets", "status"),
    [
        ("text/plain", b"a=b", 415),
        ("", b"", 415),
        ("multipart/form-data", b"x", 400),
        (KIND, b"", 400),
        (KIND, part("a", b"b"), 400),
        (KIND, b"------Web7x\r\nno head\r\n------Web7x--", 400),
        (KIND, part("a", b"b") * 200 + b"------Web7x--", 400),
        (PLAIN, b"a=b&" * 200, 400),
        (PLAIN, "ü=ü".encode(), 400),
    ],
)
def test_what_is_no_form_is_refused(kind: str, octets: bytes, status: int) -> None:
    with pytest.raises(HttpRefusal) as refused:
        fields_of(kind, octets)
    assert refused.value.status == status
