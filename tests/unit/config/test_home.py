"""Files that WSO2's configuration names below the home of its server."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config.home import found_in_home
from tests.unit.config.conftest import Load

STORE = "repository/resources/security/wso2carbon.jks"


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def make(file: Path) -> Path:
    file.parent.mkdir(parents=True)
    file.touch()
    return file


@pytest.mark.parametrize("conf", ["conf", "repository/conf"])
def test_a_relative_path_starts_at_the_home_that_the_configuration_lies_in(somewhere: Path, conf: str) -> None:
    store = make(somewhere / "mb" / STORE)
    assert found_in_home(STORE, somewhere / "mb" / conf, {}) == str(store)


def test_the_current_directory_wins_over_the_home_of_the_configuration(somewhere: Path) -> None:
    make(somewhere / "mb" / STORE)
    make(Path(STORE))
    assert found_in_home(STORE, somewhere / "mb/conf", {}) == STORE


def test_carbon_home_wins_over_both(somewhere: Path) -> None:
    make(somewhere / "mb" / STORE)
    make(Path(STORE))
    assert found_in_home(STORE, somewhere / "mb/conf", {"CARBON_HOME": "/opt/mb"}) == f"/opt/mb/{STORE}"


@pytest.mark.parametrize("location", ["", "/etc/own.pem", "none.pem"])
def test_other_paths_are_as_they_are(somewhere: Path, location: str) -> None:
    assert found_in_home(location, somewhere / "mb/conf", {}) == location


@pytest.mark.parametrize("location", ["", "/etc/own.pem"])
def test_carbon_home_is_for_relative_paths(somewhere: Path, location: str) -> None:
    assert found_in_home(location, somewhere / "mb/conf", {"CARBON_HOME": "/opt/mb"}) == location


def test_no_other_folder_is_searched(somewhere: Path) -> None:
    make(somewhere / STORE)
    assert found_in_home(STORE, somewhere / "mb/conf", {}) == STORE
    assert found_in_home(STORE, somewhere / "settings", {}) == STORE


def test_the_stores_of_the_tls_listener_are_found_so(load_files: Load) -> None:
    content = f"""<sslConnection><keyStore><location>{STORE}</location></keyStore>
<trustStore><location>trust.jks</location></trustStore></sslConnection>"""
    ssl = load_files({"broker.xml": content}, {"CARBON_HOME": "/opt/mb"}).config.transports.amqp.ssl_connection
    assert ssl.key_store.location == f"/opt/mb/{STORE}"
    assert ssl.trust_store.location == "/opt/mb/trust.jks"
