"""What WSO2's files become when only what has an effect is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config.converting import Converted, convert
from broker.config.loading import load

ROOT = Path(__file__).parents[3]


def converted(folder: Path, environ: dict[str, str] | None = None, **files: str) -> Converted:
    """Convert files, whose names have `_` for `.`."""
    for name, text in files.items():
        (folder / name.replace("_xml", ".xml").replace("_properties", ".properties")).write_text(text)
    return convert(folder, environ or {})


def kept(folder: Path, broker_xml: str) -> list[str]:
    """Return the lines of the new `broker.xml` without the prolog."""
    return converted(folder, broker_xml=broker_xml).files["broker.xml"].splitlines()[1:]


def test_only_what_has_an_effect_is_kept(tmp_path: Path) -> None:
    found = converted(
        tmp_path,
        broker_xml="""<broker>
          <coordination><thriftServerPort>7000</thriftServerPort></coordination>
          <transports><mqtt enabled="true"><bindAddress>0.0.0.0</bindAddress></mqtt>
            <amqp enabled="true" other="x"><nonsense/></amqp></transports>
        </broker>""",
    )
    assert found.files["broker.xml"] == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<broker>\n    <coordination>\n'
        "        <thriftServerPort>7000</thriftServerPort>\n    </coordination>\n    <transports>\n"
        '        <amqp enabled="true"/>\n    </transports>\n</broker>\n'
    )
    label = tmp_path / "broker.xml"
    assert found.left_out == [
        f"{label}:3: broker/transports/mqtt/@enabled: there is no MQTT here",
        f"{label}:3: broker/transports/mqtt/bindAddress: there is no MQTT here",
        f"{label}:4: broker/transports/amqp/@other: this broker does not know it",
        f"{label}:4: broker/transports/amqp/nonsense: this broker does not know it",
    ]


@pytest.mark.parametrize(
    ("given", "kept_lines", "why"),
    [
        (
            "<windowSize>5</windowSize><windowSize>6</windowSize>",
            ["<windowSize>5</windowSize>"],
            "windowSize: there is another one, which counts",
        ),
        ("<windowSize> </windowSize>", [], "windowSize: it is empty"),
        ("<workerThreadCount>3</workerThreadCount>", [], "workerThreadCount: "),
    ],
)
def test_the_value_that_counts_is_kept(given: str, kept_lines: list[str], why: str, tmp_path: Path) -> None:
    text = f"<broker><performanceTuning><slots>{given}</slots></performanceTuning></broker>"
    found = converted(tmp_path, broker_xml=text)
    assert [line.strip() for line in found.files.get("broker.xml", "").splitlines()[4:-3]] == kept_lines
    [left] = found.left_out
    assert f"broker/performanceTuning/slots/{why}" in left


def test_an_old_element_in_another_unit_keeps_its_name(tmp_path: Path) -> None:
    text = "<broker><transaction><maxBatchSizeInBytes>2048</maxBatchSizeInBytes></transaction></broker>"
    assert "        <maxBatchSizeInBytes>2048</maxBatchSizeInBytes>" in kept(tmp_path, text)


def test_secrets_and_placeholders_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a secret")
    found = converted(
        tmp_path,
        {"CARBON_HOME": str(tmp_path)},
        broker_xml='<broker xmlns:svns="http://org.wso2.securevault/configuration"><coordination>'
        "<clusterSecret>file:key</clusterSecret></coordination><transports><amqp><sslConnection><keyStore>"
        '<location>key</location><password svns:secretAlias="Store.Password"/></keyStore><trustStore>'
        "<location>missing</location><password>$secret{Trust.Password}</password></trustStore>"
        "</sslConnection></amqp></transports></broker>",
        carbon_xml="<Server><Ports><Offset>${env:OFFSET}</Offset></Ports></Server>",
    )
    text = found.files["broker.xml"]
    assert f"<clusterSecret>file:{tmp_path / 'key'}</clusterSecret>" in text
    assert f"<location>{tmp_path / 'key'}</location>" in text
    assert '<broker xmlns:svns="http://org.wso2.securevault/configuration">' in text
    assert '<password svns:secretAlias="Store.Password"/>' in text
    assert "<password>$secret{Trust.Password}</password>" in text
    assert "<Offset>${env:OFFSET}</Offset>" in found.files["carbon.xml"]
    assert found.aliases == {"Store.Password", "Trust.Password"}


def test_properties_are_kept_and_left_out_in_the_same_way(tmp_path: Path) -> None:
    found = converted(
        tmp_path,
        broker_xml="<broker/>",
        hazelcast_properties="hazelcast.max.no.heartbeat.seconds=30\nhazelcast.nonsense=1\n",
        log4j_properties="log4j.rootLogger=DEBUG\n",
    )
    assert found.files == {
        "hazelcast.properties": "hazelcast.max.no.heartbeat.seconds=30\n",
        "log4j.properties": "log4j.rootLogger=DEBUG\n",
    }
    assert found.left_out == [
        f"{tmp_path / 'hazelcast.properties'}:2: hazelcast.nonsense: this broker does not know it"
    ]


def test_fragments_and_texts_with_markup_become_whole_files(tmp_path: Path) -> None:
    lines = kept(tmp_path, "<coordination><nodeID>a&lt;b</nodeID></coordination><transports/>")
    assert lines == [
        "<broker>",
        "    <coordination>",
        "        <nodeID>a&lt;b</nodeID>",
        "    </coordination>",
        "</broker>",
    ]


def test_the_files_of_this_broker_mean_the_same_afterwards(tmp_path: Path) -> None:
    for name, text in convert(ROOT / "conf", {}).files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ours, theirs = load(ROOT / "conf", {}).config, load(tmp_path, {}).config
    without = {"origins", "accepted"}
    assert ours.model_dump(exclude=without) == theirs.model_dump(exclude=without)
    assert load(tmp_path, {}).warnings == []
