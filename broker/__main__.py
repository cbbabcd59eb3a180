"""The command line: arguments, signals, banner, exit code.

`python -m broker --config conf/broker.xml`. Heavy modules are imported late so that `--help` is instant.
"""

from __future__ import annotations

import time

_STARTED_AT = time.monotonic()

import gc  # noqa: E402

gc.disable()  # imports make no garbage; collection starts with the node

import argparse  # noqa: E402
import asyncio  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Final  # noqa: E402

from broker import __version__  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.config.configuration import Configuration
    from broker.config.loading import Loaded
    from broker.node.process import Started

EX_OK: Final = 0
EX_UNAVAILABLE: Final = 69
EX_SOFTWARE: Final = 70
EX_CONFIG: Final = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code: 78 for a wrong configuration, 69 for a store that is not available."""
    options = _parser().parse_args(arguments)
    from broker.config.loading import load
    from broker.errors import ConfigError

    try:
        loaded = load(Path(options.config) if options.config else None, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    if options.check_config:
        return _check(loaded)
    if options.show_config:
        from broker.config.rendering import show

        print(show(loaded.config))
        return EX_OK
    return _serve(loaded, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m broker", description="Cordillera, an AMQP 0-9-1 broker on a relational database."
    )
    parser.add_argument(
        "--config", metavar="PATH", help="broker.xml or the folder it is in; without it the built-in defaults apply"
    )
    parser.add_argument("--check-config", action="store_true", help="validate the configuration and exit")
    parser.add_argument(
        "--show-config", action="store_true", help="print the effective configuration, secrets masked, and exit"
    )
    parser.add_argument(
        "--setup", action="store_true", help="create the database's schema or bring it up to date, and exit"
    )
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error"), help="default: %(default)s"
    )
    parser.add_argument(
        "--loop", default="auto", choices=("auto", "uvloop", "asyncio"), help="event loop, default: %(default)s"
    )
    parser.add_argument("--version", action="version", version=f"cordillera {__version__}")
    return parser


def _check(loaded: Loaded) -> int:
    for warning in loaded.warnings:
        print(warning, file=sys.stderr)
    for file in loaded.files:
        print(f"{file}: read")
    print("configuration is valid")
    return EX_OK


def _serve(loaded: Loaded, options: argparse.Namespace) -> int:
    from broker.errors import ConfigError, StoreError
    from broker.node.logs import configure

    configure(options.log_level)
    import structlog

    log = structlog.get_logger("broker")
    for warning in loaded.warnings:
        log.warning("configuration", text=warning)
    try:
        (_set_up if options.setup else _run)(loaded.config, options.loop)
    except ConfigError as error:
        log.error("cannot start", reason=str(error))
        return EX_CONFIG
    except StoreError as error:
        log.error("store", reason=str(error))
        return EX_UNAVAILABLE
    except KeyboardInterrupt:
        return 130
    except BaseExceptionGroup as group:
        return _explain(group)
    return EX_OK


def _explain(group: BaseExceptionGroup[BaseException]) -> int:
    """Report what ended the node: one line for known errors, a traceback for others."""
    import structlog

    from broker.errors import ConfigError, StoreError

    log = structlog.get_logger("broker")
    code = EX_SOFTWARE
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            code = _explain(error)
        elif isinstance(error, ConfigError):
            log.error("cannot start", reason=str(error))
            code = EX_CONFIG
        elif isinstance(error, StoreError):
            log.error("the store has failed, the node stops", reason=str(error))
            code = EX_UNAVAILABLE
        else:
            log.error("the node stops for an internal error", exc_info=error)
    return code


def _run(config: Configuration, loop: str) -> None:
    from broker.node.allocator import keep_freed_memory
    from broker.node.descriptors import raise_limit, warn_of_few
    from broker.node.process import Node, open_store

    keep_freed_memory()
    raise_limit()
    warn_of_few(config)
    factory = _loop_factory(loop)
    with asyncio.Runner(loop_factory=factory) as runner:
        node = Node(config, open_store(config), started_at=_STARTED_AT)

        async def serve() -> None:
            running = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                running.add_signal_handler(number, node.stop)
            await node.run(lambda started: _banner(started, config))

        runner.run(serve())


def _set_up(config: Configuration, loop: str) -> None:
    """Create or migrate the schema as a start does, and do nothing else; do not wait for a store that is away."""
    from broker.node.process import open_store

    async def set_up() -> None:
        store = open_store(config)
        await store.open()
        name = store.describe()
        await store.close()
        print(f"the schema of {name} is up to date")

    with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
        runner.run(set_up())


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if name == "uvloop":
            raise
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _banner(started: Started, config: Configuration) -> None:
    """Show where the node listens and how to log in; without a terminal, log one structured event instead."""
    import structlog

    # What exists now lives as long as the node; messages are many and short-lived and form no cycles.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    amqp, amqps = started.addresses.get("amqp", "off"), started.addresses.get("amqps", "off")
    durability = f"NOT crash-safe: {'; '.join(started.unsafe)}" if started.unsafe else "full"
    if not sys.stderr.isatty():
        structlog.get_logger("broker").info(
            "broker started",
            node=started.node_id,
            pid=os.getpid(),
            store=started.store,
            store_ms=round(started.store_seconds * 1000, 2),
            durability=durability,
            amqp=amqp,
            amqps=amqps,
            queues=started.queues,
            messages=started.messages,
            seconds=round(started.seconds, 2),
        )
        return
    admin = config.user_mgt.admin_user_name
    lines = (
        f"  Cordillera {__version__}   python {sys.version.split()[0]}   node {started.node_id}   pid {os.getpid()}",
        f"  store    {started.store}   healthy ({started.store_seconds * 1000:.1f} ms)"
        f"   {started.queues} queues, {started.messages} messages",
        f"  durability  {durability}",
        f"  amqp     {amqp}   amqps {amqps}",
        f"  users    {admin} (user-mgt.xml), guest; default passwords work from this machine only",
        f"  try      pika.BlockingConnection(pika.URLParameters('{amqp.replace('://', '://guest:guest@')}'))",
        f"  started in {started.seconds:.2f} s",
    )
    print("\n".join(lines), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
