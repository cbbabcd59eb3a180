"""The user name in a client's certificate, for the mechanism EXTERNAL (`certificateLogin` of broker.xml)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from broker.config.ssl_connection import CertificateLogin

if TYPE_CHECKING:
    from cryptography import x509


def certificate_user(tls: ssl.SSLObject | None, login: CertificateLogin) -> str:
    """Return the user whom the certificate of the peer names; nothing without a verified one, or when none is named.

    `commonName` counts when the subject has exactly one. Of alternative names the first one of the kind counts.
    """
    if tls is None or login == "off" or tls.context.verify_mode == ssl.CERT_NONE:
        return ""
    shown = tls.getpeercert(binary_form=True)
    return user_in(shown, login) if shown else ""


def user_in(certificate: bytes, login: CertificateLogin) -> str:
    """Return the user whom a certificate in DER names; nothing when it names none."""
    from cryptography import x509  # takes a while
    from cryptography.x509.oid import NameOID

    try:
        read = x509.load_der_x509_certificate(certificate)
        if login == "subject":
            return read.subject.rfc4514_string()
        if login == "commonName":
            names = [str(each.value) for each in read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            return names[0] if len(names) == 1 else ""
        names = _alternative_names(read, login)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return ""  # in a form that OpenSSL knows and this library does not, or without alternative names
    return names[0] if names else ""


def _alternative_names(certificate: x509.Certificate, login: CertificateLogin) -> list[str]:
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if login == "dns":
        return names.get_values_for_type(x509.DNSName)
    if login == "email":
        return names.get_values_for_type(x509.RFC822Name)
    return names.get_values_for_type(x509.UniformResourceIdentifier)
