"""Several nodes are asked at once; who does not answer holds up nobody."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.node.asking import ask_each
from broker.ports.peer_calls import PeerUnreachable
from tests.support.virtual_loop import in_virtual_time

SECONDS = 2.0
SERVICES: Any = {"deaf": 100.0, "fast": 0.5, "gone": 0.0, "slow": 1.5, "strange": 0.0}


async def ask(node_id: str, service: Any) -> str:
    await asyncio.sleep(service)
    if node_id == "gone":
        raise PeerUnreachable("nobody listens there")
    if node_id == "strange":
        raise ValueError("no JSON")
    return f"{node_id} has answered"


@in_virtual_time
async def test_answers_come_by_node_and_for_each_other_node_the_reason() -> None:
    began = asyncio.get_running_loop().time()

    answers, reasons = await ask_each(SERVICES, ask, SECONDS)

    assert answers == {"fast": "fast has answered", "slow": "slow has answered"}
    assert reasons == {
        "deaf": "it has not answered in time",
        "gone": "nobody listens there",
        "strange": "no JSON",
    }
    assert asyncio.get_running_loop().time() - began == SECONDS
