"""Writes the routes of the HTTP API into `docs/http-api-routes.md`: `python -m broker.management.http.reference`."""

from __future__ import annotations

import sys
from typing import Final

from broker.management.http.api import ROUTES

_HEAD: Final = """# Routes of the HTTP API

Below `/api`, as `/api/openapi.json` of a node describes them. [The HTTP API](http-api.md) says what they mean,
and who has which tag.

<!-- python -m broker.management.http.reference writes this page -->

| Request | Does | Needs |
|---|---|---|
"""


def reference() -> str:
    """Return the page, in Markdown."""
    lines = [
        f"| `{route.method} {route.path}` | {route.summary} | {route.needs.value} |"
        for route in sorted(ROUTES, key=lambda each: (each.path, each.method))
    ]
    return _HEAD + "\n".join(lines) + "\n"


def main() -> None:
    """Write the page to the output."""
    sys.stdout.write(reference())


if __name__ == "__main__":
    main()
