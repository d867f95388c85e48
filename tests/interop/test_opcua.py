"""OPC UA against a server of another make: every type, every policy, and what happens in a year.

Promises: every value that a variant can hold is read as what it is or refused by name, the same by
subscription and by polling; each safe policy works, with and without a user; after a restart with
other namespace indices, names keep their meaning; what a server will not report is polled; a node
that is removed costs only itself, and is found again; a renewed certificate is refused until a
person trusts it.
"""

import asyncio
import math
import random
import struct
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from edge_agents.drivers import opcua, opcua_security
from edge_agents.drivers.nodes import NodeSignal, Server, ServerMachine
from edge_agents.drivers.opcua import OpcuaServer
from gateway.model import Quality, Reason
from tests.contract.test_drivers import Record, now_ms

pytestmark = pytest.mark.system
NAMESPACE = "urn:interop:machine"
FLOAT32 = struct.unpack("<f", struct.pack("<f", 0.1))[0]
GUID = "72962b91-fa75-4ae6-8d28-b404dc7daf63"
REFUSED = (None, Reason.TYPE)

# Node, datatype of the signal, path, and what is to be read.
TABLE = [
    ("Boolean", "boolean", (), True),
    ("Boolean", "double", (), 1),
    ("SByte", "double", (), -128),
    ("Byte", "double", (), 255),
    ("Int16", "double", (), -32_768),
    ("UInt16", "double", (), 65_535),
    ("Int32", "double", (), -(2**31)),
    ("UInt32", "double", (), 2**32 - 1),
    ("Int64", "int64", (), -(2**63) + 1),
    ("UInt64", "int64", (), 2**63 - 1),
    ("Float", "double", (), FLOAT32),
    ("Double", "double", (), 0.1),
    ("String", "string", (), "自動"),
    ("DateTime", "string", (), "2026-11-22T20:00:00.125000+00:00"),
    ("Guid", "string", (), GUID),
    ("XmlElement", "string", (), "<a>1</a>"),
    ("QualifiedName", "string", (), "auto"),
    ("LocalizedText", "string", (), "running"),
    ("Double", "string", (), "0.1"),
    ("ByteString", "string", (), REFUSED),
    ("NodeId", "string", (), REFUSED),
    ("ExpandedNodeId", "string", (), REFUSED),
    ("StatusCode", "double", (), REFUSED),
    ("String", "double", (), REFUSED),
    ("Range", "double", (), REFUSED),
    ("Doubles", "double", (), REFUSED),
    ("Range", "double", ("High",), 40.0),
    ("Unit", "double", ("UnitId",), 4_937_544),
    ("Unit", "string", ("DisplayName",), "kW"),
    ("Doubles", "double", (1,), 2.5),
    ("Doubles", "double", (3,), (None, Reason.ADDRESS)),
    ("Strings", "string", (1,), "b"),
    ("Ranges", "double", (1, "Low"), 3.0),
    ("Half", "double", (), 7.5),
    ("Broken", "double", (), (None, Reason.SOURCE)),
    ("Nowhere", "double", (), (None, Reason.ADDRESS)),
]


def named(signals):
    """Make signals of (node, datatype, path), called s0, s1 and so on."""
    return tuple(
        NodeSignal(f"s{at}", f"nsu={NAMESPACE};s=M.{node}", datatype, path, period_ms=100)
        for at, (node, datatype, path, *_) in enumerate(signals)
    )


@asynccontextmanager
async def reading(url, signals, **more):
    server = Server(url, (ServerMachine("m-1", signals),), timeout_s=4.0, **more)
    record = Record()
    task = asyncio.create_task(OpcuaServer(server, now_ms=now_ms, rng=random.Random(1)).run(record))
    try:
        yield record
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_type_is_read_as_what_it_is_or_refused_by_name(other_server, caplog):
    server = other_server()
    seen = {}
    for subscribe in (True, False):
        async with reading(server.url, named(TABLE), subscribe=subscribe) as record:
            await record.until(lambda all_of=record: len(all_of.latest) == len(TABLE))
            seen[subscribe] = dict(record.latest)

    for at, (node, datatype, path, expected) in enumerate(TABLE):
        for subscribe, latest in seen.items():
            sample = latest[f"s{at}"]
            value, reason = expected if isinstance(expected, tuple) else (expected, sample.reason)
            where = (node, datatype, path, subscribe)
            assert (sample.value, sample.reason) == (value, reason), where
            assert (sample.quality is Quality.BAD) == (value is None), where
    half = seen[True]["s33"]
    assert (half.quality, half.reason) == (Quality.UNCERTAIN, Reason.SOURCE)
    assert "cannot take s25 for a signal: it is an array of 3" in caplog.text
    assert "cannot take s24 for a signal: it is a structure: choose a field" in caplog.text


async def test_each_safe_policy_works_with_a_user_and_its_password(other_server, tmp_path):
    password = tmp_path / "password"
    password.write_text("right")
    password.chmod(0o600)
    server = other_server(secure=True, users={"machikoba": "right"})
    pin = tmp_path / "pin.der"
    for policy in opcua_security.POLICIES:
        opcua_security.pin(pin, await opcua_security.shown_certificate(server.url, policy, 4.0))
        more = {
            "security": policy,
            "identity_dir": str(tmp_path / "identity"),
            "application_uri": "urn:machikoba:ota:line-1",
            "server_certificate": str(pin),
            "user": "machikoba",
            "password_file": str(password),
        }
        async with reading(server.url, named([("Double", "double", ())]), **more) as record:
            await record.until(lambda one=record: one.good() == {"s0": 0.1})
    password.write_text("wrong")
    async with reading(server.url, named([("Double", "double", ())]), **more) as record:
        await record.until(lambda: bool(record.samples))
        assert [one.reason for one in record.samples] == [Reason.REFUSED]


async def test_after_a_kill_and_a_restart_with_other_indices_names_keep_their_meaning(other_server):
    server = other_server()
    async with reading(server.url, named(TABLE[:19])) as record:
        await record.until(lambda: len(record.good()) == 19)
        before = dict(record.good())
        server.kill()
        await record.until(lambda: not record.good())
        other_server(port=server.port, junk=5)
        await record.until(lambda: len(record.good()) == 19)

    assert record.good() == before


async def test_one_of_two_hundred_nodes_that_is_removed_costs_only_itself(
    other_server, monkeypatch
):
    monkeypatch.setattr(opcua, "RETRY_FIRST_S", 0.3)
    monkeypatch.setattr(opcua, "RETRY_LAST_S", 0.5)
    monkeypatch.setattr(opcua, "AUDIT_S", 1.0)
    server = other_server(nodes=200)
    signals = named([(f"n{number}", "double", ()) for number in range(200)])
    async with reading(server.url, signals) as record:
        await record.until(lambda: len(record.good()) == 200)
        server.order(remove="n77")
        await record.until(lambda: len(record.good()) == 199)
        server.order(write={f"n{number}": 1_000 + number for number in range(200) if number != 77})
        await record.until(lambda: record.good().get("s199") == 1_199)
        lost = [one for one in record.samples if one.quality is Quality.BAD]
        server.order(add="n77")
        await record.until(lambda: record.good().get("s77") == 0.25)

    assert [(one.signal, one.reason) for one in lost] == [("s77", Reason.ADDRESS)]
    assert math.isclose(sum(record.good().values()), sum(range(1_000, 1_200)) - 1_077 + 0.25)


async def test_what_a_server_will_not_report_is_polled(other_server):
    server = other_server(nodes=60, capabilities={"maxMonitoredItemsPerSubscription": 20})
    signals = named([(f"n{number}", "double", ()) for number in range(60)])
    async with reading(server.url, signals) as record:
        await record.until(lambda: len(record.good()) == 60)
        server.order(write={f"n{number}": 500 + number for number in range(60)})
        await record.until(lambda: set(record.good().values()) == set(range(500, 560)))
        await record.until(lambda: len(polled(record)) == 40)

    assert not [one for one in record.samples if one.quality is Quality.BAD]


def polled(record):
    """Name the signals that told the same twice: only changes are reported."""
    told = Counter((one.signal, one.value) for one in record.samples)
    return {signal for (signal, _), times in told.items() if times > 1}


async def test_a_certificate_that_the_server_renewed_is_refused_until_it_is_trusted(
    other_server, tmp_path, caplog
):
    policy = "Aes256_Sha256_RsaPss"
    server = other_server(secure=True)
    pin = tmp_path / "pin.der"
    opcua_security.pin(pin, await opcua_security.shown_certificate(server.url, policy, 4.0))
    more = {
        "security": policy,
        "identity_dir": str(tmp_path / "identity"),
        "server_certificate": str(pin),
    }
    async with reading(server.url, named([("Double", "double", ())]), **more) as record:
        await record.until(lambda: record.good() == {"s0": 0.1})
        server.kill()
        await record.until(lambda: not record.good())
        other_server(secure=True, port=server.port, pki=str(tmp_path / "renewed"))
        refusal = "another certificate than the one trusted"
        await record.until(lambda: refusal in caplog.text)
        assert not record.good()
        opcua_security.pin(pin, await opcua_security.shown_certificate(server.url, policy, 4.0))
        await record.until(lambda: record.good() == {"s0": 0.1})
