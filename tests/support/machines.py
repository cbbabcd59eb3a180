"""How a state machine is run: many times, without Hypothesis' limits on time.

Knows Hypothesis; knows no machine.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run_machine(machine: type[RuleBasedStateMachine], runs: int, steps: int, *, derandomize: bool) -> None:
    """Run `machine` so many times with so many steps; derandomized, always the same ones."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            deadline=None,
            derandomize=derandomize,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
