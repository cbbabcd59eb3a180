"""The fields of a form that a browser has sent, with a file in it or without."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

from broker.management.http.call import HttpRefusal

WITH_FILE: Final = "multipart/form-data"
_PLAIN: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 100
_BOUNDARY: Final = re.compile(r'boundary="?([0-9A-Za-z\'()+_,./:=? -]{1,70})"?')
_NAME: Final = re.compile(r'[; ]name="([^"]*)"')


def require_form(content_type: str) -> None:
    """Raise `HttpRefusal` for what is no form, before anybody reads it."""
    if _kind_of(content_type) not in (_PLAIN, WITH_FILE):
        raise HttpRefusal(415, "unsupported_media_type", "That is not a form.")


def _kind_of(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def fields_of(content_type: str, octets: bytes) -> dict[str, str]:
    """Return the fields by their names; of several with one name the last. Raises `HttpRefusal`."""
    require_form(content_type)
    try:
        if _kind_of(content_type) == WITH_FILE:
            return _parts(content_type, octets)
        text = octets.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="surrogateescape")
    except ValueError:
        raise HttpRefusal(400, "bad_request", "The form cannot be read.") from None
    return dict(pairs)


def _parts(content_type: str, octets: bytes) -> dict[str, str]:
    """Return the fields of RFC 7578. Raises ValueError."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise ValueError("there is no boundary")
    pieces = (b"\r\n" + octets).split(b"\r\n--" + boundary[1].encode(), _MOST_FIELDS + 1)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("it has no end")
    fields = {}
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head.decode("utf-8", "surrogateescape"))
        if not blank or name is None:
            raise ValueError("a part has no name")
        fields[name[1]] = content.decode("utf-8", "surrogateescape")
    return fields
