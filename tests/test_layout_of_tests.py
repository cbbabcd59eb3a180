"""Where tests are: `tests/unit` mirrors `broker/`, and what has no unit test is tested elsewhere on purpose."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[1]
UNIT = PROJECT / "tests" / "unit"
MIRRORED = {"benchmarks": PROJECT / "benchmarks", "support": PROJECT / "tests" / "support"}
"""Folders of `tests/unit` that are about something else than the broker."""

TESTED_ELSEWHERE = {
    "amqp/basic_methods": "as clients see it: test_channel_ack.py, test_channel_subscribe.py and the like",
    "amqp/channel_table": "one dict and a limit: test_connection.py opens and closes channels",
    "amqp/commit": "a transaction's end as a client sees it: test_channel_tx.py",
    "amqp/channel_counts": "what a channel has counted, added up: test_totals.py in unit/management/figures",
    "amqp/publish_counts": "the same of what it has published",
    "amqp/context": "two records without behaviour",
    "amqp/fan_out": "many queues of one publish as clients see them: test_continuation.py, test_channel_length.py",
    "amqp/inspection": "as clients see it: test_channel_publish.py",
    "amqp/handlers": "a table of methods: test_channel.py",
    "amqp/output": "as clients see it: test_connection_flow.py",
    "amqp/publish_watch": "as publishers see it: test_back_pressure.py in unit/server",
    "amqp/publishing": "a publish as a client sees it: test_channel_publish.py, test_channel_confirm.py",
    "amqp/purposes": "what permissions are told: test_permissions.py",
    "amqp/replier": "requests and replies as clients see them: test_direct_reply.py",
    "amqp/route_finder": "what a publish is refused for: test_channel_publish.py; long searches: test_continuation.py",
    "amqp/scheduling": "which messages wait, as a client sees it: test_channel_delayed.py",
    "amqp/topology_methods": "as clients see it: test_channel_queue.py, test_channel_exchange.py and the like",
    "amqp/transaction": "a transaction as a client sees it: test_channel_tx.py",
    "auth/identity": "a record and a protocol: test_users.py has the one, test_handshake_waits.py the other",
    "codec/copies": "as clients see it: test_channel_publish.py",
    "codec/constants": "numbers of the specification: tests/property/test_codec.py compares them with another codec",
    "cli/__main__": "the start of the process: test_program.py runs what it calls",
    "cli/command": "with all commands: test_program.py",
    "cli/commands/*": "each command by its examples: test_program.py",
    "cli/failure": "exit codes: test_program.py",
    "cli/output": "what lists look like: test_program.py",
    "cli/reference": "the documentation is compared: test_program.py",
    "cli/session": "with all commands: test_program.py",
    "config/*": "sections of WSO2's files, which are read as wholes: test_loading*.py, test_configuration*.py",
    "topology/exchange_arguments": "as clients see them: test_channel_deduplication.py in unit/amqp",
    "topology/stream_commands": "as programs see them: test_api_streams.py in unit/management/http",
    "topology/stream_replay": "as programs see it: test_api_streams.py in unit/management/http",
    "topology/firing": "as clients see it: test_channel_delayed.py in unit/amqp",
    "topology/guards": "keys of exchanges as publishers see them: test_channel_deduplication.py in unit/amqp",
    "topology/keys": "which keys a message asks for: test_channel_deduplication.py in unit/amqp",
    "topology/alteration_log": "with what it tells of: test_alteration.py",
    "management/figures/queues_elsewhere": "what a job on dead letters leaves there: tests/cluster/test_operators.py",
    "management/operated": "records and a protocol: test_operations.py",
    "topology/missing_exchanges": "as programs see it: test_api_operators.py in unit/management/http",
    "topology/argument_changes": "as programs see it: test_altering.py in unit/management/http",
    "queue/wanted_values": "phrases of refusals: test_queue_arguments.py, test_channel_streams.py in unit/amqp",
    "topology/letter": "records: test_dead_letters.py, test_dead_letter_channels.py",
    "topology/death_notes": "headers and circles of dead letters: test_dead_letters.py and test_channel_dead_*.py",
    "coordination/membership/requests": "requests of an agent that stay without an answer: test_agent.py",
    "coordination/membership/row_keeper": "how a node registers: test_agent.py, tests/contract/test_cluster_agents.py",
    "coordination/membership/view": "a protocol, and the view of the store: test_agent.py",
    "coordination/membership/waiting": "one function, which all of an agent waits with: test_agent.py",
    "coordination/peering/link": "nodes that meet over sockets: test_calls.py",
    "coordination/peering/se*": "who is admitted, and what stays hidden: test_calls.py",
    "coordination/replication/orphans": "several nodes are needed: test_replicator.py, tests/cluster",
    "management/figures/exchanges": "a record of figures: test_overview.py, test_totals.py",
    "management/figures/history": "a protocol and what stands in its place: test_overview.py",
    "management/figures/messages": "names of counts: test_totals.py, test_queues.py",
    "management/figures/nodes": "a record of figures: test_overview.py",
    "management/figures/pages": "lists for other nodes: test_merging.py",
    "management/metrics/exposition": "what is written: test_scrape.py",
    "management/metrics/groups": "what is told of objects: test_scrape.py",
    "management/metrics/node": "what is told of the node: test_scrape.py",
    "management/metrics/own": "what is told of the store and the cluster: test_scrape.py",
    "management/figures/view": "what figures are made of: test_queues.py and its like",
    "management/console/[apr]*": "pages and forms as people see them: test_site.py",
    "management/console/changes": "forms of administration as people see them: test_site.py",
    "management/console/fields": "what numbers are: test_site.py",
    "management/console/lists": "pages of lists: test_site.py",
    "management/console/charts": "series of figures: test_rendering.py",
    "management/console/sessions": "logins and how they end: test_site.py",
    "management/http/found_messages": "what is told of messages: test_finding.py",
    "management/http/local": "what may open the control socket may do everything: test_program.py, test_brokerctl.py",
    "management/http/node_view": "records and protocols",
    "management/http/access": "each route with each kind of user: test_api.py",
    "management/http/[abdefhmnopqsuv]*": "as programs see it: test_api*.py in unit/management/http",
    "node/*": "the process itself: tests/integration, tests/cluster, test_main.py",
    "ports/*": "protocols and values without behaviour: tests/contract holds every implementation to them",
    "codec/message_group": "which group a message belongs to: test_channel_groups.py in unit/amqp",
    "queue/group_*": "groups as consumers see them: test_channel_groups.py in unit/amqp, property/test_groups.py",
    "queue/grouped_*": "the same, with what is in memory and in slots",
    "queue/metered": "limits as consumers see them: test_channel_delivery_limits.py in unit/amqp",
    "queue/values": "what numbers are: test_settings.py, test_deduplication.py",
    "queue/admission": "what fits into a queue, as clients see it: test_channel_length.py in unit/amqp",
    "queue/counts": "what queues count: test_queues.py in unit/management/figures",
    "queue/stock": "what lies in a queue: test_queues.py in unit/management/figures",
    "queue/pages": "what is shown of queues: test_api_own.py, test_dead_letter_channels.py",
    "queue/outcome": "names of what can become of a message: test_queue.py",
    "queue/ready_messages": "the part of a window in memory: test_window.py, test_retention.py",
    "queue/selecting": "as consumers see it: tests/unit/amqp/test_channel_selectors.py",
    "queue/making": "which class a queue has: test_channel_streams.py, test_channel_priority.py in unit/amqp",
    "queue/stream_[qt]*": "a stream as clients see it: test_channel_streams.py in unit/amqp",
    "queue/services": "protocols: test_queue.py and test_channel_ttl.py in unit/amqp",
    "selector/syntax": "records, measured in test_parser.py",
    "selector/values": "what conditions are made of: test_compiler_conformance.py",
    "store/stream_rows": "segments and retention in every store: test_streams.py in tests/contract",
    "store/carbon/*": "tables of WSO2's: test_carbon_tables.py, test_carbon_registry.py in tests/contract",
    "store/journal_limits": "bounds and counters without behaviour: test_journal.py",
    "store/memory/*": "a store: tests/contract",
    "store/server/*": "a store: tests/contract, and the faults of servers in tests/integration",
    "store/sql/*": "what the stores share: tests/contract",
    "store/sqlite/*": "a store: tests/contract",
    "store/wso2/*": "tables of WSO2's: test_wso2_tables.py in tests/contract, test_wso2_migration.py in integration",
    "thrift/connection": "an open socket: test_client.py, test_server.py",
    "thrift/idl": "types of the protocol: test_convert.py",
    "topology/commands": "as an administrator sees them: test_admin.py",
    "topology/exchange_types/direct_by_name": "as publishers see it: tests/unit/amqp/test_wso2_methods.py",
    "topology/dialect": "flags: tests/unit/amqp/test_wso2_methods.py shows what each does",
    "topology/redrive_commands": "as programs see them: test_redrives.py in unit/management/http",
    "topology/counts": "integers: test_totals.py in unit/management/figures",
    "topology/definitions_import": "with the export: test_definitions.py",
    "topology/import_target": "what an import does: test_definitions.py",
    "topology/json_form": "what an export has: test_definitions.py",
    "topology/first_start": "with what administrators change: test_administration.py",
    "topology/binding": "a part of an exchange: test_exchange.py, test_routing.py",
    "topology/namespace": "what a virtual host is made of: test_vhost.py",
    "topology/replay": "what a new binding brings: tests/unit/amqp/test_channel_exchange_types.py",
    "topology/snapshot": "the whole topology: test_apply.py, test_diff.py",
    "topology/subscriptions": "who consumes on which node: test_consumers.py",
}


@cache
def modules_of(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*.py"))
    return {path.with_suffix("").as_posix() for path in paths if path.name != "__init__.py"}


MODULES = modules_of(PROJECT / "broker")
TESTS = sorted(path.relative_to(UNIT).as_posix() for path in UNIT.rglob("test_*.py"))


def module_of(test: str, modules: set[str]) -> str | None:
    """Return the module that `folder/test_<module>.py` or `folder/test_<module>_<aspect>.py` is about."""
    folder, _, name = test.rpartition("/")
    subject = name.removeprefix("test_").removesuffix(".py")
    found = [
        module
        for module in modules
        if module.rpartition("/")[0] == folder and f"{subject}_".startswith(f"{module.rpartition('/')[2].strip('_')}_")
    ]
    return max(found, key=len, default=None)


def has_a_module(test: str) -> bool:
    top, _, rest = test.partition("/")
    return module_of(*((rest, modules_of(MIRRORED[top])) if top in MIRRORED else (test, MODULES))) is not None


def test_every_unit_test_is_named_after_a_module_in_the_same_folder() -> None:
    assert [test for test in TESTS if not has_a_module(test)] == []


def test_every_module_has_a_unit_test_or_a_reason_for_having_none() -> None:
    untested = MODULES - {module_of(test, MODULES) for test in TESTS}
    assert {module for module in untested if not any(fnmatch(module, known) for known in TESTED_ELSEWHERE)} == set()


def test_every_reason_is_about_a_module_without_a_unit_test() -> None:
    untested = MODULES - {module_of(test, MODULES) for test in TESTS}
    assert [known for known in TESTED_ELSEWHERE if not any(fnmatch(module, known) for module in untested)] == []


def test_every_test_that_a_reason_names_is_there() -> None:
    here = [path.name for path in (PROJECT / "tests").rglob("test_*.py")]
    named = (name for reason in TESTED_ELSEWHERE.values() for name in re.findall(r"test_[a-z_*]+\.py", reason))
    assert [name for name in named if not any(fnmatch(each, name) for each in here)] == []
