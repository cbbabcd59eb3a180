"""The description of the API says what there is."""

from __future__ import annotations

import re

from broker.management.http.api import ROUTES
from tests.support.http_api import HttpNode


def test_the_document_names_every_route_and_nothing_else() -> None:
    document = HttpNode().get("/openapi.json", user=None)
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert told == {(route.method, f"/api{route.path}") for route in ROUTES}


def test_a_prefix_is_part_of_the_paths() -> None:
    answer = HttpNode(prefix="/mq").ask("GET", "/mq/api/openapi.json", user=None)
    assert answer.status == 200
    assert b'"/mq/api/overview"' in answer.body


def test_names_in_paths_are_parameters_and_operations_have_ids_of_their_own() -> None:
    document = HttpNode().get("/openapi.json")
    ids = []
    for path, methods in document["paths"].items():
        for operation in methods.values():
            ids.append(operation["operationId"])
            names = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert names == set(re.findall(r"\{(\w+)\}", path))
            assert operation["responses"]
    assert len(ids) == len(set(ids))
