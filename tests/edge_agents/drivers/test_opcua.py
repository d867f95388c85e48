"""OPC UA: nothing is lost, nothing lands under a wrong name, and security never gives way."""

import asyncio
import datetime as dt
import random
import shutil
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import Server as UaServer
from asyncua import ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.server.user_managers import UserManager
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge_agents.drivers import opcua, opcua_security, opcua_values
from edge_agents.drivers.nodes import NodeSignal, Server, ServerMachine
from edge_agents.drivers.opcua import OpcuaServer
from edge_agents.drivers.presence import Presence
from gateway.model import Quality, Reason
from tests.contract.test_drivers import Record, now_ms

NAMESPACE = "urn:tests:opcua"
AT_MS = 1_790_000_000_000
ENCRYPTED = [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
PLAIN = [ua.SecurityPolicyType.NoSecurity]


def item(datatype="double", *, seen=True, floor_ms=0, **more):
    signal = NodeSignal("a", "i=1", datatype, **more)
    presence = Presence("m", ("a",), "", now_ms=now_ms, monotonic=lambda: 0.0)
    step = opcua_values.conversion(signal)
    return opcua_values.Item(presence, signal, step, seen=seen, floor_ms=floor_ms)


@pytest.mark.parametrize(
    ("datatype", "raw", "outcome"),
    [
        ("double", 1.5, (1.5, Reason.NONE)),
        ("double", 7, (7, Reason.NONE)),
        ("double", True, (1, Reason.NONE)),
        ("double", float("nan"), (None, Reason.NOT_FINITE)),
        ("double", "7", (None, Reason.TYPE)),
        ("double", [1.0], (None, Reason.TYPE)),
        ("double", None, (None, Reason.SOURCE)),
        ("int64", 2**62 + 1, (2**62 + 1, Reason.NONE)),
        ("int64", 2**63, (None, Reason.TYPE)),
        ("int64", 1.5, (None, Reason.TYPE)),
        ("boolean", False, (False, Reason.NONE)),
        ("boolean", 2, (True, Reason.NONE)),
        ("boolean", "on", (None, Reason.TYPE)),
        ("string", "自動", ("自動", Reason.NONE)),
        ("string", ua.LocalizedText("auto", "en"), ("auto", Reason.NONE)),
        ("string", b"auto", (None, Reason.TYPE)),
        ("string", ua.QualifiedName("auto", 2), ("auto", Reason.NONE)),
        ("string", ua.XmlElement("<a/>"), ("<a/>", Reason.NONE)),
        ("string", uuid.UUID(int=7), ("00000000-0000-0000-0000-000000000007", Reason.NONE)),
        ("string", ua.NodeId(7, 2), (None, Reason.TYPE)),
        ("double", datetime(2026, 1, 1, tzinfo=UTC), (None, Reason.TYPE)),
        ("string", "x" * 1_001, (None, Reason.RANGE)),
    ],
)
def test_a_value_becomes_what_the_birth_announced_or_says_why_not(datatype, raw, outcome):
    value, reason = opcua_values.value_of(item(datatype), raw)

    assert (value, reason) == outcome
    assert type(value) is type(outcome[0])


POSE = {"X": 1.5, "Axes": [ua.Variant(10), ua.Variant(20)], "Name": "home"}
RANGE = ua.Range(Low=-5.0, High=40.0)


@pytest.mark.parametrize(
    ("path", "raw", "outcome"),
    [
        ((1,), [3, 4], (4, Reason.NONE)),
        ((2,), [3, 4], (None, Reason.ADDRESS)),
        ((1, 0), [[1, 2], [3, 4]], (3, Reason.NONE)),
        ((0,), [ua.Variant(7.5)], (7.5, Reason.NONE)),
        (("High",), RANGE, (40.0, Reason.NONE)),
        (("high",), RANGE, (None, Reason.ADDRESS)),
        (("__class__",), RANGE, (None, Reason.ADDRESS)),
        (("X",), POSE, (1.5, Reason.NONE)),
        (("Axes", 1), POSE, (20, Reason.NONE)),
        (("Name",), POSE, (None, Reason.TYPE)),
        ((0,), 5.0, (None, Reason.ADDRESS)),
        (("X",), 5.0, (None, Reason.ADDRESS)),
        ((), [3, 4], (None, Reason.TYPE)),
        ((), RANGE, (None, Reason.TYPE)),
    ],
)
def test_one_element_of_an_array_or_a_structure_is_a_signal_and_the_whole_is_none(
    path, raw, outcome
):
    value = ua.DataValue(ua.Variant(raw, ua.VariantType.Double))
    sample = opcua_values.sample_of(item(path=path), value, AT_MS, AT_MS)

    assert (sample.value, sample.reason) == outcome


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([1.0, 2.0], 'an array of 2: choose one element, e.g. path: "[0]"'),
        (RANGE, "a structure: choose a field by path:, of Low, High"),
        (ua.ExtensionObject(ua.NodeId(7, 2), b""), "a structure of the maker's own"),
        (ua.NodeId(7, 2), None),
        (ua.LocalizedText("a"), None),
        (5.0, None),
    ],
)
def test_what_is_no_single_value_is_told_with_what_to_do(raw, words):
    said = opcua_values.shape(raw)

    assert (said is None) == (words is None)
    assert words is None or words in said


def test_scale_range_and_texts_mean_the_same_as_for_registers():
    assert opcua_values.value_of(item(scale=0.1), 3) == (0.3, Reason.NONE)
    assert opcua_values.value_of(item(maximum=10.0), 11) == (None, Reason.RANGE)
    assert opcua_values.value_of(item(invalid=(-1.0,)), -1) == (None, Reason.SENTINEL)
    assert opcua_values.value_of(item("string", words_for=((2, "auto"),)), 2) == (
        "auto",
        Reason.NONE,
    )


@pytest.mark.parametrize(
    ("status", "quality", "reason"),
    [
        ("Good", Quality.GOOD, Reason.NONE),
        ("GoodLocalOverride", Quality.GOOD, Reason.NONE),
        ("UncertainLastUsableValue", Quality.UNCERTAIN, Reason.SOURCE),
        ("BadNodeIdUnknown", Quality.BAD, Reason.ADDRESS),
        ("BadNoCommunication", Quality.BAD, Reason.CONNECTION),
        ("BadSensorFailure", Quality.BAD, Reason.SOURCE),
        ("BadUserAccessDenied", Quality.BAD, Reason.REFUSED),
    ],
)
def test_the_status_of_the_server_is_kept(status, quality, reason):
    value = ua.DataValue(ua.Variant(1.5), StatusCode=ua.StatusCode(status))
    sample = opcua_values.sample_of(item(), value, AT_MS, AT_MS)

    assert (sample.quality, sample.reason) == (quality, reason)
    assert sample.value == (None if quality is Quality.BAD else 1.5)


def stamped(ago):
    return ua.DataValue(ua.Variant(1.5), SourceTimestamp=moment(AT_MS) - ago)


def moment(time_ms):
    return datetime.fromtimestamp(time_ms / 1_000, UTC)


def test_a_change_bears_the_time_of_its_source():
    assert opcua_values.source_ms(item(), stamped(timedelta(seconds=2)), AT_MS) == AT_MS - 2_000


def test_a_first_value_older_than_a_minute_bears_the_time_of_its_reading():
    first = item(seen=False)

    assert opcua_values.source_ms(first, stamped(timedelta(days=3)), AT_MS) == AT_MS
    assert opcua_values.source_ms(first, stamped(timedelta(seconds=2)), AT_MS) == AT_MS - 2_000


def test_a_value_found_again_is_never_older_than_its_loss():
    back = item(seen=False, floor_ms=AT_MS - 1_000)

    assert opcua_values.source_ms(back, stamped(timedelta(seconds=2)), AT_MS) == AT_MS


def test_a_source_whose_clock_is_wrong_is_uncertain_and_keeps_its_time():
    sample = opcua_values.sample_of(item(), stamped(timedelta(hours=-1)), AT_MS + 3_600_000, AT_MS)

    assert (sample.quality, sample.reason) == (Quality.UNCERTAIN, Reason.CLOCK)
    assert sample.time_ms == AT_MS + 3_600_000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nsu=urn:b;s=M.a;b=c", ua.NodeId("M.a;b=c", 1)),
        ("nsu=urn:c;i=7", None),
        ("ns=2;i=7", ua.NodeId(7, 2)),
        ("i=2259", ua.NodeId(2259, 0)),
        ("nsu=urn:b;i=seven", None),
    ],
)
def test_nodes_are_found_by_the_uri_of_their_namespace(text, found):
    assert opcua._node_id(text, ["urn:a", "urn:b"]) == found


class OneUser(UserManager):
    """Lets in whoever knows the password."""

    def get_user(self, _server, username=None, password=None, certificate=None):
        del certificate
        from asyncua.crypto.permission_rules import User, UserRole  # noqa: PLC0415

        return User(UserRole.User) if (username, password) == ("machikoba", "right") else None


@asynccontextmanager
async def served(policies, *, port=0, junk=0, identity=None, users=None):
    server = UaServer(user_manager=users)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/machine")
    server.set_security_policy(policies)
    if identity is not None:
        certificate, key = await identity_in(identity, server._application_uri)
        await server.load_certificate(str(certificate))
        await server.load_private_key(str(key))
    for number in range(junk):
        await server.register_namespace(f"urn:junk:{number}")
    index = await server.register_namespace(NAMESPACE)
    machine = await server.nodes.objects.add_object(index, "M")
    variable = await machine.add_variable(ua.NodeId("M.a", index), "a", 1.5)
    await machine.add_variable(ua.NodeId("M.a", index - 1 or 99), "false", 666.0)
    await server.start()
    try:
        yield server, variable
    finally:
        await server.stop()


async def identity_in(folder, uri):
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "certificate.der", folder / "key.pem"
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    await setup_self_signed_certificate(key, certificate, uri, "localhost", usage, {})
    return certificate, key


@asynccontextmanager
async def reading(port, **more):
    more.setdefault("timeout_s", 2.0)
    signals = (NodeSignal("a", f"nsu={NAMESPACE};s=M.a", period_ms=100),)
    server = Server(f"opc.tcp://127.0.0.1:{port}/machine", (ServerMachine("m-1", signals),), **more)
    record = Record()
    task = asyncio.create_task(OpcuaServer(server, now_ms=now_ms, rng=random.Random(1)).run(record))
    try:
        yield record
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_no_change_is_lost_however_quick_they_come():
    async with (
        served(PLAIN) as (server, variable),
        reading(server.bserver.port) as record,
    ):
        await record.until(lambda: record.good() == {"a": 1.5})
        for number in range(15):
            value = ua.DataValue(ua.Variant(float(number)), SourceTimestamp=datetime.now(UTC))
            await server.write_attribute_value(variable.nodeid, value)
        await record.until(lambda: record.good() == {"a": 14.0})

    assert [one.value for one in record.samples] == [1.5, *map(float, range(15))]


async def test_a_server_that_refuses_subscriptions_is_polled():
    async with served(PLAIN) as (server, variable):
        server.iserver.max_subscriptions = 0
        async with reading(server.bserver.port) as record:
            await record.until(lambda: [one.value for one in record.samples].count(1.5) > 2)
            await server.write_attribute_value(variable.nodeid, ua.DataValue(ua.Variant(9.5)))
            await record.until(lambda: record.good() == {"a": 9.5})


# The server of these tests forgets to await what tells its clients that a node is gone.
@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
async def test_a_node_that_is_deleted_is_told_and_found_again_when_it_is_made_anew(
    monkeypatch, caplog
):
    monkeypatch.setattr(opcua, "RETRY_FIRST_S", 0.2)
    monkeypatch.setattr(opcua, "RETRY_LAST_S", 0.3)
    monkeypatch.setattr(opcua, "AUDIT_S", 0.5)
    async with served(PLAIN) as (server, variable), reading(server.bserver.port) as record:
        await record.until(lambda: record.good() == {"a": 1.5})
        parent = await variable.get_parent()
        await server.delete_nodes([variable])
        await record.until(lambda: not record.good())
        await parent.add_variable(variable.nodeid, "a", 2.5)
        await record.until(lambda: record.good() == {"a": 2.5})

    assert Reason.ADDRESS in [one.reason for one in record.samples]
    assert "m-1 cannot read a: address" in caplog.text


async def test_an_element_that_a_server_forgot_to_watch_is_watched_anew(monkeypatch):
    monkeypatch.setattr(opcua, "AUDIT_S", 0.4)
    async with served(PLAIN) as (server, variable), reading(server.bserver.port) as record:
        await record.until(lambda: record.good() == {"a": 1.5})
        # The server goes on as if it watched, and reports nothing any more.
        for handle in list(server.iserver.aspace._handle_to_attribute_map):
            server.iserver.aspace.delete_datachange_callback(handle)
        await server.write_attribute_value(variable.nodeid, ua.DataValue(ua.Variant(9.5)))

        await record.until(lambda: record.good() == {"a": 9.5})


async def test_after_a_restart_with_other_indices_the_same_names_have_the_same_meaning():
    async with served(PLAIN) as (server, _):
        port = server.bserver.port
        running = reading(port)
        record = await running.__aenter__()
        await record.until(lambda: record.good() == {"a": 1.5})
    await record.until(lambda: not record.good())
    async with served(PLAIN, port=port, junk=3):
        await record.until(lambda: record.good() == {"a": 1.5})
        await running.__aexit__(None, None, None)

    assert 666.0 not in [one.value for one in record.samples]


async def test_an_encrypted_conversation_works_with_a_certificate_made_on_the_spot(tmp_path):
    async with (
        served(ENCRYPTED, identity=tmp_path / "server") as (server, _),
        reading(
            server.bserver.port,
            security="Basic256Sha256",
            identity_dir=str(tmp_path / "agent"),
            server_certificate=str(tmp_path / "server" / "certificate.der"),
        ) as record,
    ):
        await record.until(lambda: record.good() == {"a": 1.5})

    key = tmp_path / "agent" / "key.pem"
    assert key.stat().st_mode & 0o077 == 0, "nobody else may read the key"


async def test_a_server_with_another_certificate_than_the_pinned_one_is_not_believed(tmp_path):
    other, _ = await identity_in(tmp_path / "other", "urn:other")
    async with (
        served(ENCRYPTED, identity=tmp_path / "server") as (server, _),
        reading(
            server.bserver.port,
            security="Basic256Sha256",
            identity_dir=str(tmp_path / "agent"),
            server_certificate=str(other),
            timeout_s=0.5,
        ) as record,
    ):
        await record.until(lambda: bool(record.samples))

    assert not record.good()


async def test_security_never_falls_back_when_the_server_offers_none(tmp_path, caplog):
    pinned, _ = await identity_in(tmp_path / "server", "urn:server")
    async with (
        served(PLAIN) as (server, _),
        reading(
            server.bserver.port,
            security="Basic256Sha256",
            identity_dir=str(tmp_path / "agent"),
            server_certificate=str(pinned),
        ) as record,
    ):
        await record.until(lambda: bool(record.samples))

    assert [one.reason for one in record.samples] == [Reason.REFUSED]
    assert "does not offer Basic256Sha256 with Sign&Encrypt but None" in caplog.text


async def test_a_server_that_nobody_trusted_is_not_talked_to_and_the_log_says_what_to_do(
    tmp_path, caplog
):
    async with (
        served(ENCRYPTED, identity=tmp_path / "server") as (server, _),
        reading(
            server.bserver.port,
            security="Basic256Sha256",
            identity_dir=str(tmp_path / "agent"),
            server_certificate=str(tmp_path / "pins" / "server.der"),
        ) as record,
    ):
        await record.until(lambda: bool(record.samples))

        assert [one.reason for one in record.samples] == [Reason.REFUSED]
        assert (
            f"Run: machikoba agent trust opc.tcp://127.0.0.1:{server.bserver.port}" in caplog.text
        )


def test_of_several_processes_that_make_the_identity_the_first_one_counts(tmp_path):
    folder = tmp_path / "opcua" / "identity"
    made = opcua_security.make_identity(folder, "urn:machikoba:ota:line-1")
    before = [one.read_bytes() for one in made]

    assert opcua_security.make_identity(folder, "urn:machikoba:ota:line-1") == made
    shutil.copytree(folder, tmp_path / "copy")
    assert [one.read_bytes() for one in made] == before
    assert sorted(one.name for one in folder.parent.iterdir()) == ["identity"]


def test_the_certificate_of_the_agent_is_valid_although_its_clock_was_wrong(tmp_path):
    file, _ = opcua_security.make_identity(tmp_path / "identity", "urn:machikoba:ota:line-1")
    own = opcua_security.read_certificate(file.read_bytes())

    assert own.application_uri == "urn:machikoba:ota:line-1"
    assert own.valid_from == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert own.valid_until > dt.datetime(2045, 1, 1, tzinfo=dt.UTC)


def secret_file(folder, text):
    file = folder / "password"
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(("password", "good"), [("right", True), ("wrong", False)])
async def test_the_user_of_the_configuration_is_the_one_who_reads(tmp_path, password, good):
    file = secret_file(tmp_path, password)
    async with (
        served(ENCRYPTED, identity=tmp_path / "server", users=OneUser()) as (server, _),
        reading(
            server.bserver.port,
            security="Basic256Sha256",
            identity_dir=str(tmp_path / "agent"),
            server_certificate=str(tmp_path / "server" / "certificate.der"),
            user="machikoba",
            password_file=str(file),
        ) as record,
    ):
        await record.until(lambda: bool(record.samples))

    assert bool(record.good()) is good
    if not good:
        assert [one.reason for one in record.samples] == [Reason.REFUSED]
