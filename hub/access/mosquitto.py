"""Password and access files as mosquitto 2 reads them (mosquitto_passwd(1), mosquitto.conf(5)).

One section of the access file per login says which topics it may write and read; a login without
a section may do nothing. Neither file is ever empty: an empty access file would allow everything.
"""

import base64
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

ITERATIONS: Final = 101
"""As mosquitto's own tool takes. The passwords have 256 random bits: guessing has no end anyway,
and the broker computes this in its only thread at every connection."""
SALT_BYTES: Final = 12
PASSWORDS: Final = "passwords"
ACCESS: Final = "acl"
_NAMESPACE: Final = "spBv1.0"


class Login(NamedTuple):
    """An agent that may speak to the broker."""

    username: str
    site: str
    agent: str
    password: str
    """The hash, as in the password file."""


def username_of(site: str, agent: str) -> str:
    """Name an agent at the broker. Neither id holds a full stop, so no two agents share a name."""
    return f"{site}.{agent}"


def hashed(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """Hash a password: PBKDF2 with SHA-512, 64 bytes, in mosquitto's format 7."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    found = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, 64)
    told = (base64.b64encode(part).decode() for part in (salt, found))
    return "$".join(("", "7", str(iterations), *told))


def password_file(hub: tuple[str, str] | None, logins: Iterable[Login]) -> str:
    """Write the password file: the hub itself, then every agent."""
    lines = [f"{username}:{kept}" for username, kept in ([hub] if hub else [])]
    lines += [f"{login.username}:{login.password}" for login in logins]
    return "".join(f"{line}\n" for line in lines)


def access_file(hub_username: str | None, host: str, logins: Iterable[Login]) -> str:
    """Write the access file. An agent speaks for itself only, and hears only what is for it."""
    lines = ["# Written by the hub; changed at every enrolment.", ""]
    if hub_username is not None:
        lines += [
            f"user {hub_username}",
            f"topic read {_NAMESPACE}/#",
            f"topic write {_NAMESPACE}/STATE/{host}",
            f"topic write {_NAMESPACE}/+/NCMD/+",
            "topic write machikoba/v1/#",
            "",
        ]
    for login in logins:
        site, agent = login.site, login.agent
        lines += [f"user {login.username}"]
        lines += [
            f"topic write {_NAMESPACE}/{site}/{kind}/{agent}"
            for kind in ("NBIRTH", "NDATA", "NDEATH")
        ]
        lines += [
            f"topic write {_NAMESPACE}/{site}/{kind}/{agent}/+"
            for kind in ("DBIRTH", "DDATA", "DDEATH")
        ]
        lines += [
            f"topic read {_NAMESPACE}/{site}/NCMD/{agent}",
            f"topic read {_NAMESPACE}/STATE/{host}",
            "",
        ]
    return "\n".join(lines) + "\n"


def write_files(
    folder: Path, host: str, hub: tuple[str, str] | None, logins: Iterable[Login]
) -> None:
    """Write both files whole; a reader sees the old or the new one, never a part.

    They are readable to the group of the folder, which is to be the broker's.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    told = sorted(logins)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    # The access file first: a login that is known must never be without its limits.
    _write(folder / ACCESS, access_file(hub[0] if hub else None, host, told))
    _write(folder / PASSWORDS, password_file(hub, told))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.part")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w") as file:  # noqa: PTH123 (with a mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
