"""The demo's nodes: a configuration folder and a process each, killed and started again by number.

Knows the command line and the files of `conf/`; knows neither the database's tables nor a client.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.config.configuration import Configuration
from broker.config.datasources import DataSource, DataSourceList, Datasources, Definition, PoolConfiguration
from broker.errors import ConfigError

_HOST: Final = "127.0.0.1"
_STOP_TIMEOUT: Final = 10.0

_BROKER_XML: Final = """\
<broker>
  <coordination>
    <nodeID>{node_id}</nodeID>
    <thriftServerHost>127.0.0.1</thriftServerHost>
    <thriftServerPort>{thrift_port}</thriftServerPort>
    <rdbmsBasedCoordination enabled="true">
      <heartbeatInterval>1000</heartbeatInterval>
      <coordinatorEntryCreationWaitTime>600</coordinatorEntryCreationWaitTime>
      <eventPollingInterval>800</eventPollingInterval>
    </rdbmsBasedCoordination>
  </coordination>
  <transports>
    <amqp enabled="true">
      <bindAddress>127.0.0.1</bindAddress>
      <defaultConnection enabled="true" port="{amqp_port}"/>
    </amqp>
  </transports>
  <performanceTuning><slots><windowSize>200</windowSize></slots></performanceTuning>
</broker>
"""
_CARBON_XML: Final = """\
<Server xmlns="http://wso2.org/projects/carbon/carbon.xml"><Ports><Offset>{offset}</Offset></Ports></Server>
"""
_AXIS2_XML: Final = """\
<axisconfig><clustering enable="true"><parameter name="localMemberPort">{port}</parameter></clustering></axisconfig>
"""
# The credentials stay in the environment of the nodes.
_DATASOURCES_XML: Final = """\
<datasources-configuration>
  <datasources>
    <datasource>
      <name>WSO2_MB_STORE_DB</name>
      <jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>
      <definition type="RDBMS">
        <configuration>
          <url>${env:CORDILLERA_DEMO_URL}</url>
          <username>${env:CORDILLERA_DEMO_USER}</username>
          <password>${env:CORDILLERA_DEMO_PASSWORD}</password>
          <maxActive>10</maxActive>
        </configuration>
      </definition>
    </datasource>
  </datasources>
</datasources-configuration>
"""
NODE_IDS: Final = "demo-"


class DemoNode:
    """One node: `number` counts from 1."""

    host = _HOST

    def __init__(self, folder: Path, number: int, config: Configuration, offset: int) -> None:
        self.number = number
        self.node_id = f"{NODE_IDS}{number}"
        self.port = config.transports.amqp.default_connection.port + offset
        self.log = folder / f"{self.node_id}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._conf = folder / self.node_id
        (self._conf / "datasources").mkdir(parents=True)
        pool = config.datasource
        url = pool.data_source_props.url if pool.is_xa else pool.url
        user, password = pool.store_url.user_name, pool.store_url.password.get_secret_value()
        self._environ = {
            "CORDILLERA_DEMO_URL": url,
            "CORDILLERA_DEMO_USER": user,
            "CORDILLERA_DEMO_PASSWORD": password,
        }
        self._write(config, offset)

    def _write(self, config: Configuration, offset: int) -> None:
        broker_xml = _BROKER_XML.format(
            node_id=self.node_id,
            thrift_port=config.coordination.thrift_server_port,
            amqp_port=config.transports.amqp.default_connection.port,
        )
        datasources = _DATASOURCES_XML
        for name, value in self._environ.items():
            if not value:
                datasources = datasources.replace(f"${{env:{name}}}", "")
        for name, text in (
            ("broker.xml", broker_xml),
            ("carbon.xml", _CARBON_XML.format(offset=offset)),
            ("axis2.xml", _AXIS2_XML.format(port=4000 + self.number)),
            ("datasources/master-datasources.xml", datasources),
        ):
            (self._conf / name).write_text(text)

    @property
    def pid(self) -> int | None:
        """The process, none while it is down."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the last process ended; none while it runs or before the first."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the process; it joins when it can."""
        arguments = [sys.executable, "-m", "broker", "--config", str(self._conf)]
        kept = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=kept | self._environ,
                start_new_session=True,  # Ctrl-C on the terminal is for the demo, which stops its nodes in order
            )

    def kill(self) -> None:
        """End the process as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask_to_stop(self) -> None:
        """Let the node leave in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def await_end(self) -> None:
        """Return when the process has ended, which is killed when it takes too long."""
        if self._process is not None:
            try:
                self._process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()

    def last_line(self) -> str:
        """Return the end of the log: why a node has ended."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else ""


# They would win over the files written here.
_NOT_HANDED_ON: Final = frozenset(
    ("BROKER_PORT_OFFSET", "RABBITMQ_NODE_PORT", "RABBITMQ_DEFAULT_USER", "RABBITMQ_DEFAULT_PASS")
)


def free_offset(config: Configuration, count: int) -> int:
    """Return the first port offset from which `count` nodes find their ports free."""
    bases = (config.transports.amqp.default_connection.port, config.coordination.thrift_server_port)
    for offset in range(config.carbon.offset, 1000):
        if all(_is_free(base + offset + number) for base in bases for number in range(count)):
            return offset
    raise ConfigError(f"no {count} free ports in a row from {bases[0]} and from {bases[1]}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def with_url(config: Configuration, environ: Mapping[str, str], variable: str) -> Configuration:
    """Return the configuration with the datasource that the environment names, if it does."""
    url = environ.get(variable, "")
    if not url:
        return config
    pool = PoolConfiguration(url=url)
    try:
        _ = pool.store_url
    except ValueError as error:
        raise ConfigError(f"the environment variable {variable}: {error}") from error
    source = DataSource(name=config.persistence.message_store.data_source, definition=Definition(configuration=pool))
    return config.model_copy(update={"datasources": Datasources(datasources=DataSourceList(datasource=(source,)))})
