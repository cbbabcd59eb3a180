"""The page of routes is that of the routes there are."""

from __future__ import annotations

from pathlib import Path

from broker.management.http.reference import reference

PAGE = Path(__file__).parents[4] / "docs" / "http-api-routes.md"


def test_the_page_of_routes_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "run python -m broker.management.http.reference > docs/http-api-routes.md"
