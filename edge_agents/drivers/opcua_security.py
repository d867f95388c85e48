"""Who may be talked to over OPC UA, and as whom: certificates pinned, and one of our own.

A server is believed when it shows exactly the certificate that a person pinned with ``machikoba
agent trust``. Nothing is pinned by itself, and nothing falls back to less security: what does not
fit is refused, with the remedy. The agent has one certificate of its own for all its servers, so
that an operator has one to put on their lists of trusted clients.
"""

import contextlib
import datetime as dt
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asyncua import Client, ua
from asyncua.crypto import security_policies
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agents.drivers.nodes import Server

CERTIFICATE_FILE: Final = "certificate.der"
KEY_FILE: Final = "key.pem"
CERTIFICATE_BYTES_MAX: Final = 64 * 1024
KEY_BITS: Final = 2_048
"""What all three policies accept (OPC UA part 7, section 6.6.161 and following)."""
VALID_FROM: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""Not the present: this computer's clock, or the server's, may be wrong when it is made."""
VALID_YEARS: Final = 20

POLICIES: Final[dict[str, Any]] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_SECURE: Final = ua.MessageSecurityMode.SignAndEncrypt


class TrustError(Exception):
    """The server is not to be talked to; the text says why and what a person can do."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a person needs to know of a certificate before trusting it."""

    der: bytes
    subject: str
    issuer: str
    application_uri: str
    valid_from: dt.datetime
    valid_until: dt.datetime

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as pairs of hexadecimal digits."""
        return fingerprint(self.der)


def fingerprint(der: bytes) -> str:
    """Write the SHA-256 of a certificate as people compare it."""
    return hashlib.sha256(der).digest().hex(":").upper()


def read_certificate(data: bytes) -> Certificate:
    """Read a certificate, DER or PEM, the first one of a chain. Raises ValueError."""
    if data.lstrip().startswith(b"-----BEGIN"):
        parsed = x509.load_pem_x509_certificate(data)
    else:
        parsed = x509.load_der_x509_certificate(_first_of_chain(data))
    uris: list[str] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return Certificate(
        parsed.public_bytes(serialization.Encoding.DER),
        parsed.subject.rfc4514_string(),
        parsed.issuer.rfc4514_string(),
        uris[0] if uris else "",
        parsed.not_valid_before_utc,
        parsed.not_valid_after_utc,
    )


def _first_of_chain(data: bytes) -> bytes:
    """Cut a chain of DER certificates after its first (X.690, section 8.1.3: long form of 2)."""
    long_form = 0x82
    if len(data) > 4 and data[1] == long_form:  # noqa: PLR2004 (tag, form, two bytes of length)
        return data[: 4 + int.from_bytes(data[2:4], "big")]
    return data


async def shown_certificate(url: str, security: str, timeout_s: float) -> Certificate:
    """Ask a server which certificate it has for a policy with Sign&Encrypt.

    Raises TrustError when it offers no such thing, and what asyncua raises when it does not answer.
    """
    client = Client(url, timeout=timeout_s)
    endpoints = await client.connect_and_get_server_endpoints()
    wanted = POLICIES[security].URI
    for endpoint in endpoints:
        if endpoint.SecurityMode == _SECURE and endpoint.SecurityPolicyUri == wanted:
            try:
                return read_certificate((endpoint.ServerCertificate or b"")[:CERTIFICATE_BYTES_MAX])
            except ValueError:
                raise TrustError(f"{url} shows a certificate that cannot be read") from None
    raise TrustError(
        f"{url} does not offer {security} with Sign&Encrypt but {_offered(endpoints)}. Have it"
        " enabled at the server, or write in `security:` what it offers"
    )


def _offered(endpoints: Sequence[ua.EndpointDescription]) -> str:
    """Name what a server offers, in the words of the configuration."""
    few = 8
    offered = sorted(
        {
            str(one.SecurityPolicyUri or "").rpartition("#")[2][:40]
            for one in endpoints
            if one.SecurityMode == _SECURE or str(one.SecurityPolicyUri).endswith("#None")
        }
    )
    return ", ".join(offered[:few]) or "nothing"


def pinned_certificate(server: Server) -> Certificate:
    """Read the certificate that a person pinned for a server. Raises TrustError without one."""
    path = Path(server.server_certificate or "")
    try:
        return read_certificate(path.read_bytes()[:CERTIFICATE_BYTES_MAX])
    except FileNotFoundError:
        raise TrustError(
            f"nobody has trusted the certificate of {server.url} yet. {_remedy(server)}"
        ) from None
    except (OSError, ValueError) as error:
        raise TrustError(f"{path} holds no certificate ({error}). {_remedy(server)}") from None


def pin(path: Path, certificate: Certificate) -> None:
    """Keep a certificate as the only one that a server may show, in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(certificate.der)
        file.flush()
        os.fsync(file.fileno())
    Path(fresh).replace(path)


async def secure(client: Client, server: Server) -> None:
    """Have `client` sign and encrypt, as ourselves, for the server that was pinned.

    Raises TrustError when the server shows another certificate, or none was pinned.
    """
    pinned = pinned_certificate(server)
    shown = await shown_certificate(server.url, server.security, server.timeout_s)
    if shown.der != pinned.der:
        raise TrustError(
            f"{server.url} shows another certificate than the one trusted: SHA-256"
            f" {shown.fingerprint}, valid from {shown.valid_from:%Y-%m-%d}, instead of"
            f" {pinned.fingerprint}. If it was renewed: {_remedy(server)}"
        )
    certificate, key = own_certificate(server)
    await client.set_security(
        POLICIES[server.security],
        certificate,
        key,
        server_certificate=pinned.der,
        mode=_SECURE,
    )


def _remedy(server: Server) -> str:
    if server.pinned_by_settings:
        return f"Put the server's certificate into {server.server_certificate}"
    return f"Run: machikoba agent trust {server.url}"


def own_certificate(server: Server) -> tuple[Path, Path]:
    """Return the files of our own certificate and its key; made where there are none."""
    if server.certificate is not None:
        return Path(server.certificate), Path(server.private_key or "")
    folder = Path(server.identity_dir)
    return make_identity(folder, server.application_uri)


def make_identity(folder: Path, application_uri: str) -> tuple[Path, Path]:
    """Make a certificate and its key in `folder`, unless they are there; return both paths.

    Both appear in one step: of several processes that come here together one is the first.
    """
    certificate, key = folder / CERTIFICATE_FILE, folder / KEY_FILE
    if certificate.exists() and key.exists():
        return certificate, key
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        _write_identity(fresh, application_uri)
        fresh.rename(folder)
    except OSError:
        if not certificate.exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return certificate, key


def _write_identity(folder: Path, application_uri: str) -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = folder / KEY_FILE
    file.touch(mode=0o600)
    file.write_bytes(secret)
    made = _signed(key, application_uri)
    (folder / CERTIFICATE_FILE).write_bytes(made.public_bytes(serialization.Encoding.DER))


def _signed(key: rsa.RSAPrivateKey, application_uri: str) -> x509.Certificate:
    """Sign an application instance certificate (OPC UA part 6, section 6.2.2)."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "Machikoba agent"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, application_uri[-64:]),
        ]
    )
    now = max(dt.datetime.now(dt.UTC), VALID_FROM)
    names = [
        x509.UniformResourceIdentifier(application_uri),
        x509.DNSName(socket.gethostname().encode("idna").decode() or "localhost"),
    ]
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(VALID_FROM)
        .not_valid_after(now + dt.timedelta(days=365 * VALID_YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
