"""Pages from templates, and the files that they need: all come with the package, and nothing from anywhere else."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE: Final = Path(__file__).parent
_MARK: Final = 12
"""Characters of the files' digest in their addresses: a new version has a new one, so browsers may keep them for ever.
"""


class LiveParts:
    """Stands around the parts of a page that change: `{% call live("rows") %}…{% endcall %}`."""

    def __init__(self) -> None:
        self.html: dict[str, str] = {}

    def __call__(self, name: str, caller: Callable[[], str]) -> str:
        html = self.html[name] = caller()
        return html


class Rendering:
    """Makes pages."""

    def __init__(self, prefix: str, now_ms: Callable[[], int]) -> None:
        """`prefix` stands before all paths."""
        self._prefix = prefix
        self._now_ms = now_ms

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # when the first page is asked for

        environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters |= {
            "octets": octets,
            "number": number,
            "rate": rate,
            "duration": duration,
            "when": when,
            "ago": lambda ms: duration(max(0.0, self._now_ms() / 1000 - ms / 1000)),
            "segment": segment,
        }
        environment.globals |= {"prefix": self._prefix, "static": self.address_of}
        return environment

    def page(self, template: str, values: Mapping[str, Any]) -> bytes:
        """Return a page as UTF-8."""
        text = self._environment.get_template(template).render({**values, "live": LiveParts()})
        return text.encode("utf-8", "replace")

    def parts(self, template: str, values: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the parts of a page that change, by their ids."""
        found = LiveParts()
        self._environment.get_template(template).render({**values, "live": found})
        return found.html

    @cached_property
    def files(self) -> Mapping[str, tuple[bytes, str]]:
        """The files for browsers, with their types, by mark and name."""
        contents = {path.name: path.read_bytes() for path in sorted((_HERE / "static").iterdir())}
        digest = hashlib.sha256(b"".join(contents.values())).hexdigest()[:_MARK]
        return {
            f"{digest}/{name}": (content, mimetypes.guess_type(name)[0] or "application/octet-stream")
            for name, content in contents.items()
        }

    @cached_property
    def _addresses(self) -> Mapping[str, str]:
        return {marked.partition("/")[2]: f"{self._prefix}/static/{marked}" for marked in self.files}

    def address_of(self, name: str) -> str:
        """Return the address of a file for browsers."""
        return self._addresses[name]


def octets(count: float | None) -> str:
    """Return a number of octets in the largest unit of which there is one."""
    if count is None:
        return "–"
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def number(count: float | None) -> str:
    """Return a number with narrow spaces between the thousands."""
    return "–" if count is None else f"{count:,.0f}".replace(",", "\u202f")


def rate(per_second: float | None) -> str:
    """Return how often a second something happens."""
    if per_second is None:
        return "–"
    return f"{number(per_second)}/s" if per_second >= 10 or per_second == 0 else f"{per_second:.1f}/s"


def duration(seconds: float | None) -> str:
    """Return a time in its two largest units."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    left = int(seconds)
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def when(ms: float | None) -> str:
    """Return a time since 1970 as a date (UTC). Clients choose some of them: what no calendar has a date for is told in
    milliseconds.
    """
    if not ms:
        return "–"
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{number(ms)} ms after 1970"


def segment(name: str) -> str:
    """Return a name as a part of a path: its slashes are no path's."""
    return quote(name, safe="", errors="surrogateescape")
