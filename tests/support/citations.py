"""Citations: `contract X7`, `invariant I52`, `andes §4.1`, `ADR 14`, `0-9-1 §4.2.3`, in every file.

Knows their forms and those that are no more; asks a `Library` what there is.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from typing import Final

from tests.support.library import (
    CONTRACT,
    INVARIANTS,
    TAG,
    Fault,
    Library,
    blanked,
    line_of,
    without_fences,
)

# A citation may go on in the next line, in a comment behind its sign.
_GAP: Final = r"(?:[ ]|[ \t]*\n[ \t]*(?:\#[ ]|\*[ ])?)"
_SECTION: Final = r"§[0-9]+(?:\.[0-9]+)*"


def _listed(item: str) -> str:
    return rf"{item}(?:(?:,{_GAP}|{_GAP}(?:and|or|to){_GAP}){item})*"


_CITATION: Final = re.compile(
    rf"\b(?:(?P<word>[Cc]ontract|[Ii]nvariants?){_GAP}(?P<tags>{_listed(TAG)})"
    rf"|(?P<document>andes|0-9-1){_GAP}(?P<sections>{_listed(_SECTION)})"
    rf"|ADR{_GAP}(?P<decision>[0-9]+))(?![\w§])"
)
_ITEM: Final = re.compile(rf"(?P<to>\bto{_GAP})?(?P<item>{TAG}|{_SECTION})")
_BARE: Final = re.compile(rf"(?<![\w.,&$@{{}}/\-\"']){TAG}(?![\w./\-(\"'])")
_DEFINED: Final = re.compile(rf"^\| (?:{TAG}|{_SECTION}) \|", re.M)
_INVARIANT: Final = re.compile(r"\bI[0-9]{1,2}\b")

WORDS: Final = frozenset({"H2"})
"""Names that look like a tag."""

_HOMES: Final = {CONTRACT: "contract", "docs/conformance.md": "contract", INVARIANTS: "invariant"}
"""Documents whose tags need no word before them."""

_OLD: Final = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (r"\breliability(?:\.md\b|\s+§)", "cite an invariant or a decision"),
        (r"\bamqp-contract\b|\b[Cc]ontract\s+§", "cite a row: contract X7"),
        (r"\bandes\.md\s+§|\bAndes\s+§", "write andes §4.1"),
        (r"\bdesign(?:\.md\b|\s+§)", "cite a decision: ADR 6"),
        (r"\bdecisions? [0-9]+\b", "write ADR 6"),
        (r"\bhouse[ -](?:rules?|style)\b|\b(?:house-style|layout|ecosystem|anchors|andes-jms|carbon-users)\.md\b",
         "cite CONTRIBUTING.md or a decision"),
        (r"\bS-[0-9]+\b", "cite an invariant"),
        (r"\((?:test|row|table) [0-9]+\.[0-9A-Z]+\)|\b(?:tests|rows|table) [0-9]+\.[0-9A-Z]+", "there is no such list"),
    )
)  # fmt: skip

_SUSPECT: Final = re.compile("|".join(("§", _BARE.pattern, *(pattern.pattern for pattern, _ in _OLD))))

_BETWEEN: Final = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
_SILENT: Final = (tokenize.COMMENT, tokenize.NL)


def wrong_citations(path: str, text: str, library: Library) -> Iterator[Fault]:
    """Yield every citation in the file that leads nowhere or has another form than those above."""
    for match in _CITATION.finditer(text):
        for shown, why in _unresolved(match, library):
            yield Fault(path, line_of(text, match.start()), shown, why)
    if path.endswith(".py"):
        for match in _INVARIANT.finditer(text):
            if match[0] not in library.invariants:
                yield Fault(path, line_of(text, match.start()), match[0], "there is no such invariant")
    rest = blanked(_prose(path, text), _CITATION)
    for pattern, why in _OLD:
        for match in pattern.finditer(rest):
            yield Fault(path, line_of(text, match.start()), match[0], why)
        rest = blanked(rest, pattern)
    rest = blanked(rest, _DEFINED)
    for match in re.finditer("§", rest):
        yield Fault(path, line_of(text, match.start()), "§", "write whose section it is: andes §4.1, 0-9-1 §4.2.3")
    yield from _bare_tags(path, rest, library)


def _unresolved(match: re.Match[str], library: Library) -> Iterator[tuple[str, str]]:
    if match["decision"]:
        if int(match["decision"]) not in library.decisions:
            yield match[0], "there is no such decision"
        return
    is_contract = bool(match["word"]) and match["word"].lower() == "contract"
    known = (
        {f"§{each}" for each in (library.andes if match["document"] == "andes" else library.specification)}
        if match["document"]
        else library.rows if is_contract else library.invariants
    )  # fmt: skip
    last = ""
    for each in _ITEM.finditer(match["tags"] or match["sections"]):
        item = each["item"]
        wanted = _between(last, item) if each["to"] and not match["document"] else [item]
        for missing in (one for one in wanted if one not in known):
            yield f"{match['word'] or match['document']} {missing}", "there is none"
        if not wanted:
            yield f"{last} to {item}", "a range goes up within one letter"
        last = item


def _between(first: str, last: str) -> list[str]:
    """Return the tags after `first` up to `last`."""
    if first[:1] != last[:1] or int(first[1:]) >= int(last[1:]):
        return []
    return [f"{last[0]}{number}" for number in range(int(first[1:]) + 1, int(last[1:]) + 1)]


def _prose(path: str, text: str) -> str:
    """Return what people read in a file: all of it but code."""
    if path.endswith(".py"):
        return prose_of(text) if _SUSPECT.search(text) else ""
    return without_fences(text) if path.endswith(".md") else text


def _bare_tags(path: str, text: str, library: Library) -> Iterator[Fault]:
    """Yield tags that do not say what they are tags of."""
    if not path.endswith((".py", ".md")):
        return
    home = _HOMES.get(path)
    known = library.rows if home == "contract" else library.invariants if home else frozenset[str]()
    for match in _BARE.finditer(text):
        if match[0] not in known | WORDS:
            why = "there is none" if home else "write contract or invariant before it"
            yield Fault(path, line_of(text, match.start()), match[0], why)


@cache
def prose_of(source: str) -> str:
    """Return comments and docstrings of a module, each in its line; the rest is blank."""
    lines = source.split("\n")
    kept = [" " * len(line) for line in lines]
    is_first = True  # of its statement
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and is_first):
            (first, start), (last, end) = token.start, token.end
            for row in range(first - 1, last):
                begin, stop = start if row == first - 1 else 0, end if row == last - 1 else len(lines[row])
                kept[row] = kept[row][:begin] + lines[row][begin:stop] + kept[row][stop:]
        if token.type not in _SILENT:
            is_first = token.type in _BETWEEN
    return "\n".join(kept)
