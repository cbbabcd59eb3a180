"""A node in this process that is drained, takes clients again, and is stopped by `brokerctl`; its HTTP API has TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import aiormq
import pytest
import trustme
from structlog.testing import capture_logs

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from broker.cli.program import run
from broker.cli.shell import Shell
from broker.config.loading import load
from broker.node.process import Node, Started, open_store


class Running:
    """The node, and a shell on its machine."""

    def __init__(self, folder: Path, capsys: Any, drain_seconds: float = 0) -> None:
        authority = trustme.CA()
        store, self.authority = folder / "api.pem", folder / "authority.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(store))
        authority.cert_pem.write_to_path(str(self.authority))
        self.written = NodeConfiguration(
            f"jdbc:sqlite:{folder}/mb.db", http_port=quiet_port(), https_port=quiet_port(), key_store=str(store)
        )
        self.written.write(folder / "conf")
        config = load(folder / "conf", {}).config
        if drain_seconds:
            management = config.management.model_copy(update={"drain_seconds": drain_seconds})
            config = config.model_copy(update={"management": management})
        self.node = Node(config, open_store(config))
        self.socket = f"{folder}/mb.db.control"
        self.url = f"amqp://guest:guest@127.0.0.1:{self.written.port}/"
        self.started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        self._capsys = capsys

    async def brokerctl(self, *arguments: str, way: tuple[str, ...] = ()) -> tuple[int, str]:
        """Return exit code and output of a command."""
        shell = Shell(await_end=lambda process_id, seconds: True)  # it is this process
        words = [*(way or ("--socket", self.socket)), *arguments]
        code = await asyncio.to_thread(run, words, {"XDG_CONFIG_HOME": "/nowhere"}, shell=shell)
        return code, self._capsys.readouterr().out

    async def connect(self) -> aio_pika.abc.AbstractConnection:
        return await aio_pika.connect(self.url)


@asynccontextmanager
async def running(it: Running) -> AsyncIterator[None]:
    with capture_logs():
        async with _running(it):
            yield


@asynccontextmanager
async def _running(it: Running) -> AsyncIterator[None]:
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(it.node.run(it.started.set_result))
        await it.started
        try:
            yield
        finally:
            it.node.stop()


async def closed(connection: aio_pika.abc.AbstractConnection) -> str:
    """Return what the client is told when the broker closes the connection."""
    reason: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    connection.close_callbacks.add(lambda _, error: reason.done() or reason.set_result(error))
    return str(await reason)


async def test_a_node_is_drained_takes_clients_again_and_is_stopped(tmp_path: Path, capsys: Any) -> None:
    it = Running(tmp_path, capsys)
    async with running(it):
        connection = await it.connect()
        told = asyncio.ensure_future(closed(connection))  # noqa: TID251
        code, out = await it.brokerctl("drain")
        assert (code, out) == (0, "drained: 1 connections closed, 0 are left\n")
        assert "Node was put into maintenance mode" in await told
        with pytest.raises((ConnectionError, aiormq.exceptions.AMQPConnectionError)):
            await it.connect()
        assert (await it.brokerctl("check_in_service"))[0] == 69
        _, out = await it.brokerctl("cluster_status", "--json")
        assert [row["being_drained"] for row in json.loads(out)] == [True]

        https = f"https://guest:guest@127.0.0.1:{it.written.https_port}"
        over_tls = ("--url", https, "--ca-file", str(it.authority))
        assert await it.brokerctl("resume", way=over_tls) == (0, "the node takes clients\n")
        await (await it.connect()).close()
        _, out = await it.brokerctl("listeners", "-s", way=over_tls)
        assert f"https\t127.0.0.1\t{it.written.https_port}" in out.splitlines()
        assert await it.brokerctl("shutdown", "--yes") == (0, "the node has stopped\n")


async def test_a_stop_closes_connections_over_the_time_that_is_configured_unless_somebody_hurries(
    tmp_path: Path, capsys: Any
) -> None:
    it = Running(tmp_path, capsys, drain_seconds=3600)
    async with running(it):
        connections = [await it.connect() for _ in range(12)]
        told = [asyncio.ensure_future(closed(each)) for each in connections]  # noqa: TID251
        it.node.stop()
        await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
        _, out = await it.brokerctl("drain", "--status", "--json")
        assert json.loads(out)["state"] == "draining"
        it.node.stop()
        texts = await asyncio.gather(*told)
    assert {text.partition(" - ")[2].strip("'\"") for text in texts} >= {"Node was put into maintenance mode"}
