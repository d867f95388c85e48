"""Joining a hub: a one-time code, typed by hand, becomes the agent's right to speak to the broker.

The code is given out by the hub for one site. What comes back (address, user, password, maybe a
certificate authority) is written to files that only the agent's user may read; nothing secret is
ever printed or put into the settings file.
"""

import http.client
import json
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agents.config import Identifier
from edge_agents.first_look.starting_file import starting_file

ANSWER_BYTES_MAX: Final = 64 * 1024
TIMEOUT_S: Final = 15.0
SECRET_MODE: Final = 0o600
OPEN_MODE: Final = 0o644
_CODE_SIGNS: Final = re.compile(r"[\s-]+")


class JoinError(Exception):
    """The agent could not join; the message says why and what to do."""


class Grant(BaseModel):
    """What a hub gives for a code: who the agent is, and how it reaches the broker."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    class Broker(BaseModel):
        """The broker, with the secret of this agent."""

        model_config = ConfigDict(extra="ignore", frozen=True)

        url: str = Field(max_length=400)
        username: str = Field(min_length=1, max_length=200)
        password: str = Field(min_length=1, max_length=400, repr=False)
        ca_pem: str | None = Field(None, max_length=50_000)

    site: Identifier
    agent: Identifier
    broker: Broker


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be written, and who may read it."""

    path: Path
    text: str
    mode: int


def redeem(hub_url: str, code: str, agent: str, ca_file: Path | None = None) -> Grant:
    """Exchange a one-time code for a grant, over HTTPS (or over this computer's own HTTP).

    Raises:
        JoinError: the hub cannot be reached, does not know the code, or answers nonsense.
    """
    parts = urlsplit(hub_url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host:
        raise JoinError(f"{hub_url!r} is no address of a hub. Write it like https://hub.example")
    if parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1"}:
        raise JoinError(
            "the code and the password would cross the network in clear. Use https://, or join by "
            "hand: machikoba agent join --by-hand"
        )
    body = json.dumps({"code": _CODE_SIGNS.sub("", code).upper(), "agent": agent})
    status, answer = _post(parts.scheme, host, parts.port, body, ca_file)
    if status != http.client.OK:
        raise JoinError(_refused(status, answer))
    try:
        return Grant.model_validate_json(answer)
    except ValidationError as error:
        raise JoinError(f"{hub_url} answers like no hub of ours. Check the address") from error


def _post(
    scheme: str, host: str, port: int | None, body: str, ca_file: Path | None
) -> tuple[int, bytes]:
    try:
        link: http.client.HTTPConnection
        if scheme == "https":
            trust = ssl.create_default_context(cafile=ca_file)
            link = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=trust)
        else:
            link = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        link.request("POST", "/api/v1/enrol", body, {"Content-Type": "application/json"})
        answer = link.getresponse()
        return answer.status, answer.read(ANSWER_BYTES_MAX)
    except ssl.SSLError as error:
        remedy = "Give the hub's certificate authority with --ca-file"
        raise JoinError(
            f"{host} cannot prove that it is the hub ({error.reason}). {remedy}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise JoinError(f"{host} cannot be reached ({error}). Check address and network") from error


def _refused(status: int, answer: bytes) -> str:
    try:
        said: Any = json.loads(answer)
        detail = str(said["detail"])[:300]
    except (ValueError, KeyError, TypeError):
        detail = f"it answers {status}"
    return f"the hub refuses: {detail} Ask for a new code if this one was used or is too old"


def files(grant: Grant, folder: Path, settings_file: Path) -> list[NewFile]:
    """Say what is to be written for a grant; the settings only where there are none yet."""
    broker = grant.broker
    wanted = [NewFile(folder / "password", broker.password + "\n", SECRET_MODE)]
    if broker.ca_pem:
        wanted.append(NewFile(folder / "ca.pem", broker.ca_pem, OPEN_MODE))
    if not settings_file.exists():
        text = starting_file(grant.site, grant.agent, broker.url)
        lines = [
            f"  username: {broker.username}",
            f"  password_file: {folder / 'password'}",
            *([f"  ca_file: {folder / 'ca.pem'}"] if broker.ca_pem else []),
        ]
        shown = [line for line in text.splitlines() if not line.startswith("  # ")]
        at = next(i for i, line in enumerate(shown) if line.startswith("  url:")) + 1
        text = "\n".join([*shown[:at], *lines, *shown[at:]]) + "\n"
        wanted.append(NewFile(settings_file, text, OPEN_MODE))
    return wanted


def _hand_over(path: Path) -> None:
    """Give a file to the owner of its folder: root joins, the service's own user reads."""
    folder = path.parent.stat()
    if os.name == "posix" and os.geteuid() == 0:
        os.chown(path, folder.st_uid, folder.st_gid)


def write(wanted: Sequence[NewFile]) -> None:
    """Write files whole or not at all, never readable by others for a moment.

    They belong to whom their folder belongs to.

    Raises:
        JoinError: a place cannot be written.
    """
    for one in wanted:
        partial = one.path.with_name(f".{one.path.name}.new")
        try:
            one.path.parent.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, one.mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(one.text)
                file.flush()
                os.fsync(file.fileno())
            partial.chmod(one.mode)
            _hand_over(partial)
            partial.replace(one.path)
        except OSError as error:
            raise JoinError(
                f"{one.path} cannot be written ({error.strerror}). Run it as root, or name another "
                "place with --folder"
            ) from error
