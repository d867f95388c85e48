"""When a certificate ends: just so much of X.509 as that takes (RFC 5280, section 4.1)."""

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

BYTES_MAX: Final = 1024 * 1024
_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----"
)
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_LONG: Final = 0x80
_CENTURY: Final = 50
"""Two-digit years below it are of this century (RFC 5280, 4.1.2.5.1)."""


class CertificateError(ValueError):
    """This is no certificate; the message says why."""


def ends_ms(pem: bytes) -> int:
    """Give the instant at which the first of the certificates in a file ends.

    Raises:
        CertificateError: there is none, or it cannot be read.
    """
    found = [_ends(base64.b64decode(match[1])) for match in _PEM.finditer(pem[:BYTES_MAX])]
    if not found:
        raise CertificateError("there is no certificate in it")
    return min(found)


def _ends(der: bytes) -> int:
    """Walk to the validity: certificate, what is signed of it, and its fifth field."""
    try:
        certificate = next(_fields(der))[1]
        signed = next(_fields(certificate))[1]
        fields = [field for field in _fields(signed) if field[0] != _VERSION]
        validity = fields[3]  # after serial number, algorithm and issuer
        if validity[0] != _SEQUENCE:
            raise CertificateError("its validity is not where it should be")
        _, not_after = list(_fields(validity[1]))
        return _instant(*not_after)
    except (StopIteration, IndexError, ValueError) as error:
        raise CertificateError(f"it cannot be read ({error})") from error


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give tag and content of each value of DER that follows another."""
    at = 0
    while at + 2 <= len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & _LONG:
            size = length & ~_LONG
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise CertificateError("it ends too early")
        yield tag, data[at : at + length]
        at += length


def _instant(tag: int, written: bytes) -> int:
    text = written.decode("ascii")
    if tag == _UTC_TIME:
        text = ("20" if int(text[:2]) < _CENTURY else "19") + text
    elif tag != _GENERALIZED_TIME:
        raise CertificateError("its end is no time")
    moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
