"""Connection options from the parameters of a database URL.

Parameters may be spelled as the JDBC drivers of MySQL, MariaDB and PostgreSQL or the Python drivers spell them. The PEM
files that they name are checked. This module opens no connection and loads no driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from broker.config.store_url import StoreUrl
from broker.config.url_parameters import MILLISECONDS, SECONDS, UrlParameters

TlsMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

CONNECT_TIMEOUT: Final = 5.0
SOCKET_TIMEOUT: Final = 10.0
APPLICATION_NAME: Final = "cordillera"

_MYSQL_MODES: Final[Mapping[str, TlsMode]] = {
    "disabled": "disable",
    "preferred": "prefer",
    "required": "require",
    "verify-ca": "verify-ca",
    "verify-identity": "verify-full",
    # MariaDB Connector/J.
    "disable": "disable",
    "trust": "require",
    "verify-full": "verify-full",
}
_POSTGRESQL_MODES: Final[Mapping[str, TlsMode]] = {
    "disable": "disable",
    "allow": "prefer",
    "prefer": "prefer",
    "require": "require",
    "verify-ca": "verify-ca",
    "verify-full": "verify-full",
}
# pgjdbc's `ssl` is a boolean, and with `false` the server may still require TLS; the Python drivers give it a mode.
_POSTGRESQL_SSL: Final[Mapping[str, TlsMode]] = {
    "true": "verify-full",
    "false": "prefer",
    "": "verify-full",
    **_POSTGRESQL_MODES,
}

# Parameters without effect that need no warning: they ask for what this broker does anyway, or concern Java only.
_NEEDLESS: Final[Mapping[str, str]] = {
    "mysql": """
        allowLoadLocalInfile allowLocalInfile allowMultiQueries allowPublicKeyRetrieval allowUrlInLocalInfile
        alwaysSendSetIsolation autoReconnect autoReconnectForPools autocommit cacheCallableStmts cachePrepStmts
        cacheResultSetMetadata cacheServerConfiguration characterEncoding characterSetResults charset
        clientCertificateKeyStorePassword clientCertificateKeyStoreType connectionCollation connectionTimeZone
        continueBatchOnError defaultFetchSize dontTrackOpenResources dumpQueriesOnException elideSetAutoCommits
        enabledSSLCipherSuites enabledSslProtocolSuites enabledTLSProtocols failOverReadOnly
        fallbackToSystemKeyStore fallbackToSystemTrustStore forceConnectionTimeZoneToSession initialTimeout
        interactiveClient jdbcCompliantTruncation keyStorePassword keyStoreType local_infile log logger
        maintainTimeStats maxAllowedPacket maxReconnects nullCatalogMeansCurrent paranoid permitMysqlScheme
        pinGlobalTxToPhysicalConnection prepStmtCacheSize prepStmtCacheSqlLimit profileSQL relaxAutoCommit
        restrictedAuth rewriteBatchedStatements serverRSAPublicKeyFile serverTimezone tcpKeepAlive tcpNoDelay
        tcpRcvBuf tcpSndBuf timezone tinyInt1isBit tlsCiphersuites tlsVersions transactionIsolation
        trustCertificateKeyStorePassword trustCertificateKeyStoreType trustStorePassword trustStoreType
        useBatchMultiSend useBulkStmts useCompression useConfigs useCursorFetch useJDBCCompliantTimezoneShift
        useLegacyDatetimeCode useLocalSessionState useLocalTransactionState useMysqlMetadata useOldAliasMetadataBehavior
        useServerPrepStmts useTimezone useUnicode useUnbufferedInput yearIsDateType zeroDateTimeBehavior
    """,
    "postgresql": """
        adaptiveFetch allowEncodingChanges assumeMinServerVersion autosave binaryTransfer cancelSignalTimeout
        channelBinding charSet cleanupSavepoints client_encoding databaseMetadataCacheFields
        databaseMetadataCacheFieldsMiB defaultRowFetchSize disableColumnSanitiser escapeSyntaxCallMode
        groupStartupParameters gssEncMode gsslib jaasLogin kerberosServerName krbsrvname
        logServerErrorDetail logUnclosedConnections loggerFile loggerLevel maxResultBuffer
        preferQueryMode prepareThreshold preparedStatementCacheQueries preparedStatementCacheSizeMiB
        prepared_statement_cache_size prepared_statement_name_func protocolVersion queryTimeout
        quoteReturningIdentifiers readOnly readOnlyMode receiveBufferSize reWriteBatchedInserts
        requireAuth sendBufferSize sslNegotiation sslResponseTimeout sslpassword sslpasswordcallback
        statement_cache_size stringtype tcpKeepAlive tcpNoDelay
        unknownLength useSpnego xmlFactoryFactory
    """,
}
_NO_EFFECT: Final[Mapping[str, str]] = {
    "createDatabaseIfNotExist": "create the database before the first start",
    "sessionVariables": "the broker sets up its sessions itself",
    "options": "the broker sets up its sessions itself",
    **dict.fromkeys(
        (
            *("secondsBeforeRetryMaster", "secondsBeforeRetrySource", "queriesBeforeRetryMaster"),
            *("queriesBeforeRetrySource", "retriesAllDown", "hostRecheckSeconds"),
        ),
        "a new connection tries the server in use first, and last those that failed in the last 10 s",
    ),
}
_ONE_SERVER: Final = "the broker reads and writes on one server at a time: the first in the URL that takes writes"
_TARGETS: Final = {
    **dict.fromkeys(("any", "primary", "master", "preferprimary", "read-write", "readwrite", "prefer-primary"), True),
    **dict.fromkeys(("secondary", "slave", "prefersecondary", "preferslave", "standby", "read-only"), False),
    **dict.fromkeys(("prefer-standby", "prefer-secondary"), False),
}
"""Which servers a URL may ask for: is one of them the server that takes writes?"""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How to connect to the database server; times in seconds.

    `connect_timeout` includes the log-in; `socket_timeout` limits the wait for the answer to one ordinary statement. A
    `tls_ca` of None means the certificate authorities of the system; a `tls_key` of None means that the key is in
    `tls_cert`. `schema` is for PostgreSQL, empty for the default; `unix_socket` is for MariaDB.
    """

    tls: TlsMode = "prefer"
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    connect_timeout: float = CONNECT_TIMEOUT
    socket_timeout: float = SOCKET_TIMEOUT
    application_name: str = APPLICATION_NAME
    schema: str = ""
    unix_socket: Path | None = None


def connection_options(url: StoreUrl) -> tuple[ConnectionOptions, list[str]]:
    """Return the options that the parameters of `url` give, and a warning for each that is unknown or has no effect.

    Raises ValueError naming the parameter and its valid values. The parameters of an embedded store are ignored: it has
    no connections.
    """
    if url.engine not in ("mysql", "postgresql"):
        return ConnectionOptions(), []
    parameters = UrlParameters(url.parameters)
    options = _mysql(parameters) if url.engine == "mysql" else _postgresql(parameters)
    if options.tls_ca and not options.tls.startswith("verify"):
        parameters.warnings.append(
            f"TLS mode '{options.tls}' does not verify the server's certificate, so '{options.tls_ca}' has no effect"
        )
    parameters.judge_the_rest(_NEEDLESS[url.engine].split(), _NO_EFFECT)
    return options, parameters.warnings


def _judge_targets(parameters: UrlParameters) -> None:
    """Raise ValueError when other servers are asked for than those the broker can work with."""
    for name in ("targetServerType", "target_session_attrs"):
        target = parameters.text(name)
        wanted = _TARGETS.get(target.lower().replace("_", "-")) if target else True
        if wanted is None:
            raise ValueError(f"parameter '{name}': '{target}' is not one of primary, any")
        if not wanted:
            raise ValueError(f"parameter '{name}': '{target}' is a server that takes no writes; use primary")
    _refuse_balancing(parameters, "loadBalanceHosts", "load_balance_hosts")


def _refuse_balancing(parameters: UrlParameters, *names: str) -> None:
    for name in names:
        if parameters.text(name).lower() not in ("", "false", "disable"):
            raise ValueError(f"parameter '{name}' is not served: {_ONE_SERVER}")


def _mysql(parameters: UrlParameters) -> ConnectionOptions:
    _refuse_balancing(parameters, "roundRobinLoadBalance")
    authority = parameters.file("serverSslCert", "trustCertificateKeyStoreUrl", "trustStore", "ssl_ca")
    certificate, key = parameters.certificate_and_key(
        ("clientCertificateKeyStoreUrl", "keyStore", "ssl_cert"), ("ssl_key",)
    )
    socket = parameters.text("localSocket", "unix_socket")
    attributes = dict(pair.split(":", 1) for pair in parameters.text("connectionAttributes").split(",") if ":" in pair)
    name = parameters.text("program_name") or attributes.get("program_name", "")
    return ConnectionOptions(
        tls=_mysql_tls(parameters, bool(authority)),
        tls_ca=authority,
        tls_cert=certificate,
        tls_key=key,
        connect_timeout=parameters.timeout(
            {"connectTimeout": MILLISECONDS, "connect_timeout": SECONDS}, CONNECT_TIMEOUT
        ),
        socket_timeout=parameters.timeout({"socketTimeout": MILLISECONDS, "read_timeout": SECONDS}, SOCKET_TIMEOUT),
        application_name=name or APPLICATION_NAME,
        unix_socket=Path(socket) if socket else None,
    )


def _mysql_tls(parameters: UrlParameters, has_authority: bool) -> TlsMode:
    """Return the mode that MySQL's and MariaDB's parameters ask for.

    A mode wins over the older booleans. A certificate authority without a mode means that the certificate is verified,
    unless a boolean forbids it. `useSSL=true` means `require`, not `prefer`: whoever writes it expects encryption.
    """
    mode = parameters.choice("sslMode", _MYSQL_MODES)
    use, require = parameters.flag("useSSL"), parameters.flag("requireSSL")
    verify, trust = parameters.flag("verifyServerCertificate"), parameters.flag("trustServerCertificate")
    any_host, host = parameters.flag("disableSslHostnameVerification"), parameters.flag("ssl_check_hostname")
    if mode:
        return mode
    if use is False:
        return "disable"
    if (verify or has_authority) and not trust:
        return "verify-full" if host or any_host is False else "verify-ca"
    return "require" if use or require or verify else "prefer"


def _postgresql(parameters: UrlParameters) -> ConnectionOptions:
    _judge_targets(parameters)
    authority = parameters.file("sslrootcert")
    certificate, key = parameters.certificate_and_key(("sslcert",), ("sslkey",))
    return ConnectionOptions(
        tls=_postgresql_tls(parameters, bool(authority)),
        tls_ca=authority,
        tls_cert=certificate,
        tls_key=key,
        connect_timeout=parameters.timeout(
            dict.fromkeys(("loginTimeout", "connectTimeout", "connect_timeout", "timeout"), SECONDS), CONNECT_TIMEOUT
        ),
        socket_timeout=parameters.timeout(dict.fromkeys(("socketTimeout", "command_timeout"), SECONDS), SOCKET_TIMEOUT),
        application_name=parameters.text("ApplicationName", "application_name") or APPLICATION_NAME,
        schema=parameters.text("currentSchema"),
    )


def _postgresql_tls(parameters: UrlParameters, has_authority: bool) -> TlsMode:
    """Return the mode that PostgreSQL's parameters ask for; as in libpq, `require` with an authority verifies."""
    mode = parameters.choice("sslmode", _POSTGRESQL_MODES)
    ssl = parameters.choice("ssl", _POSTGRESQL_SSL)
    trusts_any = parameters.text("sslfactory").endswith("NonValidatingFactory")
    if mode is None and ssl == "verify-full" and trusts_any:
        return "require"
    mode = mode or ssl
    if has_authority and mode in (None, "require"):
        return "verify-ca"
    return mode or "prefer"
