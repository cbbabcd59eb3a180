from __future__ import annotations

from pathlib import Path

import pytest

from broker.config.connection_options import ConnectionOptions, connection_options
from broker.config.store_url import parse

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    (tmp_path / "both.pem").write_text(CERTIFICATE + KEY)
    (tmp_path / "store.jks").write_bytes(b"\xfe\xed\xfe\xed\x00\x00\x00\x02")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mysql(query: str) -> ConnectionOptions:
    options, warnings = connection_options(parse(f"jdbc:mariadb://db/mb?{query}"))
    assert warnings == []
    return options


def postgresql(query: str) -> ConnectionOptions:
    options, warnings = connection_options(parse(f"jdbc:postgresql://db/mb?{query}"))
    assert warnings == []
    return options


def warnings_of(url: str) -> list[str]:
    return connection_options(parse(url))[1]


@pytest.mark.parametrize("url", ["jdbc:mysql://db/mb", "jdbc:postgresql://db/mb"])
def test_without_parameters_the_defaults_apply(url):
    assert connection_options(parse(url)) == (
        ConnectionOptions(
            tls="prefer",
            connect_timeout=5.0,
            socket_timeout=10.0,
            application_name="cordillera",
            schema="",
            unix_socket=None,
        ),
        [],
    )


@pytest.mark.parametrize("url", ["jdbc:h2:./MB;LOCK_TIMEOUT=1;useSSL=maybe", "jdbc:sqlite:./mb.db?x=1", "sqlite://"])
def test_parameters_of_an_embedded_store_are_ignored(url):
    assert connection_options(parse(url)) == (ConnectionOptions(), [])


@pytest.mark.parametrize(
    ("query", "tls"),
    [
        ("useSSL=false", "disable"),
        ("useSsl=FALSE&requireSSL=true", "disable"),
        ("useSSL=true", "require"),
        ("requireSSL=true", "require"),
        ("useSSL=true&trustServerCertificate=true&verifyServerCertificate=true", "require"),
        ("trustServerCertificate=true", "prefer"),
        ("useSSL=true&verifyServerCertificate=true", "verify-ca"),
        ("useSSL=true&verifyServerCertificate=false", "require"),
        ("useSSL=true&verifyServerCertificate=true&disableSslHostnameVerification=false", "verify-full"),
        ("sslMode=DISABLED", "disable"),
        ("sslMode=PREFERRED", "prefer"),
        ("sslMode=REQUIRED&useSSL=false", "require"),
        ("sslMode=VERIFY_CA", "verify-ca"),
        ("sslMode=VERIFY_IDENTITY", "verify-full"),
        ("sslMode=disable", "disable"),
        ("sslMode=trust", "require"),
        ("sslMode=verify-ca", "verify-ca"),
        ("sslMode=verify-full", "verify-full"),
        ("sslMode=", "prefer"),
        ("serverSslCert=ca.pem", "verify-ca"),
        ("ssl_ca=ca.pem&ssl_check_hostname=true", "verify-full"),
        ("ssl_ca=ca.pem&ssl_check_hostname=false", "verify-ca"),
    ],
)
def test_a_mysql_url_says_how_tls_is_used(folder, query, tls):
    assert mysql(query).tls == tls


@pytest.mark.parametrize(
    ("query", "tls"),
    [
        ("sslmode=disable", "disable"),
        ("sslmode=allow", "prefer"),
        ("sslmode=prefer", "prefer"),
        ("sslmode=require", "require"),
        ("sslmode=verify-ca", "verify-ca"),
        ("sslmode=verify-full", "verify-full"),
        ("ssl=true", "verify-full"),
        ("ssl", "verify-full"),
        ("ssl=false", "prefer"),
        ("ssl=require", "require"),
        ("ssl=true&sslmode=require", "require"),
        ("ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory", "require"),
        ("ssl=true&sslfactory=org.postgresql.ssl.LibPQFactory", "verify-full"),
        ("sslrootcert=ca.pem", "verify-ca"),
        ("sslmode=require&sslrootcert=ca.pem", "verify-ca"),
        ("sslmode=verify-full&sslrootcert=ca.pem", "verify-full"),
    ],
)
def test_a_postgresql_url_says_how_tls_is_used(folder, query, tls):
    assert postgresql(query).tls == tls


@pytest.mark.parametrize("name", ["serverSslCert", "trustCertificateKeyStoreUrl", "trustStore", "ssl_ca"])
@pytest.mark.parametrize("location", ["ca.pem", "file:ca.pem", "file:{}/ca.pem", "file://{}/ca.pem"])
def test_the_authority_of_a_mysql_server_is_a_pem_file(folder, name, location):
    options = mysql(f"{name}={location.format(folder)}&trustCertificateKeyStorePassword=x")
    assert options.tls_ca is not None
    assert options.tls_ca.absolute() == folder / "ca.pem"


def test_a_mysql_client_certificate_may_hold_its_key(folder):
    options = mysql("clientCertificateKeyStoreUrl=file:both.pem&clientCertificateKeyStoreType=PEM")
    assert (options.tls_cert, options.tls_key) == (Path("both.pem"), None)


def test_a_mysql_client_certificate_may_have_its_key_beside_it(folder):
    options = mysql("ssl_cert=cert.pem&ssl_key=key.pem")
    assert (options.tls_cert, options.tls_key) == (Path("cert.pem"), Path("key.pem"))


def test_postgresql_takes_certificates_from_pem_files(folder):
    options = postgresql("sslmode=verify-full&sslrootcert=ca.pem&sslcert=cert.pem&sslkey=key.pem&sslpassword=x")
    assert (options.tls_ca, options.tls_cert, options.tls_key) == (Path("ca.pem"), Path("cert.pem"), Path("key.pem"))


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("connectTimeout=3000", 3.0),
        ("connectTimeout=0", 5.0),
        ("connect_timeout=7", 7.0),
        ("connectTimeout=1500&connect_timeout=7", 1.5),
    ],
)
def test_mysql_connects_in_milliseconds_and_pymysql_in_seconds(query, seconds):
    assert mysql(query).connect_timeout == seconds


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("connectTimeout=3", 3.0),
        ("loginTimeout=4&connectTimeout=3", 4.0),
        ("loginTimeout=0", 5.0),
        ("connect_timeout=6", 6.0),
        ("timeout=2.5", 2.5),
    ],
)
def test_postgresql_connects_in_seconds(query, seconds):
    assert postgresql(query).connect_timeout == seconds


def test_a_socket_timeout_is_milliseconds_for_mysql_and_seconds_for_postgresql():
    assert mysql("socketTimeout=30000").socket_timeout == 30.0
    assert mysql("read_timeout=20").socket_timeout == 20.0
    assert postgresql("socketTimeout=30").socket_timeout == 30.0
    assert postgresql("command_timeout=20").socket_timeout == 20.0


def test_a_socket_timeout_of_zero_is_the_default():
    assert mysql("socketTimeout=0").socket_timeout == 10.0
    assert postgresql("socketTimeout=0").socket_timeout == 10.0


def test_a_timeout_that_never_ends_is_reported():
    assert warnings_of("jdbc:postgresql://db/mb?socketTimeout=30000") == [
        "parameter 'socketTimeout' lets a silent database go unnoticed for 30000 s; it is in seconds"
    ]


@pytest.mark.parametrize(
    "query",
    [
        "connectionAttributes=team:x,program_name:orders",
        "program_name=orders",
        "connectionAttributes=none&program_name=orders",
    ],
)
def test_mysql_takes_the_application_name_from_the_connection_attributes(query):
    assert mysql(query).application_name == "orders"


@pytest.mark.parametrize("name", ["ApplicationName", "application_name"])
def test_postgresql_takes_application_name_and_schema(name):
    options = postgresql(f"{name}=orders&currentSchema=mb")
    assert (options.application_name, options.schema) == ("orders", "mb")


@pytest.mark.parametrize("name", ["localSocket", "unix_socket"])
def test_mariadb_may_be_reached_through_a_local_socket(name):
    assert mysql(f"{name}=/run/mysqld/mysqld.sock").unix_socket == Path("/run/mysqld/mysqld.sock")


@pytest.mark.parametrize(
    "query",
    [
        "autoReconnect=true&characterEncoding=UTF-8&useUnicode=true&rewriteBatchedStatements=true&charset=utf8mb4",
        "useServerPrepStmts=true&cachePrepStmts=true&allowPublicKeyRetrieval=true&serverTimezone=UTC",
        "useLegacyDatetimeCode=false&nullCatalogMeansCurrent=true&tcpKeepAlive=true&zeroDateTimeBehavior=round",
        "autoReconnect=true&relaxAutoCommit=true",
    ],
)
def test_mysql_parameters_that_ask_for_nothing_new_are_accepted(query):
    assert mysql(query) == ConnectionOptions()


@pytest.mark.parametrize(
    "query",
    [
        "targetServerType=primary&prepareThreshold=5&tcpKeepAlive=true&reWriteBatchedInserts=true",
        "stringtype=unspecified&defaultRowFetchSize=100&preferQueryMode=simple&loggerLevel=OFF",
    ],
)
def test_postgresql_parameters_that_ask_for_nothing_new_are_accepted(query):
    assert postgresql(query) == ConnectionOptions()


@pytest.mark.parametrize(
    ("url", "warning"),
    [
        ("jdbc:mysql://db/mb?useSLL=true", "unknown parameter 'useSLL'; did you mean 'useSSL'?"),
        ("jdbc:mysql://db/mb?passwrd=canary", "unknown parameter 'passwrd'; did you mean 'password'?"),
        ("jdbc:mysql://db/mb?foo", "unknown parameter 'foo'"),
        ("jdbc:postgresql://db/mb?ssl_mode=require", "unknown parameter 'ssl_mode'; did you mean 'sslmode'?"),
        (
            "jdbc:mysql://db/mb?createDatabaseIfNotExist=true",
            "parameter 'createDatabaseIfNotExist' has no effect: create the database before the first start",
        ),
        (
            "jdbc:postgresql://db/mb?options=-c%20fsync%3Doff",
            "parameter 'options' has no effect: the broker sets up its sessions itself",
        ),
    ],
)
def test_an_unknown_parameter_is_reported_without_its_value(url, warning):
    assert warnings_of(url) == [warning]


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("jdbc:mysql://db/mb?sslMode=REQUIRED&serverSslCert=ca.pem", "require"),
        ("jdbc:mysql://db/mb?useSSL=false&serverSslCert=ca.pem", "disable"),
        ("jdbc:postgresql://db/mb?sslmode=prefer&sslrootcert=ca.pem", "prefer"),
    ],
)
def test_an_authority_that_verifies_nothing_is_reported(folder, url, tls):
    assert warnings_of(url) == [f"TLS mode '{tls}' does not verify the server's certificate, so 'ca.pem' has no effect"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("jdbc:mysql://db/mb?useSSL=maybe", "parameter 'useSSL': 'maybe' is not true or false"),
        (
            "jdbc:mysql://db/mb?sslMode=on",
            "parameter 'sslMode': 'on' is not one of disabled, preferred, required, verify-ca, verify-identity, "
            "disable, trust, verify-full",
        ),
        (
            "jdbc:postgresql://db/mb?sslmode=on",
            "parameter 'sslmode': 'on' is not one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        (
            "jdbc:mysql://db/mb?socketTimeout=30",
            "parameter 'socketTimeout': '30' is not a number of milliseconds, at least 1000, or 0 for the default of "
            "10000",
        ),
        (
            "jdbc:postgresql://db/mb?socketTimeout=0.5",
            "parameter 'socketTimeout': '0.5' is not a number of seconds, at least 1, or 0 for the default of 10",
        ),
        (
            "jdbc:postgresql://db/mb?loginTimeout=-1",
            "parameter 'loginTimeout': '-1' is not a number of seconds, at least 1, or 0 for the default of 5",
        ),
        (
            "jdbc:mysql://db/mb?connectTimeout=5s",
            "parameter 'connectTimeout': '5s' is not a number of milliseconds, at least 1000, or 0 for the default of "
            "5000",
        ),
        (
            "jdbc:mysql://db/mb?trustCertificateKeyStoreUrl=file:store.jks",
            "parameter 'trustCertificateKeyStoreUrl': 'store.jks' is not a PEM file; convert a JKS or PKCS #12 store "
            "with keytool and openssl",
        ),
        (
            "jdbc:postgresql://db/mb?sslrootcert=missing.pem",
            "parameter 'sslrootcert': file 'missing.pem' cannot be read: No such file or directory",
        ),
        (
            "jdbc:postgresql://db/mb?sslcert=cert.pem",
            "parameter 'sslcert': 'cert.pem' has no private key",
        ),
        (
            "jdbc:postgresql://db/mb?sslcert=cert.pem&sslkey=ca.pem",
            "parameter 'sslkey': 'ca.pem' has no private key",
        ),
        (
            "jdbc:postgresql://db/mb?sslkey=key.pem",
            "parameter 'sslkey': a key needs its certificate in 'sslcert'",
        ),
    ],
)
def test_a_wrong_value_names_parameter_value_and_rule(folder, url, reason):
    with pytest.raises(ValueError, match=r"^parameter '") as failure:
        connection_options(parse(url))
    assert str(failure.value) == reason
