from __future__ import annotations

import pytest

from broker.config.xml_reader import parse, read_bytes
from broker.errors import ConfigError

REFUSED_DTD = "x.xml:2: document type definitions and entities are refused in a configuration file"
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "content",
    [
        '<?xml version="1.0"?>\n<!DOCTYPE broker><broker/>',
        f'<?xml version="1.0"?>\n<!DOCTYPE b [<!ENTITY l0 "lol">{LAUGHS}]><b>&l9;</b>',
        f'<?xml version="1.0"?>\n<!DOCTYPE b [<!ENTITY a "{"a" * 50_000}">]><b>{"&a;" * 1000}</b>',
        '<?xml version="1.0"?>\n<!DOCTYPE b [<!ENTITY f SYSTEM "file:///etc/passwd">]><b>&f;</b>',
        '<?xml version="1.0"?>\n<!DOCTYPE b SYSTEM "http://127.0.0.1:9/evil.dtd"><b/>',
        '<?xml version="1.0"?>\n<!DOCTYPE b [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;]><b/>',
    ],
    ids=["empty dtd", "billion laughs", "quadratic blow-up", "external file", "external dtd", "parameter entity"],
)
def test_document_types_and_entities_are_refused(content):
    with pytest.raises(ConfigError) as failure:
        parse(content.encode(), "x.xml")
    assert str(failure.value) == REFUSED_DTD


def test_an_undefined_entity_is_refused():
    with pytest.raises(ConfigError, match=r"^x\.xml:2: not well-formed XML: undefined entity$"):
        parse(b"<b>\n&nope;</b>", "x.xml")


def test_an_inclusion_is_refused():
    content = b'<b xmlns:xi="http://www.w3.org/2001/XInclude">\n<xi:include href="file:///etc/passwd"/></b>'
    with pytest.raises(ConfigError, match=r"^x\.xml:2: include: XInclude is refused in a configuration file$"):
        parse(content, "x.xml")


def test_nesting_of_64_levels_is_accepted_and_65_refused():
    assert parse(b"<a>" * 64 + b"</a>" * 64, "x.xml")[0].name == "a"
    with pytest.raises(ConfigError, match=r"^x\.xml:1: elements are nested deeper than 64 levels$"):
        parse(b"<a>" * 65 + b"</a>" * 65, "x.xml")


def test_nesting_of_100_000_levels_is_refused():
    with pytest.raises(ConfigError, match="nested deeper than 64 levels"):
        parse(b"<a>" * 100_000 + b"</a>" * 100_000, "x.xml")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_a_byte_order_mark_tells_the_encoding(encoding):
    assert parse("<b>é€</b>".encode(encoding), "x.xml")[0].text == "é€"


def test_the_prolog_tells_the_encoding():
    content = '<?xml version="1.0" encoding="ISO-8859-1"?><b>é</b>'.encode("iso-8859-1")
    assert parse(content, "x.xml")[0].text == "é"


@pytest.mark.parametrize("encoding", ["UTF-7", "klingon"])
def test_an_encoding_that_cannot_be_read_is_refused(encoding):
    content = f'<?xml version="1.0" encoding="{encoding}"?><b/>'.encode()
    with pytest.raises(ConfigError, match=r"^x\.xml:1: not "):
        parse(content, "x.xml")


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"", 1), (b"<a>\n\n</b>", 3), (b"<a>\xff</a>", 1), (b"\x00\x01", 1), (b"<a x='1' x='2'/>", 1), (b"<x:a/>", 1)],
)
def test_malformed_xml_is_refused_with_its_line(content, line):
    with pytest.raises(ConfigError, match=rf"^x\.xml:{line}: not well-formed XML: "):
        parse(content, "x.xml")


def test_elements_know_their_line_attributes_and_text():
    (root,) = parse(b'<!-- c -->\n<a>\n <b n="1">x<c/>y</b>\n</a>', "x.xml")
    child = root.children[0]
    assert (root.line, child.line, child.attributes, child.text) == (2, 3, {"n": "1"}, "xy")


def test_an_undeclared_svns_prefix_is_forgiven():
    (root,) = parse(b'<password svns:secretAlias="A.B">x</password>', "x.xml")
    assert root.attributes == {"secretAlias": "A.B"}


def test_a_file_above_one_mebibyte_is_refused(load_files):
    with pytest.raises(ConfigError, match=r"^conf/broker\.xml: larger than 1048576 bytes$"):
        load_files({"broker.xml": b"<broker>" + b" " * 1_048_576 + b"</broker>"})


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^x: no such file$"):
        read_bytes(tmp_path, "x")
