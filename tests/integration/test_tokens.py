"""pika with tokens of an issuer whose keys are fetched: docs/oauth2.md."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pika
import pika.exceptions
import pytest

from benchmarks.nodes.process import BrokerProcess
from tests.support.key_server import KeyServer
from tests.support.tokens import claims_of, ec_key, key_set, rsa_key, signed

OAUTH2 = """\
  <authentication><oauth2 enabled="true">
    <resourceServerId>rabbitmq</resourceServerId><clockSkew>0</clockSkew><jwksUrl>{url}</jwksUrl>
  </oauth2></authentication>
</broker>
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[KeyServer]:
    with KeyServer(key_set(ec_key(), rsa_key())) as server:
        yield server


@pytest.fixture(scope="module")
def broker(issuer: KeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(tmp_path_factory.mktemp("tokens"))
    file = broker.config / "broker.xml"
    file.write_text(file.read_text().replace("</broker>\n", OAUTH2.format(url=issuer.url)))
    broker.start()
    yield broker
    print(broker.log)
    broker.stop()


def token(key: Any = None, algorithm: str = "ES256", **claims: Any) -> str:
    return signed(claims_of(now=time.time(), **claims), key or ec_key(), algorithm)


def connect(broker: BrokerProcess, secret: str, user: str = "") -> pika.BlockingConnection:
    credentials = pika.PlainCredentials(user, secret)
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, "/", credentials))


def test_a_client_works_with_a_token_and_renews_it(broker: BrokerProcess, issuer: KeyServer) -> None:
    scopes = ["rabbitmq.configure:*/ann-*", "rabbitmq.write:*/*", "rabbitmq.read:*/ann-*"]
    first, second = token(scopes=scopes), token(rsa_key(), "PS256", scopes=scopes)
    connection = connect(broker, first)
    channel = connection.channel()
    channel.queue_declare("ann-1")
    channel.basic_publish("", "ann-1", b"body")
    connection.update_secret(second, "it ends soon")
    assert channel.basic_get("ann-1", auto_ack=True)[2] == b"body"
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="configure access to queue 'bob-1'"):
        channel.queue_declare("bob-1")
    connection.close()
    connect(broker, "guest", "guest").close()
    assert issuer.paths == ["/certs"]
    for part in [*first.split("."), *second.split(".")]:
        assert part not in broker.log


def test_a_connection_ends_with_its_token(broker: BrokerProcess) -> None:
    connection = connect(broker, token(exp=time.time() + 0.5))
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match=r"CONNECTION_FORCED - credential expired"):
        connection.sleep(5)


@pytest.mark.parametrize("claims", [{"aud": "other"}, {"exp": 1}, {"sub": "x" * 300}])
def test_a_token_that_is_not_good_is_refused_and_the_log_says_why(
    broker: BrokerProcess, claims: dict[str, Any]
) -> None:
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect(broker, token(**claims))
    broker.output.wait_for("a token was refused")


def test_a_token_without_scopes_opens_no_virtual_host(broker: BrokerProcess) -> None:
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError, match="access to vhost '/' refused for user 'ann'"):
        connect(broker, token(scopes=[]))
