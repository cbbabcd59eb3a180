"""Reads an XML file into a tree of elements with their line numbers.

It limits the size of the file and refuses DTDs, entities and inclusions (invariant I90).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import ParseError
from xml.parsers import expat

from defusedxml import ElementTree as DefusedElementTree
from defusedxml.common import DefusedXmlException

from broker.errors import ConfigError

MAX_BYTES = 1_048_576
MAX_DEPTH = 64

_XINCLUDE = "http://www.w3.org/2001/XInclude"
_PROLOG = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(<\?xml\s[^>]*\?>)?")
_JUNK_AFTER_ROOT = expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]
_UNBOUND_PREFIX = expat.errors.codes[expat.errors.XML_ERROR_UNBOUND_PREFIX]
_MISPLACED_PROLOG = expat.errors.codes[expat.errors.XML_ERROR_MISPLACED_XML_PI]
_REPAIRED = {_JUNK_AFTER_ROOT, _UNBOUND_PREFIX, _MISPLACED_PROLOG}
# The wrapper is put on the line of the prolog, so that line numbers stay right.
_WRAPPER = b'<fragments xmlns:svns="http://org.wso2.securevault/configuration">'


@dataclass(slots=True)
class XmlElement:
    """One element: its name and attributes without namespaces, its own text, and the line of its start tag."""

    name: str
    line: int
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[XmlElement] = field(default_factory=list)
    text: str = ""


class _TreeBuilder:
    """Builds the elements from the parser's events."""

    def __init__(self, label: str) -> None:
        self.roots: list[XmlElement] = []
        self._label = label
        self._open: list[XmlElement] = []
        self._parser: expat.XMLParserType | None = None

    def follow(self, parser: expat.XMLParserType) -> None:
        self._parser = parser

    @property
    def line(self) -> int:
        return self._parser.CurrentLineNumber if self._parser else 1

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag.startswith("{" + _XINCLUDE):
            raise ConfigError(f"{self._label}:{self.line}: {_local(tag)}: XInclude is refused in a configuration file")
        if len(self._open) >= MAX_DEPTH:
            raise ConfigError(f"{self._label}:{self.line}: elements are nested deeper than {MAX_DEPTH} levels")
        node = XmlElement(_local(tag), self.line, {_local(name): value for name, value in attributes.items()})
        (self._open[-1].children if self._open else self.roots).append(node)
        self._open.append(node)

    def data(self, text: str) -> None:
        self._open[-1].text += text

    def end(self, tag: str) -> None:
        self._open.pop()

    def close(self) -> list[XmlElement]:
        return self.roots


def read_bytes(path: Path, label: str) -> bytes:
    """Return the content of a configuration file of at most 1 MiB."""
    try:
        if not path.is_file():
            raise ConfigError(f"{label}: no such file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{label}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{label}: larger than {MAX_BYTES} bytes")
    return content


def parse(content: bytes, label: str) -> list[XmlElement]:
    """Return the root elements of a document: one, or several when it is a sequence of fragments.

    Documentation shows configuration as fragments: several elements side by side, or `svns:` attributes without the
    namespace declaration of the whole file. Both are read as if the missing outer element were there.
    """
    try:
        return _parse(content, label)
    except ParseError as error:
        if error.code not in _REPAIRED:
            raise _malformed(error, label) from error
    prolog = _PROLOG.match(content)
    start = prolog.end() if prolog else 0
    lead = content[:start]
    if prolog and prolog[1]:
        # Blank lines before the prolog, which XML forbids, are moved after it.
        lead = prolog[1] + b"\n" * content[: prolog.start(1)].count(b"\n")
    try:
        return _parse(lead + _WRAPPER + content[start:] + b"</fragments>", label)[0].children
    except ParseError as error:
        raise _malformed(error, label) from error


def _parse(content: bytes, label: str) -> list[XmlElement]:
    builder = _TreeBuilder(label)
    parser = DefusedElementTree.DefusedXMLParser(target=builder, forbid_dtd=True)
    builder.follow(parser.parser)
    try:
        parser.feed(content)
        nodes: list[XmlElement] = parser.close()
    except DefusedXmlException as error:
        raise ConfigError(
            f"{label}:{builder.line}: document type definitions and entities are refused in a configuration file"
        ) from error
    except (ValueError, LookupError) as error:
        # The parser does not support the encoding that the prolog names.
        raise ConfigError(f"{label}:{builder.line}: not readable XML: {error}") from error
    return nodes


def _malformed(error: ParseError, label: str) -> ConfigError:
    return ConfigError(f"{label}:{error.position[0]}: not well-formed XML: {expat.ErrorString(error.code)}")


def _local(name: str) -> str:
    return name.rpartition("}")[2]
