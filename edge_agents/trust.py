"""`machikoba agent trust` and `certificate`: a person says which OPC UA servers are believed.

What is pinned here is the only certificate that the server may show from then on; a running agent
takes it up at its next attempt. Nothing else in the program pins a certificate.
"""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from edge_agents.config import AgentConfig
from edge_agents.drivers import opcua_server
from edge_agents.drivers.nodes import Server
from edge_agents.drivers.opcua_security import (
    Certificate,
    TrustError,
    make_identity,
    pin,
    pinned_certificate,
    read_certificate,
    shown_certificate,
)

TIMEOUT_S: Final = 15.0


class RefusedError(Exception):
    """Nothing was changed; the text says why and what to do."""


def trust(
    config: AgentConfig, url: str, *, fingerprint: str | None, yes: bool, people: TextIO
) -> None:
    """Show the certificate of an OPC UA server, and pin it when a person wants that.

    With a fingerprint nobody is asked: the certificate must be that one. Raises RefusedError.
    """
    server = _server_to_trust(config, url)
    shown = _ask(server)
    before = _pinned(server)
    _describe(shown)
    if before is not None and before.der == shown.der:
        _say("It is the one trusted already.")
        return
    if before is not None:
        _say(f"Trusted until now was SHA-256 {before.fingerprint}.")
    if fingerprint is not None and _digits(fingerprint) != _digits(shown.fingerprint):
        raise RefusedError("that is NOT the fingerprint given: nothing is trusted anew")
    if fingerprint is None and not yes and not _agreed(people):
        raise RefusedError("nothing is trusted anew. To go without a question, add --fingerprint")
    pin(Path(server.server_certificate or ""), shown)
    _say(f"Trusted from now on, and no other: {server.server_certificate}")


def own_certificate(config: AgentConfig) -> None:
    """Show the agent's own certificate, made if there is none, for the lists of the servers."""
    urls = [one.opcua.url for one in config.machines if one.opcua is not None]
    server = opcua_server(config, urls[0]) if urls else None
    if server is None:
        raise RefusedError("no machine is read over OPC UA")
    file, _ = make_identity(Path(server.identity_dir), server.application_uri)
    _say(f"file             {file}")
    _describe(read_certificate(file.read_bytes()))


def _server_to_trust(config: AgentConfig, url: str) -> Server:
    server = opcua_server(config, url)
    if server is None:
        urls = {one.opcua.url: None for one in config.machines if one.opcua is not None}
        known = f"Configured are: {', '.join(urls)}" if urls else "None is read over OPC UA"
        raise RefusedError(f"no machine is read at {url}. {known}")
    if server.security == "none":
        raise RefusedError(f"{url} is read with `security: none`: there is nothing to trust")
    if server.pinned_by_settings:
        raise RefusedError(
            f"the settings pin {server.server_certificate} by `server_certificate:`. Put the"
            " server's certificate there, or remove that key"
        )
    return server


def _ask(server: Server) -> Certificate:
    async def ask() -> Certificate:
        async with asyncio.timeout(TIMEOUT_S):
            return await shown_certificate(server.url, server.security, server.timeout_s)

    try:
        return asyncio.run(ask())
    except TrustError as error:
        raise RefusedError(str(error)) from error
    except TimeoutError as error:
        raise RefusedError(f"{server.url} does not answer") from error
    except Exception as error:  # the library lets anything escape that a server's bytes can cause
        raise RefusedError(f"{server.url} cannot be asked: {error!r}") from error


def _pinned(server: Server) -> Certificate | None:
    try:
        return pinned_certificate(server)
    except TrustError:
        return None


def _describe(certificate: Certificate) -> None:
    expired = " EXPIRED" if certificate.valid_until < datetime.now(UTC) else ""
    issuer = certificate.issuer
    for label, text in (
        ("subject", certificate.subject),
        ("issuer", "itself" if issuer == certificate.subject else issuer),
        ("application URI", certificate.application_uri or "none"),
        ("valid from", f"{certificate.valid_from:%Y-%m-%d}"),
        ("valid until", f"{certificate.valid_until:%Y-%m-%d}{expired}"),
        ("SHA-256", certificate.fingerprint),
    ):
        shown = "".join(letter if letter.isprintable() else "?" for letter in text)
        _say(f"{label:<16} {shown[:400]}")


def _agreed(people: TextIO) -> bool:
    """Ask whoever sits there; nobody is no agreement."""
    if not people.isatty():
        return False
    sys.stdout.write("Is this what the server itself shows? Trust it? [y/N] ")
    sys.stdout.flush()
    return people.readline().strip().lower() in {"y", "yes"}


def _digits(fingerprint: str) -> str:
    return "".join(letter for letter in fingerprint.lower() if letter.isalnum())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
