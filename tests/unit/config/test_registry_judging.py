"""What of `registry.xml` stops the start: a mount that leads nowhere, and instances that cannot be opened."""

from __future__ import annotations

import pytest

from broker.errors import ConfigError
from broker.node.registry_places import place_of
from tests.unit.config.conftest import Load

SOURCES = """<datasources-configuration><datasources>
<datasource><name>WSO2_MB_STORE_DB</name><jndiConfig><name>WSO2MBStoreDB</name></jndiConfig></datasource>
<datasource><name>H2</name><jndiConfig><name>jdbc/WSO2CarbonDB</name></jndiConfig><definition><configuration>
<url>jdbc:h2:./carbon</url></configuration></definition></datasource>
<datasource><name>REG</name><jndiConfig><name>jdbc/WSO2RegistryDB</name></jndiConfig><definition><configuration>
<url>jdbc:mysql://db/regdb</url></configuration></definition></datasource>
</datasources></datasources-configuration>"""
LOCAL = '<dbConfig name="wso2registry"><dataSource>jdbc/WSO2CarbonDB</dataSource></dbConfig>'
SHARED = '<dbConfig name="shared"><dataSource>jdbc/WSO2RegistryDB</dataSource></dbConfig>'


def instance(**elements: str) -> str:
    given = {"id": "gov", "dbConfig": "shared"} | elements
    return f"<remoteInstance>{''.join(f'<{name}>{text}</{name}>' for name, text in given.items())}</remoteInstance>"


def mount(path: str = "/_system/governance", target: str = "/_system/governance", name: str = "gov") -> str:
    inside = f"<instanceId>{name}</instanceId><targetPath>{target}</targetPath>"
    return f'<mount path="{path}" overwrite="true">{inside}</mount>'


def files(*elements: str) -> dict[str, str]:
    lines = "\n".join(elements)
    return {
        "datasources/master-datasources.xml": SOURCES,
        "registry.xml": f"<wso2registry>\n{LOCAL}\n{SHARED}\n{lines}\n</wso2registry>",
    }


def test_a_mount_leads_to_its_database_and_the_longest_path_counts(load_files: Load) -> None:
    config = load_files(
        files(
            instance(),
            instance(id="topics", readOnly="true"),
            mount(target="/_system/mb"),
            mount("/_system/governance/event/topics", "/topics", "topics"),
            mount("/_system/config"),
        )
    ).config
    queues, topics = place_of(config, "event/queues/jms"), place_of(config, "event/topics")
    assert queues is not None
    assert topics is not None
    assert (queues.path, queues.read_only, queues.versioned) == ("/_system/mb/event/queues/jms", False, True)
    assert (topics.path, topics.read_only) == ("/topics", True)
    assert queues.database.store_url.database == "regdb"


def test_without_a_mount_the_local_registry_counts_unless_it_is_one_of_h2(load_files: Load) -> None:
    assert place_of(load_files(files()).config, "event/topics") is None
    local = files("<currentDBConfig>shared</currentDBConfig>", "<readOnly>true</readOnly>")
    place = place_of(load_files(local).config, "event/topics")
    assert place is not None
    assert (place.path, place.read_only) == ("/_system/governance/event/topics", True)


def test_a_file_that_says_so_has_properties_by_path(load_files: Load) -> None:
    unversioned = "<staticConfiguration><versioningProperties>false</versioningProperties></staticConfiguration>"
    place = place_of(load_files(files(instance(), mount(), unversioned)).config, "event/topics")
    assert place is not None
    assert not place.versioned


NOWHERE = "mount: the mount of '/_system/governance' leads nowhere: "


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        ((mount(),), f"4: {NOWHERE}there is no remoteInstance with the id 'gov'"),
        ((instance(dbConfig="x"), mount()), f"5: {NOWHERE}there is no dbConfig 'x'"),
        (
            ('<dbConfig name="x"><dataSource>jdbc/Gone</dataSource></dbConfig>', instance(dbConfig="x"), mount()),
            f"6: {NOWHERE}no datasource has the JNDI name 'jdbc/Gone'",
        ),
        ((instance(), mount(target="x")), f"5: {NOWHERE}path and targetPath must begin with /"),
        (
            (instance(username="u", password="canary"), mount()),
            "4: remoteInstance/username: an instance with a user and a password is asked over HTTP",
        ),
        ((instance(registryRoot="/x"),), "4: remoteInstance/registryRoot: '/x' is not served: only / is"),
    ],
)
def test_what_leads_nowhere_stops_the_start_with_its_line(
    load_files: Load, elements: tuple[str, ...], told: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        load_files(files(*elements))
    (line,) = str(failure.value).splitlines()
    assert line.startswith(f"conf/registry.xml:{told}")
    assert "canary" not in line
