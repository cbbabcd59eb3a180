"""Why a TLS handshake failed, in plain words, from what the TLS library says of it."""

from __future__ import annotations

from typing import Final

_WORDS: Final = {
    "UNSUPPORTED_PROTOCOL": "the client offers no version of TLS that this listener speaks",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the client does not speak the version of TLS that this listener chose",
    "NO_SHARED_CIPHER": "the client and this listener have no cipher suite in common",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "the client accepts no signature that this listener's key can make",
    "HTTP_REQUEST": "the client speaks HTTP without TLS",
    "HTTPS_PROXY_REQUEST": "the client takes this listener for an HTTP proxy",
    "WRONG_VERSION_NUMBER": "the client does not speak TLS",
    "UNKNOWN_PROTOCOL": "the client does not speak TLS",
    "PACKET_LENGTH_TOO_LONG": "the client does not speak TLS",
    "RECORD_LAYER_FAILURE": "the client does not keep to TLS",
    "BAD_RECORD_TYPE": "the client does not keep to TLS",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "the client does not keep to TLS",
    "UNEXPECTED_MESSAGE": "the client does not keep to TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client showed no certificate, and this listener demands one",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not know the authority of this listener's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not accept this listener's certificate",
    "TLSV1_ALERT_CERTIFICATE_UNKNOWN": "the client does not accept this listener's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not accept this listener's certificate",
    "TLSV1_ALERT_BAD_CERTIFICATE": "the client does not accept this listener's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client finds this listener's certificate expired",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the client finds nothing in common with this listener",
}
"""By OpenSSL's names of its reasons; an alert is what the client said."""


def handshake_failure(error: Exception) -> str:
    """Return what went wrong, with OpenSSL's own name for it where there is one."""
    name = getattr(error, "reason", None)
    if not isinstance(name, str):
        return str(error) or _of_connection(error)
    if name == "CERTIFICATE_VERIFY_FAILED":
        why = getattr(error, "verify_message", "")
        return f"the certificate of the client is refused: {why} (certificate verify failed)"
    words = _WORDS.get(name)
    return f"{words or 'client and listener do not come to terms'} ({name})"


def _of_connection(error: Exception) -> str:
    if isinstance(error, ConnectionError):
        return "the client closed the connection during the handshake"
    return repr(error)
