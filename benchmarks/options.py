"""The command line of `python -m benchmarks`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.address import Address

DEFAULT_CASE = "headline"
SUBJECT = "cordillera"


@dataclass(frozen=True, slots=True)
class Place:
    """The address of a running broker to measure, its name and its process id if given."""

    name: str
    address: Address
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, where and how often."""

    cases: tuple[str, ...]
    subject: Place | None
    peers: tuple[Place, ...]
    rounds: int
    seconds: float
    pin: bool
    max_noise: float
    patience: float
    only: str
    count: int
    size: int
    connections: int
    queues: int
    data_dir: Path | None
    store: str
    output: Path


def parse_place(text: str, default_name: str, pid: int | None) -> Place:
    """Parse `amqp://...` or `name=amqp://...`."""
    name, equals, url = text.partition("=")
    if not equals or "://" in name:
        name, url = default_name, text
    return Place(name, Address.parse(url), pid)


def parse(arguments: Sequence[str], cases: dict[str, str]) -> Options:
    """Parse the command line; `cases` maps each case to its one-line description."""
    parser = _parser(cases)
    given = parser.parse_args(arguments)
    unknown = [case for case in given.case if case not in cases and case != "all"]
    if unknown:
        parser.error(f"no case '{unknown[0]}': choose from {', '.join(cases)}, all")
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    pids = given.peer_pid + [None] * len(given.peer)
    try:
        subject = parse_place(given.url, SUBJECT, given.pid) if given.url else None
        peers = tuple(parse_place(text, f"peer{n or ''}", pids[n]) for n, text in enumerate(given.peer))
    except ValueError as error:
        parser.error(str(error))
    names = tuple(cases) if "all" in given.case else tuple(dict.fromkeys(given.case or [DEFAULT_CASE]))
    return Options(
        names,
        subject,
        peers,
        given.rounds,
        given.seconds,
        given.pin,
        given.max_noise,
        given.patience,
        given.only,
        given.count,
        given.size,
        given.connections,
        given.queues,
        given.data_dir,
        given.store,
        given.output,
    )


def _parser(cases: dict[str, str]) -> argparse.ArgumentParser:
    width = max(map(len, cases))
    listed = "\n".join(f"  {name:<{width}}  {text}" for name, text in cases.items())
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure this broker, alone or beside a peer, with load from separate processes.",
        epilog=f"cases (default: {DEFAULT_CASE}):\n{listed}\n  {'all':<{width}}  every case above",
    )
    add = parser.add_argument
    add("case", nargs="*", help="what to measure, see below")
    add(
        "--url",
        metavar="[NAME=]URL",
        help="measure this running broker; without it one is started on a temporary directory",
    )
    add("--pid", type=int, help="process of --url, for its memory and CPU; found by port if it is local")
    add(
        "--peer",
        action="append",
        default=[],
        metavar="[NAME=]URL",
        help="measure another broker in the same run, in turn with ours; may be given more than once",
    )
    add("--peer-pid", type=int, action="append", default=[], help="process of the peer, in the order of --peer")
    add("--rounds", type=int, default=3, help="runs per broker and row; medians are printed (default 3)")
    add("--seconds", type=float, default=4.0, help="how long publishers publish in one run (default 4)")
    add(
        "--pin",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="our broker on core 0, the load on core 1 (default; peers are pinned by who starts them)",
    )
    add(
        "--max-noise",
        type=float,
        default=15.0,
        metavar="PERCENT",
        help="repeat a run, at most four times, while other processes take more of our broker's core (default 15)",
    )
    add("--patience", type=float, default=10.0, help="seconds to wait before a run until others are quiet (default 10)")
    add("--only", default="", metavar="TEXT", help="only rows whose name contains this")
    add("--count", type=int, default=1_000_000, help="messages of backlog and restart (default 1000000)")
    add("--size", type=int, default=1024, help="octets per message of backlog and restart (default 1024)")
    add("--connections", type=int, default=1_000, help="idle connections of memory (default 1000)")
    add("--queues", type=int, default=10_000, help="empty queues of memory (default 10000)")
    add("--data-dir", type=Path, help="where the started broker's temporary directory is made")
    add("--store", default="", metavar="URL", help="database of the started broker, empty at first (default SQLite)")
    add("--output", type=Path, default=Path(__file__).parent / "results", help="parent of the result directory")
    return parser
