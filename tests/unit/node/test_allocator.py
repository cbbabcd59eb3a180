"""The allocator's thresholds, in a process of their own: they cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource
{set_up}
for _ in range(300):
    blocks = [bytes(256_000) for _ in range(8)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(set_up: str) -> int:
    answer = subprocess.run([sys.executable, "-c", SCRIPT.format(set_up=set_up)], capture_output=True, check=True)
    return int(answer.stdout)


def test_memory_that_is_taken_and_freed_again_is_cleared_by_the_kernel_once() -> None:
    kept = page_faults("from broker.node.allocator import keep_freed_memory; keep_freed_memory()")
    assert kept < page_faults("import broker.node.allocator") / 5
