"""One node, with RabbitMQ's keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from broker.broker import PRODUCT
from broker.management.figures import totals
from broker.management.figures.history import NO_SAMPLES, SampleSpans, with_details
from broker.management.figures.overview import exchange_types
from broker.management.figures.view import NodeView

_LONGEST_UPTIME: Final = (1 << 32) - 1
"""Milliseconds: some programs read 32 bits."""
_COUNTED_BY_ERLANG: Final = (
    "gc_num",
    "gc_bytes_reclaimed",
    "context_switches",
    "io_read_count",
    "io_read_bytes",
    "io_read_avg_time",
    "io_write_count",
    "io_write_bytes",
    "io_write_avg_time",
    "io_sync_count",
    "io_sync_avg_time",
    "io_seek_count",
    "io_seek_avg_time",
    "io_reopen_count",
    "mnesia_ram_tx_count",
    "mnesia_disk_tx_count",
    "msg_store_read_count",
    "msg_store_write_count",
    "queue_index_write_count",
    "queue_index_read_count",
)
"""What RabbitMQ tells of its runtime and its files, and programs that were written for it read: always 0 here."""
_AVERAGES: Final = tuple(name for name in _COUNTED_BY_ERLANG if name.endswith("avg_time"))


USED: Final = ("mem_used", "fd_used", "sockets_used", "proc_used", "disk_free")


def used_figures(view: NodeView) -> dict[str, int]:
    """Return what the node uses of its machine, as far as it has a history."""
    machine = view.machine()
    return {
        "mem_used": machine.memory_used,
        "fd_used": machine.descriptors_used,
        "sockets_used": len(view.connections()),
        "proc_used": sum(1 for _ in view.channels()),
        "disk_free": machine.disk_free,
    }


def node_figures(view: NodeView, spans: SampleSpans = NO_SAMPLES) -> dict[str, Any]:
    """Return what `/api/nodes/{name}` has of this node."""
    machine, history, span = view.machine(), view.history, spans.node_stats
    still = dict.fromkeys(_COUNTED_BY_ERLANG, 0) | dict.fromkeys(_AVERAGES, 0.0)
    return {
        "partitions": [],
        "os_pid": str(machine.process_id),
        "fd_total": machine.descriptors_total,
        "sockets_total": machine.sockets_total,
        "mem_limit": machine.memory_limit,
        "mem_alarm": machine.is_memory_short,
        "disk_free_limit": machine.disk_limit,
        "disk_free_alarm": machine.is_disk_short,
        "proc_total": 1_048_576,
        "rates_mode": "basic",
        "uptime": min(view.now_ms() - view.started_ms, _LONGEST_UPTIME),
        "run_queue": 0,
        "processors": machine.processors,
        "exchange_types": exchange_types(),
        "auth_mechanisms": [
            {"name": name, "description": f"SASL {name}", "enabled": True} for name in ("PLAIN", "AMQPLAIN")
        ],
        "applications": [{"name": "rabbit", "description": PRODUCT, "version": view.api_version}],
        "contexts": [],
        "log_files": ["<stdout>"],
        "db_dir": "",
        "config_files": list(view.config_files),
        "net_ticktime": 60,
        "enabled_plugins": ["rabbitmq_management", "rabbitmq_prometheus"],
        "mem_calculation_strategy": "rss",
        "ra_open_file_metrics": {"ra_log_wal": 0, "ra_log_segment_writer": 0},
        "name": view.name,
        "type": "disc",
        "running": True,
        "being_drained": view.being_drained or bool(view.broker.refusal),  # no clients are taken
        **with_details(used_figures(view), history, view, span),
        **with_details(still, history, view, span),
        **with_details(totals.churn(view), history, view, span),
        "cluster_links": [],
        "metrics_gc_queue_length": {
            "connection_closed": 0,
            "channel_closed": 0,
            "consumer_deleted": 0,
            "exchange_deleted": 0,
            "queue_deleted": 0,
            "vhost_deleted": 0,
            "node_node_deleted": 0,
            "channel_consumer_deleted": 0,
        },
    }


def attempt_rows(view: NodeView) -> Iterator[dict[str, Any]]:
    """Yield how many logins there were, by protocol."""
    for protocol, counts in sorted(view.broker.logins.items(), reverse=True):
        yield {
            "protocol": protocol,
            "auth_attempts": counts.succeeded + counts.failed,
            "auth_attempts_failed": counts.failed,
            "auth_attempts_succeeded": counts.succeeded,
        }
