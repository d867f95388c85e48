"""Signatures of webhooks, as Standard Webhooks 1.0 describes them.

Signed is ``id.timestamp.body`` with HMAC-SHA256; the receiver's secret is ``whsec_`` and 32 bytes
in base64. No secret is stored: each is derived from one key, which lives in a file of its own, with
the webhook's id and the generation of its secret. So a copy of the database signs nothing, and
rotating a secret is adding one to a number.
"""

import base64
import hashlib
import hmac
import os
import tempfile
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32
PREFIX: Final = "whsec_"
ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"


class KeyFileError(Exception):
    """The key that secrets are derived from cannot be read or made; the message says why."""


class Secrets:
    """Derives the secret of each webhook from one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.fingerprint = hmac.digest(key, b"fingerprint", "sha256").hex()[:16]
        """Tells keys apart without telling them: a webhook made under another one cannot sign."""

    def secret(self, webhook: str, generation: int) -> str:
        """Give the secret as its receiver is told it, once."""
        return PREFIX + base64.b64encode(self._bytes(webhook, generation)).decode()

    def headers(
        self, webhook: str, generation: int, *, message: str, time_s: int, body: bytes
    ) -> dict[str, str]:
        """Give the three headers by which a receiver knows who sent `body`, and when."""
        signed = f"{message}.{time_s}.".encode() + body
        digest = hmac.digest(self._bytes(webhook, generation), signed, hashlib.sha256)
        return {
            ID_HEADER: message,
            TIMESTAMP_HEADER: str(time_s),
            SIGNATURE_HEADER: f"v1,{base64.b64encode(digest).decode()}",
        }

    def _bytes(self, webhook: str, generation: int) -> bytes:
        return hmac.digest(self._key, f"webhook:{webhook}:{generation}".encode(), hashlib.sha256)


def open_key(path: Path) -> bytes:
    """Read the key, or make one that only this user can read.

    Raises:
        KeyFileError: the file cannot be read or made, or holds something else.
    """
    try:
        return _checked(path.read_bytes(), path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read ({error.strerror})") from error
    try:
        return _make(path)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be made ({error.strerror})") from error


def _make(path: Path) -> bytes:
    """Write a new key; whoever comes second takes the first one's.

    It is linked into place whole and synced, so no crash leaves half a key.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    partial = Path(name)
    try:
        os.write(file, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    try:
        path.hardlink_to(partial)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return _checked(path.read_bytes(), path)


def _checked(written: bytes, path: Path) -> bytes:
    try:
        key = base64.b64decode(written.strip(), validate=True)
    except ValueError as error:
        raise KeyFileError(f"{path} holds no key: expected 32 bytes in base64") from error
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path} holds no key: expected 32 bytes in base64")
    return key
