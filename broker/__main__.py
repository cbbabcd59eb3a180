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
import io  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Final, TextIO  # noqa: E402

from broker import __version__  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.config.configuration import Configuration
    from broker.config.loading import Loaded
    from broker.node.logs import Logs
    from broker.node.process import Node, Started

EX_OK: Final = 0
EX_UNAVAILABLE: Final = 69
EX_SOFTWARE: Final = 70
EX_CONFIG: Final = 78

_NOT_FATAL: Final = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code: 78 for a wrong configuration, 69 for a store that is not available."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the locale may not have all characters of a file
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["admin"]:
        return _administer(given[1:])
    if given[:1] == ["migrate"]:
        return _migrate(given[1:])
    if given[:1] == ["database"]:
        return _about_database(given[1:])
    if given[:1] == ["convert"]:
        return _convert(given[1:])
    options = _parser().parse_args(given)
    try:
        return _run_command(options)
    except (
        MemoryError,
        OSError,
        RuntimeError,
        ImportError,
    ) as error:  # before there is a log: no memory, no thread, no module
        _print(f"cannot start: {str(error) or type(error).__name__}", sys.stderr)
        return EX_SOFTWARE


def _administer(arguments: Sequence[str]) -> int:
    from broker.node.admin_command import parser, run

    return _with_config(parser().parse_args(arguments), run)


def _migrate(arguments: Sequence[str]) -> int:
    from broker.node.migrate_command import parser, run

    return _with_config(parser().parse_args(arguments), run)


def _about_database(arguments: Sequence[str]) -> int:
    from broker.node.database_command import parser, run

    return _with_config(parser().parse_args(arguments), run)


def _convert(arguments: Sequence[str]) -> int:
    from broker.node.convert_command import parser, run

    return _with_config(parser().parse_args(arguments), run)


def _with_config(options: argparse.Namespace, run: Callable[[argparse.Namespace, Configuration], int]) -> int:
    """Load the configuration and carry a command out; return the exit code."""
    try:
        loaded = _load(options)
    except Exception as error:
        if not (wrong := _what_is_wrong(error)):
            raise
        _print(wrong, sys.stderr)
        return EX_CONFIG
    return run(options, loaded.config)


def _run_command(options: argparse.Namespace) -> int:
    try:
        loaded = _load(options)
    except Exception as error:
        if not (wrong := _what_is_wrong(error)):
            raise
        _print(wrong, sys.stderr)
        return EX_CONFIG
    if options.check_config:
        return _check(loaded)
    if options.show_config:
        from broker.config.rendering import show

        _print(show(loaded.config), sys.stdout)
        return EX_OK
    return _serve(loaded, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m broker", description="Cordillera, an AMQP 0-9-1 broker on a relational database."
    )
    parser.add_argument(
        "--config",
        metavar="PATH",
        help="broker.xml, its folder, or the home around it; without it the built-in defaults apply",
    )
    parser.add_argument("--check-config", action="store_true", help="validate the configuration and exit")
    parser.add_argument(
        "--show-config", action="store_true", help="print the effective configuration, secrets masked, and exit"
    )
    parser.add_argument(
        "--setup", action="store_true", help="create the database's schema or bring it up to date, and exit"
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="default: logging/level of broker.xml, info"
    )
    parser.add_argument(
        "--loop", default="auto", choices=("auto", "uvloop", "asyncio"), help="event loop, default: %(default)s"
    )
    parser.add_argument(
        "--definitions", metavar="FILE", help="import definitions at the start, instead of management/loadDefinitions"
    )
    parser.add_argument("--version", action="version", version=f"cordillera {__version__}")
    return parser


def _load(options: argparse.Namespace) -> Loaded:
    from broker.config.loading import load

    loaded = load(Path(options.config) if options.config else None, os.environ)
    return loaded.with_definitions(options.definitions) if getattr(options, "definitions", None) else loaded


def _check(loaded: Loaded) -> int:
    from broker.errors import StoreError
    from broker.node.config_check import check
    from broker.node.logs import configure

    if remarks := _remarks(loaded):
        _print("\n".join(remarks), sys.stderr)
    logs = configure("warning")
    try:
        found = check(loaded.config)
    except StoreError as error:
        _print(str(error), sys.stderr)
        return EX_UNAVAILABLE
    except Exception as error:
        if not (wrong := _what_is_wrong(error)):
            raise
        _print(wrong, sys.stderr)
        return EX_CONFIG
    finally:
        logs.close()
    read = [f"{file}: read" for file in loaded.files]
    _print("\n".join([*read, *found, "configuration is valid"]), sys.stdout)
    return EX_OK


def _remarks(loaded: Loaded) -> list[str]:
    """Return what the start says about the configuration: the warnings, and what is accepted without effect."""
    from broker.config.without_effect import accepted_without_effect

    in_vain = accepted_without_effect(loaded.config)
    return [*loaded.warnings, *([in_vain] if in_vain else [])]


def _print(text: str, stream: TextIO) -> None:
    """Print, and do not mind that nobody reads it."""
    from broker.node.printable import printable

    try:
        print(printable(text, keep="\n"), file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is left goes there at the exit


def _serve(loaded: Loaded, options: argparse.Namespace) -> int:
    from broker.node.logs import configure, open_standard_descriptors

    open_standard_descriptors()
    logs = configure(_log_level(loaded, options))
    _set_levels(logs, loaded, options)
    try:
        return _guarded(loaded, options, logs)
    finally:
        logs.close()


def _log_level(loaded: Loaded, options: argparse.Namespace) -> str:
    level: str = options.log_level or loaded.config.logging.level
    return level


def _set_levels(logs: Logs, loaded: Loaded, options: argparse.Namespace) -> None:
    """Have each part log at its level; the one of the command line is for all."""
    level, log4j = _log_level(loaded, options), loaded.config.log4j
    if options.log_level:
        logs.set_levels(level)
    else:
        logs.set_levels(level, level_of=log4j.level_of, level_of_audit=log4j.audit)


def _guarded(loaded: Loaded, options: argparse.Namespace, logs: Logs) -> int:
    """Serve, or set up, and return the exit code; one line says why, whatever it is."""
    import structlog

    from broker.errors import StoreError

    log = structlog.get_logger("broker")
    for remark in _remarks(loaded):
        log.warning("configuration", text=remark)
    try:
        if options.setup:
            _set_up(loaded.config, options.loop)
        else:
            _run(loaded.config, options, logs)
    except StoreError as error:
        log.error("store", reason=str(error))
        return EX_UNAVAILABLE
    except KeyboardInterrupt:
        return 130
    except BaseExceptionGroup as group:
        return _explain(group)
    except Exception as error:
        if wrong := _what_is_wrong(error):
            log.error("cannot start", reason=wrong)
            return EX_CONFIG
        log.error("the node stops for an internal error", exc_info=error)
        return EX_SOFTWARE
    return EX_OK


def _what_is_wrong(error: BaseException) -> str:
    """Return what is to be changed in the configuration or the environment; nothing when it is another error."""
    from broker.errors import ConfigError

    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding():
        return (
            f"the encoding of the locale, {error.encoding}, has no '{error.object[error.start : error.end]}',"
            f" so the path {error.object} cannot be used; set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        )
    return ""


def _explain(group: BaseExceptionGroup[BaseException]) -> int:
    """Report what ended the node: one line for known errors, a traceback for others."""
    import structlog

    from broker.errors import StoreError

    log = structlog.get_logger("broker")
    code = EX_SOFTWARE
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            code = _explain(error)
        elif wrong := _what_is_wrong(error):
            log.error("cannot start", reason=wrong)
            code = EX_CONFIG
        elif isinstance(error, StoreError):
            log.error("the store has failed, the node stops", reason=str(error))
            code = EX_UNAVAILABLE
        else:
            log.error("the node stops for an internal error", exc_info=error)
    return code


def _run(config: Configuration, options: argparse.Namespace, logs: Logs) -> None:
    from broker.node.allocator import keep_freed_memory
    from broker.node.descriptors import raise_limit, warn_of_few
    from broker.node.own_exchange_types import installed_exchange_types
    from broker.node.process import Node, open_store

    for number in _NOT_FATAL:  # until the loop listens to them, and after it has ended
        signal.signal(number, signal.SIG_IGN)
    keep_freed_memory()
    raise_limit()
    warn_of_few(config)
    factory = _loop_factory(options.loop)
    with asyncio.Runner(loop_factory=factory) as runner:
        node = Node(
            config,
            open_store(config),
            started_at=_STARTED_AT,
            own_exchange_types=installed_exchange_types(),
            recent_logs=logs.recent.read,
        )
        node.process_commands.add(
            reload=lambda: _read_again(options, logs, node), set_level=lambda level: logs.set_levels(level)
        )

        async def serve() -> None:
            running = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                running.add_signal_handler(number, node.stop)
            for number in _NOT_FATAL:
                running.add_signal_handler(number, _ignore, number)
            running.add_signal_handler(signal.SIGHUP, _reload, options, logs, node)
            await node.run(lambda started: _banner(started, config, logs))

        runner.run(serve())


def _reload(options: argparse.Namespace, logs: Logs, node: Node) -> None:
    """Read the configuration again (SIGHUP); if it is wrong, say so and go on."""
    import structlog

    from broker.errors import ConfigError

    try:
        _read_again(options, logs, node)
    except (ConfigError, OSError) as error:
        structlog.get_logger("broker").error(
            "the configuration was not read again, the node goes on with what it has", reason=str(error)
        )


def _read_again(options: argparse.Namespace, logs: Logs, node: Node) -> None:
    """Read the configuration and let the running node have of it what can change. Raises ConfigError and OSError."""
    import structlog

    loaded = _load(options)
    node.reload(loaded.config)
    _set_levels(logs, loaded, options)
    level = _log_level(loaded, options)
    structlog.get_logger("broker").info("the configuration was read again", log_level=level)


def _ignore(number: signal.Signals) -> None:
    import structlog

    structlog.get_logger("broker").warning("signal ignored: SIGTERM stops the node", signal=number.name)


def _set_up(config: Configuration, loop: str) -> None:
    """Create or migrate the schema as a start does, and do nothing else; do not wait for a store that is away."""
    from broker.node.process import open_store

    async def set_up() -> None:
        store = open_store(config)
        await store.open()
        name = store.describe()
        await store.close()
        _print(f"the schema of {name} is up to date", sys.stdout)

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


def _banner(started: Started, config: Configuration, logs: Logs) -> None:
    """Show where the node listens and how to log in; without a terminal, log one structured event instead."""
    import structlog

    from broker.node.printable import printable

    # What exists now lives as long as the node; messages are many and short-lived and form no cycles.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    amqp, amqps = started.addresses.get("amqp", "off"), started.addresses.get("amqps", "off")
    durability = f"NOT crash-safe: {'; '.join(started.unsafe)}" if started.unsafe else "full"
    if not logs.is_terminal:
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
            admin=f"{config.user_mgt.admin_user_name}: {started.admin_password}",
        )
        return
    users = f"{config.user_mgt.admin_user_name} ({started.admin_password}), guest"
    users, login = f"{users}; default passwords work from this machine only", "guest:guest"
    if config.user_database is not None:
        users, login = f"those of {config.user_mgt.realm.configuration.data_source} (user-mgt.xml)", "USER:PASSWORD"
    lines = (
        f"  Cordillera {__version__}   python {sys.version.split()[0]}   node {started.node_id}   pid {os.getpid()}",
        f"  store    {started.store}   healthy ({started.store_seconds * 1000:.1f} ms)"
        f"   {started.queues} queues, {started.messages} messages",
        f"  durability  {durability}",
        f"  amqp     {amqp}   amqps {amqps}",
        f"  users    {users}",
        f"  try      pika.BlockingConnection(pika.URLParameters('{_own_url(amqp, login)}'))",
        f"  started in {started.seconds:.2f} s",
    )
    logs.write("\n".join(map(printable, lines)))


def _own_url(url: str, login: str) -> str:
    """Return where a client on this machine connects to, with a login that it may use."""
    for every in ("//0.0.0.0:", "//[::]:"):
        url = url.replace(every, "//localhost:")
    return url.replace("://", f"://{login}@")


if __name__ == "__main__":
    sys.exit(main())
