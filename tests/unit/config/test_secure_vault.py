from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.config.secure_vault import SecureVault, alias_in
from broker.errors import ConfigError
from tests.support.jks_writer import Key, jks

KEY = rsa.generate_private_key(65_537, 1024)
STORE = "repository/resources/security/keys.jks"
ALIAS = "UserManager.AdminUser.Password"
VARIABLE = "BROKER_SECRET_USERMANAGER_ADMINUSER_PASSWORD"
BY_CIPHERTOOL = f"""#Mon Nov 30 10:00:00 UTC 2026
carbon.secretProvider=org.wso2.securevault.secret.handler.SecretManagerSecretCallbackHandler
secretRepositories=file
secretRepositories.file.provider=org.wso2.securevault.secret.repository.FileBaseSecretRepositoryProvider
secretRepositories.file.location=conf/security/cipher-text.properties
keystore.identity.location={STORE}
keystore.identity.type=JKS
keystore.identity.alias=wso2carbon
keystore.identity.store.password=identity.store.password
keystore.identity.store.secretProvider=org.wso2.carbon.securevault.DefaultSecretCallbackHandler
keystore.identity.key.password=identity.key.password
keystore.identity.key.secretProvider=org.wso2.carbon.securevault.DefaultSecretCallbackHandler
"""


def encrypted(text: str) -> str:
    return b64encode(KEY.public_key().encrypt(text.encode(), PKCS1v15())).decode().replace("=", "\\=")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of WSO2's server after ciphertool; `write` adds a file that only its user may read."""
    pkcs8 = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / STORE).parent.mkdir(parents=True)
    (tmp_path / STORE).write_bytes(jks([Key("wso2carbon", pkcs8, ())], "changeit"))
    write(tmp_path, "conf/security/cipher-text.properties", f"{ALIAS}={encrypted('canary')}\nplain=[in [clear]]\n")
    write(tmp_path, "conf/security/secret-conf.properties", BY_CIPHERTOOL)
    return tmp_path


def write(home: Path, name: str, text: str) -> None:
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(text)
    (home / name).chmod(0o600)


def vault(home: Path, **environ: str) -> SecureVault:
    return SecureVault(home / "conf", environ)


@pytest.mark.parametrize(
    ("text", "alias"),
    [("secretAlias:A.b", "A.b"), ("$secret{A.b}", "A.b"), ("password", None), ("x$secret{A}", None), ("", None)],
)
def test_a_text_may_be_an_alias(text: str, alias: str | None):
    assert alias_in(text) == alias


def test_a_secret_in_brackets_is_there_in_clear(home: Path):
    assert vault(home).secret("plain") == "in [clear]"


def test_the_environment_wins(home: Path):
    assert vault(home, BROKER_SECRET_PLAIN="other").secret("plain") == "other"


@pytest.mark.parametrize("name", ["password-persist", "password-tmp", "password"])
def test_an_encrypted_secret_is_opened_with_the_password_that_a_file_has(home: Path, name: str):
    write(home, name, "changeit\n")
    opened = vault(home)
    assert opened.secret(ALIAS) == "canary"
    assert opened.files[-1] == home / name
    assert (home / name).exists()
    assert opened.warnings == (
        []
        if name == "password-persist"
        else [
            f"'{home / name}' is left where it is, to be read again; WSO2's server deletes it. Remove it, or call it"
            " password-persist"
        ]
    )


def test_the_password_of_the_store_may_come_from_the_environment(home: Path):
    assert vault(home, BROKER_SECRET_IDENTITY_STORE_PASSWORD="changeit").secret(ALIAS) == "canary"


def test_the_password_of_the_store_may_be_in_the_file_itself(home: Path):
    own = "\n".join(line for line in BY_CIPHERTOOL.splitlines() if "store.secretProvider" not in line)
    own = own.replace("password=identity.store.password", "password=changeit")
    write(home, "conf/security/secret-conf.properties", own)
    assert vault(home).secret(ALIAS) == "canary"


def test_files_may_lie_beside_broker_xml(home: Path):
    for name in ("cipher-text.properties", "secret-conf.properties"):
        (home / "conf/security" / name).rename(home / "conf" / name)
    assert vault(home, BROKER_SECRET_IDENTITY_STORE_PASSWORD="changeit").secret(ALIAS) == "canary"


def test_carbon_home_says_where_the_store_is(home: Path, tmp_path_factory: pytest.TempPathFactory):
    elsewhere = tmp_path_factory.mktemp("etc") / "broker"
    (home / "conf").rename(elsewhere)
    environ = {"CARBON_HOME": str(home), "BROKER_SECRET_IDENTITY_STORE_PASSWORD": "changeit"}
    assert SecureVault(elsewhere, environ).secret(ALIAS) == "canary"


def test_without_the_password_the_refusal_says_what_to_do(home: Path):
    with pytest.raises(ValueError, match="is encrypted") as refused:
        vault(home).secret(ALIAS)
    assert str(refused.value) == (
        f"the secret of alias '{ALIAS}' in '{home}/conf/security/cipher-text.properties': it is encrypted, and the"
        f" password of key store '{home / STORE}' is not known: set environment variable"
        f" 'BROKER_SECRET_IDENTITY_STORE_PASSWORD', or write it into file '{home}/password-persist'; or set environment"
        f" variable '{VARIABLE}'"
    )


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("password-persist", "wrong", "key store '.*keys.jks': the password is wrong"),
        ("conf/security/secret-conf.properties", "#keystore.identity.location=x", "does not say with which key"),
        (
            "conf/security/secret-conf.properties",
            BY_CIPHERTOOL.replace("secretRepositories=file", "secretRepositories=vault"),
            "repository 'vault' with algorithm 'RSA' .* is not served",
        ),
        (
            "conf/security/secret-conf.properties",
            BY_CIPHERTOOL + "secretRepositories.file.algorithm=AES/GCM/NoPadding",
            "repository 'file' with algorithm 'AES/GCM/NoPadding' .* is not served",
        ),
        ("conf/security/cipher-text.properties", f"{ALIAS}=canary!", "neither .plain text. in brackets"),
        ("conf/security/cipher-text.properties", f"{ALIAS}=Y2FuYXJ5", "not encrypted for the key"),
        ("conf/security/cipher-text.properties", "other=[x]", f"expected in environment variable '{VARIABLE}'"),
    ],
)
def test_what_cannot_be_opened_is_refused_and_nothing_is_shown(home: Path, file: str, text: str, says: str):
    write(home, "password-persist", "changeit")
    write(home, file, text)
    with pytest.raises(ValueError, match=says) as refused:
        vault(home).secret(ALIAS)
    assert "canary" not in str(refused.value)


def test_an_alias_that_nobody_knows_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="environment variable 'BROKER_SECRET_A', or in security/cipher-text"):
        vault(tmp_path).secret("A")


def test_secrets_that_every_user_may_read_are_warned_of(home: Path):
    file = home / "conf/security/cipher-text.properties"
    file.chmod(0o644)
    opened = vault(home)
    assert {opened.secret("plain"), opened.secret("plain")} == {"in [clear]"}
    assert opened.warnings == [f"'{file}' has secrets in clear and is readable by every user"]


@pytest.mark.parametrize(
    "password",
    [f'<Password svns:secretAlias="{ALIAS}">password</Password>', f"<Password>secretAlias:{ALIAS}</Password>"],
)
def test_an_alias_in_a_file_stands_for_its_secret(load_files, password: str):
    user_mgt = f"<AdminUser>{password}</AdminUser>"
    cipher_text = {"security/cipher-text.properties": f"{ALIAS}=[canary]"}
    loaded = load_files({"user-mgt.xml": user_mgt, **cipher_text})
    assert loaded.config.user_mgt.admin_password.get_secret_value() == "canary"
    assert loaded.files[-1] == Path("conf/security/cipher-text.properties")
    with pytest.raises(ConfigError, match=rf"user-mgt.xml:1: .*Password: the secret of alias '{ALIAS}'"):
        load_files({"user-mgt.xml": user_mgt, "security/cipher-text.properties": ""})


def test_an_alias_at_an_element_without_effect_needs_no_secret(load_files):
    store = '<keyStore><password svns:secretAlias="mqtt.password">password</password></keyStore>'
    loaded = load_files({"broker.xml": f"<transports><mqtt><sslConnection>{store}</sslConnection></mqtt></transports>"})
    assert loaded.warnings == []
