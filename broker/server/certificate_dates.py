"""Says in the log which certificates of a TLS listener have expired, expire soon, or are not valid yet."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from broker.server.tls import AMQP

_log = structlog.get_logger(__name__)

SOON: Final = timedelta(days=30)
_SHOWN: Final = 5
"""Trusted certificates that are named in one line."""


@dataclass(frozen=True, slots=True)
class _Validity:
    subject: str
    begin: datetime
    end: datetime


def report_own(certificates: Sequence[bytes], file: str, now: datetime, element: str = AMQP) -> None:
    """Log a line for each certificate of the key store that clients refuse at `now`, or will within 30 days."""
    for each in _validities(certificates):
        details = {
            "element": f"{element}/keyStore",
            "file": file,
            "subject": each.subject,
            "valid_from": each.begin.isoformat(),
            "valid_to": each.end.isoformat(),
        }
        if each.end < now:
            _log.error("a TLS certificate has expired, peers will refuse it", **details)
        elif now < each.begin:
            _log.warning("a TLS certificate is not valid yet, peers will refuse it", **details)
        elif each.end - now <= SOON:
            _log.warning("a TLS certificate expires soon", days=(each.end - now).days, **details)


def first_end(certificates: Sequence[bytes]) -> float | None:
    """Return when the first of these certificates ends, in seconds since 1970; None if none can be read."""
    return min((each.end.timestamp() for each in _validities(certificates)), default=None)


def report_trusted(certificates: Sequence[bytes], file: str, now: datetime, element: str = AMQP) -> None:
    """Log one line about the trusted certificates that are not valid at `now`, and one about those that expire soon.

    A trust store may hold a hundred authorities of which the node needs one: an error only when none is valid.
    """
    known = _validities(certificates)
    invalid = [each for each in known if not each.begin <= now <= each.end]
    soon = [each for each in known if each not in invalid and each.end - now <= SOON]
    if invalid:
        log = _log.error if len(invalid) == len(known) else _log.warning
        log(
            "trusted certificates are not valid, what they have issued is refused",
            element=f"{element}/trustStore",
            file=file,
            certificates=f"{len(invalid)} of {len(known)}",
            subjects=_subjects(invalid),
        )
    if soon:
        _log.warning(
            "trusted certificates expire soon",
            element=f"{element}/trustStore",
            file=file,
            certificates=f"{len(soon)} of {len(known)}",
            subjects=_subjects(soon),
        )


def _subjects(validities: Sequence[_Validity]) -> str:
    text = "; ".join(each.subject for each in validities[:_SHOWN])
    return text if len(validities) <= _SHOWN else f"{text}; …"


def _validities(certificates: Sequence[bytes]) -> list[_Validity]:
    """Return what can be read: OpenSSL knows forms of certificates that this library does not."""
    from cryptography import x509  # takes a while

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old authorities have serial numbers that are not allowed any more
        for each in certificates:
            try:
                certificate = x509.load_der_x509_certificate(each)
                subject = certificate.subject.rfc4514_string()
                found.append(_Validity(subject, certificate.not_valid_before_utc, certificate.not_valid_after_utc))
            except ValueError:
                continue
    return found
