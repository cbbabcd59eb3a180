"""How a node and its cluster are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from broker.cli.command import BrokerCommand, command
from broker.cli.failure import EX_OK, EX_UNAVAILABLE
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_CHECKS: Final = {
    "alarms": "/health/checks/alarms",
    "store": "/health/checks/store",
    "virtual hosts": "/health/checks/virtual-hosts",
    "in service": "/health/checks/is-in-service",
    "certificates": "/health/checks/certificate-expiration/2/weeks",
}
_ALL: Final = {**_CHECKS, "messages": "/aliveness-test/%2F"}
_BY_NAME: Final = {
    **{name.replace(" ", "_"): path for name, path in _ALL.items()},
    "local_alarms": "/health/checks/local-alarms",
}
_NODES: Final = ("name", "coordinator", "running", "host", "port", "uptime", "mem_used", "fd_used", "sockets_used")
_PATHS: Final = {"coordinator": "broker.coordinator", "host": "broker.host", "port": "broker.port"}


@command("status", "show overview", "node status", example="brokerctl status")
def status(session: CommandSession) -> None:
    """Show the node at a glance."""
    overview = session.get("/overview")
    nodes = session.rows("/nodes")
    own = next((each for each in nodes if each["name"] == overview["node"]), {})
    code, service = session.ask("GET", _CHECKS["in service"])
    if code not in (200, 503):
        session.send("GET", _CHECKS["in service"])
    refusal = (service or {}).get("reason", "") if code == 503 else ""
    shown = {**overview, "nodes": nodes, "refuses_clients": refusal}
    session.show(shown, _status(overview, nodes, own, refusal))


def _status(
    overview: Mapping[str, Any], nodes: list[dict[str, Any]], own: Mapping[str, Any], refusal: str
) -> Iterator[tuple[str, Any]]:
    yield "node", overview["node"]
    yield "cluster", overview["cluster_name"]
    yield "version", overview.get("product_version", overview["rabbitmq_version"])
    yield "store", own.get("db_dir", "")
    yield "uptime", _span(own.get("uptime", 0))
    yield "memory", f"{own.get('mem_used', 0) / 2**20:.0f} MiB"
    alarms = [kind for kind, key in (("memory", "mem_alarm"), ("disk", "disk_free_alarm")) if own.get(key)]
    yield "alarms", ", ".join(alarms) or "none"
    yield "takes clients", f"no: {refusal}" if refusal else "yes"
    yield "nodes", len(nodes)
    for name, count in overview["object_totals"].items():
        yield name, count
    for name in ("messages", "messages_ready", "messages_unacknowledged"):
        yield name, overview["queue_totals"].get(name, 0)
    for each in overview["listeners"]:
        yield f"listens: {each['protocol']}", f"{each['ip_address']}:{each['port']}"


def _span(milliseconds: int) -> str:
    minutes, seconds = divmod(milliseconds // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24} d {hours % 24} h {minutes} min {seconds} s"


@command("ping", "check_running", "is_running", example="brokerctl ping")
def ping(session: CommandSession) -> None:
    """Succeed if the node answers; exit code 69 if not."""
    session.get("/whoami")
    session.say(f"{session.way.name} answers")


@command(
    "check",
    "node_health_check",
    "health_check",
    example=("brokerctl check", "brokerctl check --all --json", "brokerctl health_check local_alarms"),
)
@click.option("--all", "all_of_them", is_flag=True, help="let a message go through, too")
@click.argument("names", nargs=-1, type=click.Choice(tuple(_BY_NAME)), metavar="[NAME]...")
def check(session: CommandSession, names: tuple[str, ...], all_of_them: bool) -> int:
    """Check alarms, the store, certificates and more, or what is named: alarms, local_alarms, store, virtual_hosts,
    in_service, certificates, messages. Exit code 69 when something is wrong."""
    if names and all_of_them:
        raise click.UsageError("name checks or say --all, not both")
    checks = {name: _BY_NAME[name] for name in names}
    return _run_checks(session, checks or (_ALL if all_of_them else _CHECKS))


def _run_checks(session: CommandSession, checks: Mapping[str, str]) -> int:
    rows = []
    for name, path in checks.items():
        code, found = session.ask("GET", path)
        if code not in (200, 503):
            session.send("GET", path)
        rows.append(
            {"check": name, "ok": code == 200, "reason": (found or {}).get("reason", "") if code != 200 else ""}
        )
    session.show_rows(rows, ("check", "ok", "reason"))
    return EX_OK if all(row["ok"] for row in rows) else EX_UNAVAILABLE


def _single(name: str, path: str, text: str) -> BrokerCommand:
    @command(name, example=f"brokerctl {name}")
    def run(session: CommandSession) -> int:
        return _run_checks(session, {name.removeprefix("check_"): path})

    run.help = text
    return run


@command("check_port_listener", example="brokerctl check_port_listener 5672")
@click.argument("port", type=click.IntRange(1, 65535))
def check_port(session: CommandSession, port: int) -> int:
    """Check that the node listens on a port."""
    return _run_checks(session, {f"port {port}": f"/health/checks/port-listener/{port}"})


@command("check_protocol_listener", example="brokerctl check_protocol_listener amqp")
@click.argument("protocol")
def check_protocol(session: CommandSession, protocol: str) -> int:
    """Check that the node listens for a protocol: amqp, amqps, http, https."""
    return _run_checks(session, {protocol: f"/health/checks/protocol-listener/{escaped(protocol)}"})


@command("check_certificate_expiration", example="brokerctl check_certificate_expiration --within 1 --unit months")
@click.option("--within", type=click.IntRange(1), default=2, show_default=True, help="how many")
@click.option(
    "--unit",
    type=click.Choice(("days", "weeks", "months", "years")),
    default="weeks",
    show_default=True,
    help="of what",
)
def check_certificates(session: CommandSession, within: int, unit: str) -> int:
    """Check that no certificate of the node ends soon."""
    return _run_checks(session, {"certificates": f"/health/checks/certificate-expiration/{within}/{unit}"})


@command(
    "cluster_status",
    "nodes",
    "nodes ls",
    "nodes list",
    "node ls",
    example=("brokerctl cluster_status", "brokerctl nodes list name coordinator"),
)
@click.argument("columns", nargs=-1)
def cluster_status(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List the living nodes, and which of them coordinates."""
    session.show_rows(session.rows("/nodes"), _NODES, columns, _PATHS, title="Cluster status of node")


@command("listeners", example="brokerctl listeners")
def listeners(session: CommandSession) -> None:
    """List where the node listens."""
    rows = session.get("/overview")["listeners"]
    session.show_rows(rows, ("protocol", "ip_address", "port"))


@command("timeline", "cluster timeline", example="brokerctl timeline --limit 20")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="how many")
def timeline(session: CommandSession, limit: int) -> None:
    """Show which nodes came, went and coordinated, the newest first."""
    rows = session.send("GET", "/broker/timeline", limit=str(limit))
    session.show_rows(rows, ("happened_ms", "kind", "node_id", "member_id"))


_SLOT: Final = ("vhost", "queue", "lane", "start", "end", "messages")


@command("list_slots", "slots ls", "cluster slots", example="brokerctl slots ls")
@click.argument("columns", nargs=-1)
def slots(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List the slots of messages in the store that nodes serve."""
    session.show_rows(session.rows("/broker/slots"), _SLOT, columns)


@command("slots", "slots show", example="brokerctl slots orders", of_vhost=True, completes={"queue": "queues"})
@click.argument("queue", required=False)
def slots_of_queue(session: CommandSession, queue: str | None) -> None:
    """List the slots of a queue, and which node serves them; without a queue all, as list_slots does."""
    if queue is None:
        session.show_rows(session.rows("/broker/slots"), _SLOT)
        return
    vhost = escaped(session.vhost)
    what = f"queue '{queue}' in vhost '{session.vhost}'"
    session.send("GET", f"/queues/{vhost}/{escaped(queue)}", what=what, columns="name")
    rows = session.rows(f"/broker/slots/{vhost}")
    session.show_rows([row for row in rows if row["queue"] == queue], _SLOT)


COMMANDS: Final = (
    status,
    ping,
    check,
    _single("check_alarms", _CHECKS["alarms"], "Check that no node has an alarm."),
    _single("check_local_alarms", "/health/checks/local-alarms", "Check that this node has no alarm."),
    _single(
        "check_in_service", _CHECKS["in service"], "Check that this node takes clients: one that is drained does not."
    ),
    _single("check_virtual_hosts", _CHECKS["virtual hosts"], "Check that all virtual hosts run."),
    check_port,
    check_protocol,
    check_certificates,
    cluster_status,
    listeners,
    timeline,
    slots,
    slots_of_queue,
)
