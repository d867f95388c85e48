"""A server is trusted because a person compared its certificate, and for no other reason.

Promises: what is pinned is what was shown; a wrong fingerprint, a "no" and nobody there change
nothing; each refusal says what to do; the agent's own certificate can be shown for the servers.
"""

import asyncio
import io

import pytest
import yaml

from edge_agents.agent.loading import load
from edge_agents.drivers import opcua_security
from edge_agents.trust import RefusedError, own_certificate, trust
from tests.edge_agents.drivers.test_opcua import ENCRYPTED, PLAIN, identity_in, served

HEAD = {"site": "ota", "agent": "line-1", "broker": {"url": "mqtt://127.0.0.1"}}


class People(io.StringIO):
    """Somebody, or nobody, at the keyboard."""

    def __init__(self, words, *, there=True):
        super().__init__(words)
        self._there = there

    def isatty(self):
        return self._there


NOBODY = People("", there=False)


def configured(folder, port, **opcua):
    url = f"opc.tcp://127.0.0.1:{port}/machine"
    machine = {"id": "rb-7", "opcua": {"url": url, **opcua}, "signals": {"a": {"node": "i=7"}}}
    file = folder / "edge.yaml"
    file.write_text(yaml.safe_dump({**HEAD, "data": "data", "machines": [machine]}))
    return load(file, {}).config, url


@pytest.fixture
async def factory(tmp_path):
    """A server with a certificate, and the settings of an agent that is to read it."""
    await identity_in(tmp_path / "server", "urn:freeopcua:python:server")
    async with served(ENCRYPTED, identity=tmp_path / "server") as (server, _):
        config, url = configured(tmp_path, server.bserver.port)
        shown = opcua_security.read_certificate(
            (tmp_path / "server" / "certificate.der").read_bytes()
        )
        yield config, url, shown


def pins(config):
    return [one.read_bytes() for one in (config.data / "opcua" / "servers").glob("*.der")]


async def run(config, url, *, fingerprint=None, yes=False, people=NOBODY):
    await asyncio.to_thread(trust, config, url, fingerprint=fingerprint, yes=yes, people=people)


async def test_what_a_person_compared_is_pinned_and_nothing_else_is(factory, capsys):
    config, url, shown = factory
    for given, words in (
        ({"fingerprint": "00" * 32}, "NOT the fingerprint given"),
        ({"fingerprint": ""}, "NOT the fingerprint given"),
        ({"people": People("n\n")}, "nothing is trusted"),
        ({"people": People("")}, "nothing is trusted"),
        ({}, "add --fingerprint"),
    ):
        with pytest.raises(RefusedError, match=words):
            await run(config, url, **given)
        assert pins(config) == []
    for given in (
        {"fingerprint": shown.fingerprint},
        {"fingerprint": shown.fingerprint.replace(":", "").lower()},
        {"yes": True},
        {"people": People("y\n")},
    ):
        await run(config, url, **given)
        assert pins(config) == [shown.der]
        for pinned in (config.data / "opcua" / "servers").glob("*.der"):
            pinned.unlink()

    said = capsys.readouterr().out
    assert shown.fingerprint in said
    assert "urn:freeopcua:python:server" in said
    assert f"{shown.valid_until:%Y-%m-%d}" in said


async def test_a_certificate_trusted_before_is_named_when_another_takes_its_place(
    factory, tmp_path, capsys
):
    config, url, shown = factory
    await run(config, url, yes=True)
    await run(config, url)  # the same again: nobody needs to be asked
    assert "the one trusted already" in capsys.readouterr().out
    other, _ = await identity_in(tmp_path / "other", "urn:other")
    (pinned,) = (config.data / "opcua" / "servers").glob("*.der")
    before = opcua_security.read_certificate(other.read_bytes())
    opcua_security.pin(pinned, before)

    await run(config, url, fingerprint=shown.fingerprint)

    assert f"Trusted until now was SHA-256 {before.fingerprint}" in capsys.readouterr().out
    assert pins(config) == [shown.der]


async def test_what_cannot_be_trusted_is_refused_with_its_reason(factory, tmp_path):
    config, url, _ = factory
    port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(RefusedError, match=f"Configured are: {url}"):
        await run(config, "opc.tcp://elsewhere:4840", yes=True)
    plain, _ = configured(tmp_path, port, security="none")
    with pytest.raises(RefusedError, match="security: none"):
        await run(plain, url, yes=True)
    pinned, _ = configured(tmp_path, port, server_certificate="server.der")
    with pytest.raises(RefusedError, match=r"server\.der by `server_certificate:`"):
        await run(pinned, url, yes=True)
    dead, gone = configured(tmp_path, 1)
    with pytest.raises(RefusedError, match="cannot be asked"):
        await run(dead, gone, yes=True)


async def test_a_server_without_encryption_says_what_it_offers(tmp_path):
    async with served(PLAIN) as (server, _):
        config, url = configured(tmp_path, server.bserver.port)

        with pytest.raises(RefusedError, match=r"does not offer Basic256Sha256 .* but None"):
            await run(config, url, yes=True)


def test_the_agents_own_certificate_is_shown_for_the_servers(tmp_path, capsys):
    config, _ = configured(tmp_path, 4840)

    own_certificate(config)
    first = capsys.readouterr().out
    own_certificate(config)

    assert capsys.readouterr().out == first
    assert "urn:machikoba:ota:line-1" in first
    assert str(tmp_path / "data" / "opcua" / "identity" / "certificate.der") in first
