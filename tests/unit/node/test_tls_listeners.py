"""Certificates of all listeners of a node, and when they are read again."""

from __future__ import annotations

import ssl

import pytest
import trustme

from broker.config.broker_xml import BrokerXml
from broker.config.configuration import Configuration
from broker.errors import ConfigError
from broker.node.tls_listeners import AMQPS, HTTPS, METRICS_TLS, TlsListeners


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of keys with their certificates."""
    folder, authority = tmp_path_factory.mktemp("stores"), trustme.CA()
    paths = {name: folder / f"{name}.pem" for name in ("one", "two")}
    for path in paths.values():
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    return {name: str(path) for name, path in paths.items()} | {"none": str(folder / "none.pem")}


def listener(location: str, **more: str) -> dict[str, object]:
    return {"@enabled": "true", "keyStore": {"location": location}, **more}


def configured(amqp: dict[str, object] | None, http: dict[str, object], metrics: dict[str, object]) -> Configuration:
    transports = {"amqp": {"sslConnection": amqp}} if amqp is not None else {}
    management = {"http": {"sslConnection": http}, "metrics": {"sslConnection": metrics}}
    read = BrokerXml.model_validate({"transports": transports, "management": management})
    return Configuration(transports=read.transports, management=read.management)


def test_each_listener_has_its_own_context(stores: dict[str, str]) -> None:
    found = TlsListeners(configured(None, listener(stores["one"]), listener(stores["two"])))
    assert found.context(AMQPS) is None
    assert found.context(HTTPS) is not found.context(METRICS_TLS)
    assert (found.end(AMQPS), found.end(HTTPS) is None) == (None, False)


def test_a_store_of_no_use_is_named_by_its_element(stores: dict[str, str]) -> None:
    with pytest.raises(
        ConfigError, match=r"^management/metrics/sslConnection/keyStore: cannot use .*none.pem: No such"
    ):
        TlsListeners(configured(None, listener(stores["one"]), listener(stores["none"])))


def test_a_listener_that_is_off_needs_no_store(stores: dict[str, str]) -> None:
    off = {"@enabled": "false", "keyStore": {"location": stores["none"]}}
    assert TlsListeners(configured(None, off, off)).context(HTTPS) is None


def test_what_is_read_again_goes_to_who_serves_it(stores: dict[str, str]) -> None:
    found = TlsListeners(configured(None, listener(stores["one"]), listener(stores["one"])))
    served: dict[str, list[ssl.SSLContext]] = {HTTPS: [], METRICS_TLS: []}
    for name, contexts in served.items():
        found.on_change(name, contexts.append)
    found.reload(configured(None, listener(stores["two"], sslEnabledProtocols="TLSv1.3"), listener(stores["two"])))
    assert {name: len(contexts) for name, contexts in served.items()} == {HTTPS: 1, METRICS_TLS: 1}
    assert served[HTTPS][0] is found.context(HTTPS)
    assert served[HTTPS][0].minimum_version == ssl.TLSVersion.TLSv1_3


def test_of_stores_that_are_read_again_all_are_taken_or_none(stores: dict[str, str]) -> None:
    amqp = listener(stores["one"], trustStore={"location": stores["two"]}, certificateLogin="dns")  # type: ignore[arg-type]
    found = TlsListeners(configured(amqp, listener(stores["one"]), listener(stores["one"])))
    before = found.context(AMQPS), found.context(HTTPS), found.login
    with pytest.raises(ConfigError, match="management/metrics"):
        found.reload(configured(listener(stores["two"]), listener(stores["two"]), listener(stores["none"])))
    assert (found.context(AMQPS), found.context(HTTPS), found.login) == before
    found.reload(configured(listener(stores["two"]), listener(stores["two"]), listener(stores["two"])))
    assert found.login == "off"


def test_metrics_that_nobody_could_read_are_refused() -> None:
    with pytest.raises(ValueError, match="without it and without sslConnection metrics are nowhere"):
        BrokerXml.model_validate({"management": {"metrics": {"@plain": "false"}}})
