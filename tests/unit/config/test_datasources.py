from __future__ import annotations

from pathlib import Path

import pytest

from broker.config.connection_options import connection_options
from broker.config.loading import Loaded
from broker.config.rendering import show
from broker.errors import ConfigError

FILE = "datasources/master-datasources.xml"
MASTER = """<?xml version="1.0" encoding="UTF-8"?>
<datasources-configuration xmlns:svns="http://org.wso2.securevault/configuration">
  <providers><provider>org.wso2.carbon.ndatasource.rdbms.RDBMSDataSourceReader</provider></providers>
  <datasources>
    <datasource><name>WSO2_CARBON_DB</name><description>registry</description>
      <jndiConfig><name>jdbc/WSO2CarbonDB</name>
        <environment><property name="java.naming.factory.initial">x</property></environment></jndiConfig>
      <definition type="RDBMS"><configuration>
        <url>jdbc:oracle:thin:@localhost:1521/orcl</url><username>wso2carbon</username>
        <driverClassName>oracle.jdbc.OracleDriver</driverClassName><maxActive>100</maxActive>
        <validationQuery>SELECT 1 FROM DUAL</validationQuery><logAbandoned>true</logAbandoned>
      </configuration></definition></datasource>
    <datasource><name>WSO2_MB_STORE_DB</name><description>store</description>
      <jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>
      <definition type="RDBMS"><configuration>
        <url>jdbc:mysql://mysql.example.org:3306/wso2_mb?autoReconnect=true&amp;useSSL=false</url>
        <username>mbuser</username>
        <password svns:secretAlias="Datasources.WSO2_MB_STORE_DB.Configuration.Password">password</password>
        <driverClassName>com.mysql.jdbc.Driver</driverClassName>
        <maxActive>50</maxActive><maxIdle>10</maxIdle><minIdle>5</minIdle><initialSize>2</initialSize>
        <maxWait>60000</maxWait><testOnBorrow>true</testOnBorrow><validationQuery>SELECT 1</validationQuery>
        <validationInterval>30000</validationInterval><defaultAutoCommit>false</defaultAutoCommit>
        <defaultTransactionIsolation>READ_COMMITTED</defaultTransactionIsolation>
        <defaultReadOnly>false</defaultReadOnly><defaultCatalog>x</defaultCatalog>
      </configuration></definition></datasource>
  </datasources>
</datasources-configuration>
"""
VARIABLE = "BROKER_SECRET_DATASOURCES_WSO2_MB_STORE_DB_CONFIGURATION_PASSWORD"


def fragment(configuration: str, name: str = "WSO2MBStoreDB") -> str:
    return f"""<datasource><name>MB</name><jndiConfig><name>{name}</name></jndiConfig>
<definition type="RDBMS"><configuration>
{configuration}
</configuration></definition></datasource>"""


def test_master_datasources_parses_and_names_a_server(load_files):
    loaded = load_files({FILE: MASTER}, {VARIABLE: "canary"})
    url = loaded.config.store_url
    pool = loaded.config.datasources.datasources.datasource[1].definition.configuration
    assert loaded.warnings == []
    assert (url.engine, url.host, url.port, url.database) == ("mysql", "mysql.example.org", 3306, "wso2_mb")
    assert (url.user_name, url.password.get_secret_value()) == ("mbuser", "canary")
    assert url.parameters == {"autoReconnect": "true", "useSSL": "false"}
    assert (pool.max_active, pool.max_wait_ms) == (50, 60_000)


def test_a_missing_secret_names_its_variable(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files({FILE: MASTER})
    assert str(failure.value) == (
        f"conf/{FILE}:18: datasources/datasource/definition/configuration/password: the secret of alias "
        f"'Datasources.WSO2_MB_STORE_DB.Configuration.Password' is expected in environment variable '{VARIABLE}',"
        " or in security/cipher-text.properties"
    )


@pytest.mark.parametrize("around", ["{}", "<datasources>{}</datasources>"])
def test_a_datasource_stands_alone(load_files, around):
    content = around.format(fragment("<url>jdbc:h2:./MB</url>"))
    assert load_files({FILE: content}).config.store_url.path == Path("MB.db")


def test_the_xa_form_has_its_url_in_the_properties(load_files):
    content = fragment(
        """<dataSourceClassName>com.mysql.jdbc.jdbc2.optional.MysqlXADataSource</dataSourceClassName>
<dataSourceProps><property name="URL">jdbc:mysql://db/mb</property><property name="user">me</property>
<property name="password">canary</property><property name="pinGlobalTxToPhysicalConnection">true</property>
</dataSourceProps>"""
    )
    loaded = load_files({FILE: content})
    assert loaded.warnings == []
    assert (loaded.config.store_url.host, loaded.config.store_url.user_name) == ("db", "me")


def test_an_unknown_datasource_name_lists_the_known_ones(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files({FILE: fragment("<url>jdbc:h2:./MB</url>", "jdbc/Other")})
    assert str(failure.value) == (
        "conf/broker.xml:1: persistence/messageStore/property[dataSource]: "
        "no datasource has the JNDI name 'WSO2MBStoreDB'; known are jdbc/Other"
    )


def test_a_datasource_is_also_found_by_its_name(load_files):
    broker_xml = "<persistence><messageStore><property name='dataSource'>MB</property></messageStore></persistence>"
    loaded = load_files({FILE: fragment("<url>jdbc:h2:./MB</url>"), "broker.xml": broker_xml})
    assert loaded.config.store_url.path == Path("MB.db")
    assert loaded.warnings == [
        "conf/broker.xml:1: contextStore has no datasource of its own here: messageStore's keeps everything"
    ]


def test_an_unusable_url_is_reported_at_its_line(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files({FILE: fragment("<url>jdbc:db2://me:canary@x</url>")})
    assert str(failure.value) == (
        f"conf/{FILE}:3: datasources/datasource/definition/configuration/url: 'jdbc:db2:********' is not a "
        "database of this broker; use jdbc:sqlite:, jdbc:h2:, jdbc:mysql:, jdbc:mariadb:, jdbc:postgresql: or an "
        "SQLAlchemy URL"
    )


def test_the_datasource_of_the_message_store_is_the_one_in_use(load_files):
    config = load_files({FILE: fragment("<url>jdbc:h2:./MB</url><maxActive>7</maxActive>")}).config
    assert (config.datasource.max_active, config.datasource.store_url) == (7, config.store_url)


def test_a_context_store_without_a_datasource_is_a_line_of_its_own(load_files):
    broker_xml = "<persistence><contextStore><property name='dataSource'>nope</property></contextStore></persistence>"
    with pytest.raises(ConfigError) as failure:
        load_files({"broker.xml": broker_xml})
    assert str(failure.value) == (
        "conf/broker.xml:1: persistence/contextStore/property[dataSource]: "
        "no datasource has the JNDI name 'nope'; known are WSO2MBStoreDB"
    )


def test_an_unknown_url_parameter_is_reported_at_its_line(load_files):
    loaded = load_files({FILE: fragment("<url>jdbc:mysql://db/mb?autoReconect=true&amp;useSSL=false</url>")})
    assert loaded.warnings == [
        f"conf/{FILE}:3: datasources/datasource/definition/configuration/url: unknown parameter 'autoReconect'; "
        "did you mean 'autoReconnect'?"
    ]


def test_a_wrong_url_parameter_is_refused_at_its_line(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files({FILE: fragment("\n<url>jdbc:postgresql://db/mb?password=canary&amp;sslmode=on</url>")})
    assert str(failure.value) == (
        f"conf/{FILE}:4: datasources/datasource/definition/configuration/url: parameter 'sslmode': 'on' is not one of "
        "disable, allow, prefer, require, verify-ca, verify-full"
    )


def test_a_datasource_that_is_not_in_use_is_not_judged(load_files):
    other = fragment("<url>jdbc:mysql://db/mb?foo=1</url><defaultAutoCommit>true</defaultAutoCommit>", "jdbc/Other")
    assert load_files({FILE: other + fragment("<url>jdbc:h2:./MB</url>")}).warnings == []


def test_automatic_commits_are_reported_to_have_no_effect(load_files):
    content = fragment("<url>jdbc:mysql://db/mb</url>\n<defaultAutoCommit>true</defaultAutoCommit>")
    assert load_files({FILE: content}).warnings == [
        f"conf/{FILE}:4: datasources/datasource/definition/configuration/defaultAutoCommit: 'true' has no effect: "
        "the broker commits explicitly"
    ]


SECRETS = {"url": "jdbc:mysql://db/mb", "username": "me", "password": "canary"}
XA_PREFIX = "<dataSourceClassName>x</dataSourceClassName><dataSourceProps>{}</dataSourceProps>"


def element(name: str, text: str, attributes: str = "") -> str:
    return f"<{name}{attributes}>{text}</{name}>"


def read_back(loaded: Loaded) -> dict[str, str]:
    url = loaded.config.store_url
    return {
        "url": f"jdbc:{url.engine}://{url.host}/{url.database}",
        "username": url.user_name,
        "password": url.password.get_secret_value(),
    }


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_come_from_the_environment(load_files, name):
    texts = SECRETS | {name: "${env:DB_SECRET}"}
    content = fragment("".join(element(key, text) for key, text in texts.items()))
    loaded = load_files({FILE: content}, {"DB_SECRET": SECRETS[name]})
    assert (read_back(loaded), loaded.warnings) == (SECRETS, [])


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_come_from_a_file(load_files, tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_text(SECRETS[name] + "\n")
    secret.chmod(0o600)
    texts = SECRETS | {name: f"file:{secret}"}
    loaded = load_files({FILE: fragment("".join(element(key, text) for key, text in texts.items()))})
    assert (read_back(loaded), loaded.warnings) == (SECRETS, [])


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_come_from_its_alias(load_files, name):
    alias = ' svns:secretAlias="Datasources.MB.Secret"'
    content = fragment("".join(element(key, text, alias if key == name else "") for key, text in SECRETS.items()))
    loaded = load_files({FILE: content}, {"BROKER_SECRET_DATASOURCES_MB_SECRET": SECRETS[name]})
    assert (read_back(loaded), loaded.warnings) == (SECRETS, [])


def test_the_secrets_of_the_xa_form_may_come_from_files_too(load_files, tmp_path):
    names = {"URL": "url", "user": "username", "password": "password"}
    properties = ""
    for name, key in names.items():
        secret = tmp_path / key
        secret.write_text(SECRETS[key])
        secret.chmod(0o600)
        properties += f'<property name="{name}">file:{secret}</property>'
    loaded = load_files({FILE: fragment(XA_PREFIX.format(properties))})
    assert (read_back(loaded), loaded.warnings) == (SECRETS, [])


def test_a_secret_file_that_is_missing_is_named(load_files):
    with pytest.raises(ConfigError) as failure:
        load_files({FILE: fragment("<url>jdbc:mysql://db/mb</url><password>file:/nowhere/secret</password>")})
    assert str(failure.value) == (
        f"conf/{FILE}:3: datasources/datasource/definition/configuration/password: "
        "secret file '/nowhere/secret' cannot be read: No such file or directory"
    )


def test_two_datasources_with_one_jndi_name_are_refused_and_both_named(load_files):
    def source(name, jndi_config):
        return f"<datasource><name>{name}</name>{jndi_config}<definition/></datasource>\n"

    file = "<datasources>\n{}{}{}</datasources>".format(
        source("FIRST", "<jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>"),
        source("jdbc/SHARED_DB", ""),
        source("SECOND", "<jndiConfig>\n<name>WSO2MBStoreDB</name></jndiConfig>")
        + source("THIRD", "<jndiConfig><name>jdbc/SHARED_DB</name></jndiConfig>"),
    )
    with pytest.raises(ConfigError) as refused:
        load_files({FILE: file})
    place = "datasources/datasource/jndiConfig/name"
    assert str(refused.value).splitlines() == [
        f"conf/{FILE}:5: {place}: 'WSO2MBStoreDB' of datasource 'SECOND' is the JNDI name"
        f" of datasource 'FIRST' too, at conf/{FILE}:2; name one of them differently",
        f"conf/{FILE}:6: {place}: 'jdbc/SHARED_DB' of datasource 'THIRD' is the JNDI name"
        f" of datasource 'jdbc/SHARED_DB' too, at conf/{FILE}:3; name one of them differently",
    ]


def test_properties_of_the_connection_count_and_are_not_shown(load_files):
    properties = "<connectionProperties>socketTimeout=7000;canary=canary</connectionProperties>"
    loaded = load_files({FILE: fragment(f"<url>jdbc:mysql://db/mb</url>{properties}")})
    assert connection_options(loaded.config.store_url)[0].socket_timeout == 7.0
    assert "canary" not in show(loaded.config)
    assert len(loaded.warnings) == 1
