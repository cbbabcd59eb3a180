"""The modules in which a silent mistake loses messages, and the tests that must notice a change of each."""

from __future__ import annotations

from typing import Final

_CLIENT: Final = ("tests/unit/amqp",)
_MACHINE: Final = "tests/property/test_queue_machine.py::test_clients_see_what_the_contract_promises[memory]"
_QUEUE: Final = ("tests/unit/queue", "tests/unit/amqp", _MACHINE)
_SLOTS: Final = (
    "tests/unit/coordination/slots",
    "tests/simulation/test_slots.py::test_a_thousand_schedules_of_faults_break_no_invariant[0]",
)
_ELECTION: Final = (
    "tests/unit/coordination/membership",
    "tests/simulation/test_election.py::test_late_replies_let_no_two_nodes_believe_in_power",
    "tests/simulation/test_election.py::test_after_a_crash_there_is_a_new_coordinator_within_15_5_seconds",
    "tests/simulation/test_election.py::test_after_a_graceful_stop_nobody_waits_for_silence",
    "tests/simulation/test_election.py::test_the_first_coordinator_of_a_new_cluster_leads_at_once",
)
_ROWS: Final = (
    "tests/contract/test_cluster_rows.py",
    "tests/contract/test_cluster_store.py",
    "tests/contract/test_member_store.py",
    "tests/contract/test_node_store.py",
    "tests/contract/test_event_store.py",
    "tests/contract/test_slot_store.py",
    "tests/contract/test_message_store.py",
    "tests/contract/test_batches.py",
    "tests/contract/test_hung_nodes.py",
    "tests/contract/test_expirations.py",
    "tests/contract/test_deduplication_keys.py",
    "tests/unit/store/server",
)
_SECRET: Final = ("tests/unit/thrift",)

TARGETS: Final[dict[str, tuple[str, ...]]] = {
    "broker/queue/queue.py": _QUEUE,
    "broker/queue/queue_slots.py": _QUEUE,
    "broker/queue/queue_turns.py": _QUEUE,
    "broker/queue/deadlines.py": _QUEUE,
    "broker/queue/expiry.py": _QUEUE,
    "broker/queue/window.py": _QUEUE,
    "broker/queue/ready_messages.py": _QUEUE,
    "broker/queue/dispatcher.py": _QUEUE,
    "broker/queue/slot_list.py": _QUEUE,
    "broker/store/journal.py": ("tests/unit/store", "tests/unit/amqp", _MACHINE),
    "broker/coordination/membership/election.py": _ELECTION,
    "broker/coordination/slots/assignment.py": _SLOTS,
    "broker/coordination/slots/demand.py": _SLOTS,
    "broker/coordination/slots/balancer.py": _SLOTS,
    "broker/coordination/slots/handoff.py": _SLOTS,
    "broker/coordination/slots/split.py": _SLOTS,
    "broker/coordination/slots/owned.py": _SLOTS,
    "broker/amqp/deliveries.py": _CLIENT,
    "broker/amqp/frame_reader.py": (*_CLIENT, "tests/property/test_chunking.py"),
    "broker/topology/routing.py": ("tests/unit/topology", "tests/unit/amqp"),
    "broker/store/sql/fencing.py": _ROWS,
    "broker/store/server/postgresql.py": _ROWS,
    "broker/store/server/mysql_statements.py": _ROWS,
    "broker/thrift/secret.py": _SECRET,
    "broker/thrift/session.py": _SECRET,
}
