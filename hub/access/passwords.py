"""Passwords of people: scrypt (RFC 7914), slow on purpose, and rules that help (NIST SP 800-63B).

A hash is ``scrypt$<log2 N>$<r>$<p>$<salt>$<hash>``; its parameters are read from it, so that they
may grow without anybody's password ending.
"""

import base64
import hashlib
import hmac
import secrets
import threading
import unicodedata
from typing import Final

LENGTH_MIN: Final = 12
LENGTH_MAX: Final = 256
LOG_N: Final = 15
"""With r 8: 32 MiB for each password checked."""
R: Final = 8
P: Final = 3
_AT_ONCE: Final = 2
_LOG_N_MAX: Final = 17
_COMMON: Final = ("password", "machikoba", "qwerty", "letmein", "123456", "abcdef", "admin")


class Passwords:
    """Hashes and checks passwords, at most two at once: each takes 32 MiB and a core for a while.

    `log_n` is the cost; tests take a low one.
    """

    def __init__(self, log_n: int = LOG_N) -> None:
        self._log_n = log_n
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._nobody = self.hash(secrets.token_urlsafe(16))

    def hash(self, password: str) -> str:
        """Make the hash that is kept."""
        salt = secrets.token_bytes(16)
        found = self._scrypt(password, salt, self._log_n, R, P)
        return f"scrypt${self._log_n}${R}${P}${_text(salt)}${_text(found)}"

    def fits(self, password: str, kept: str | None) -> bool:
        """Tell whether a password is the one that was hashed.

        None, for somebody who does not exist, takes just as long and never fits.
        """
        _, log_n, r, p, salt, told = (kept or self._nobody).split("$")
        if int(log_n) > _LOG_N_MAX:
            return False
        found = self._scrypt(password, _bytes(salt), int(log_n), int(r), int(p))
        return hmac.compare_digest(found, _bytes(told)) and kept is not None

    def _scrypt(self, password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
        same = unicodedata.normalize("NFKC", password).encode("utf-8", "replace")
        n = 1 << log_n
        with self._turns:
            return hashlib.scrypt(
                same, salt=salt, n=n, r=r, p=p, maxmem=132 * n * r + 256 * r * p, dklen=32
            )


def weakness(password: str, login: str) -> str | None:
    """Say why a password is not accepted; None when it is."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        return f"A password has {LENGTH_MIN} to {LENGTH_MAX} characters."
    plain = password.lower()
    if len(set(plain)) < LENGTH_MIN // 2:
        return "The password repeats a few characters."
    if login and login.lower() in plain:
        return "The password holds the login."
    rest = plain
    for word in _COMMON:
        rest = rest.replace(word, "")
    if len(rest) < LENGTH_MIN // 2:
        return "The password is made of what everybody tries first."
    return None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
