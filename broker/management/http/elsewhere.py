"""What the other nodes of the cluster have, in answers of this one."""

from __future__ import annotations

from typing import Final

from broker.management.figures.merging import Elsewhere
from broker.management.http.call import HttpAnswer

SILENT: Final = "X-Silent-Nodes"
"""The header of an answer that names nodes whose figures are not in it, because they have not answered in time."""


def partly(answer: HttpAnswer, elsewhere: Elsewhere) -> HttpAnswer:
    """Say in an answer which nodes are missing in it."""
    if elsewhere.silent:
        answer.headers[SILENT] = ",".join(elsewhere.silent)
    return answer
