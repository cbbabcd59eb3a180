"""What the other nodes of the cluster have, in answers of this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from broker.management.figures.merging import Elsewhere
from broker.management.http.call import HttpAnswer

SILENT: Final = "X-Silent-Nodes"
"""The header of an answer that names nodes whose figures are not in it, because they have not answered in time."""


def partly(answer: HttpAnswer, elsewhere: Elsewhere) -> HttpAnswer:
    """Say in an answer which nodes are missing in it."""
    return named_silent(answer, elsewhere.silent)


def named_silent(answer: HttpAnswer, silent: Sequence[str]) -> HttpAnswer:
    """Name the nodes in an answer that have not answered."""
    if silent:
        answer.headers[SILENT] = ",".join(silent)
    return answer
