"""An agent joins by a code typed once, and speaks to the broker for itself and nobody else."""

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import threading

import pytest
from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from hub.access import LOCAL, BrokerPlace
from hub.access.mosquitto import Login, access_file, hashed, password_file
from hub.access.refusals import (
    InvalidError,
    NotKnownError,
    SlowDownError,
    TakenError,
    UnprovenError,
)
from hub.store import StoreUnavailableError, audit
from tests.brokers import Mosquitto, free_port, wait_until
from tests.hub.callers import new_access
from tests.hub.scenes import Clock

HOUR_MS = 3_600_000
HUB = ("hub", "the hub's own password")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "broker"


@pytest.fixture
def access(store, clock, folder):
    place = BrokerPlace("mqtts://broker.example", "PEM", folder, "machikoba", HUB)
    return new_access(store, clock, broker=place)


def joined(access, agent="line-1", site="ota"):
    code, _ = access.enrolments.invite(LOCAL, site, 24)
    return access.enrolments.join(code, agent, "192.0.2.1")


def test_a_code_gives_one_agent_its_login_once(access, store, folder):
    code, expires_ms = access.enrolments.invite(LOCAL, "ota", 24)
    told = access.enrolments.join(code.lower(), "line-1", "192.0.2.1")

    assert expires_ms
    assert (told.site, told.agent, told.username) == ("ota", "line-1", "ota.line-1")
    assert (told.url, told.ca_pem) == ("mqtts://broker.example", "PEM")
    with pytest.raises(UnprovenError):
        access.enrolments.join(code, "line-2", "192.0.2.1")
    kept = (folder / "passwords").read_text()
    assert "ota.line-1:$7$" in kept
    assert told.password not in kept + (folder / "acl").read_text()
    with store.read() as tx:
        assert [e.action for e in audit.before(tx, None, limit=9)] == [
            "agent.joined",
            "agent.invited",
        ]


def test_a_code_ends_by_itself(access, clock):
    code, expires_ms = access.enrolments.invite(LOCAL, "ota", 1)
    clock.now_ms = expires_ms

    with pytest.raises(UnprovenError):
        access.enrolments.join(code, "line-1", "192.0.2.1")


def test_an_agent_that_joins_again_has_a_new_password_in_place_of_the_old(access, folder):
    first, second = joined(access), joined(access)

    assert first.password != second.password
    assert (folder / "passwords").read_text().count("ota.line-1:") == 1


def test_a_wrong_name_does_not_use_the_code_up(access):
    code, _ = access.enrolments.invite(LOCAL, "ota", 24)
    for name in ("", "Line", "a/b", "a.b", "#", "x" * 49):
        with pytest.raises(InvalidError):
            access.enrolments.join(code, name, "192.0.2.1")

    assert access.enrolments.join(code, "line-1", "192.0.2.1")


@pytest.mark.parametrize("site", ["Ota", "a.b", "a b", "+", "大田", "x" * 49])
def test_a_site_that_could_mean_another_one_in_a_topic_has_no_agents_by_code(access, site):
    with pytest.raises(InvalidError):
        access.enrolments.invite(LOCAL, site, 24)


def test_codes_cannot_be_guessed_without_waiting(access):
    tried = 0
    for _ in range(50):
        with pytest.raises((UnprovenError, SlowDownError)) as caught:
            access.enrolments.join("AAAA-AAAA-AAAA-AAAA", "line-1", "192.0.2.1")
        tried += caught.type is UnprovenError
    assert tried <= 5


def test_a_disk_that_is_full_uses_no_code_up(access, monkeypatch):
    code, _ = access.enrolments.invite(LOCAL, "ota", 24)
    with monkeypatch.context() as full:

        def no_room(*_args):
            raise OSError(28, "No space left on device")

        full.setattr("hub.access.enrolment.write_files", no_room)
        with pytest.raises(StoreUnavailableError):
            access.enrolments.join(code, "line-1", "192.0.2.1")
    assert access.enrolments.agents("ota") == []

    assert access.enrolments.join(code, "line-1", "192.0.2.1")


def test_an_agent_that_is_expelled_is_gone_from_the_files(access, folder):
    joined(access)
    access.enrolments.expel(LOCAL, "ota", "line-1")

    assert "line-1" not in (folder / "passwords").read_text() + (folder / "acl").read_text()
    with pytest.raises(NotKnownError):
        access.enrolments.expel(LOCAL, "ota", "line-1")


def test_a_hub_that_was_told_no_broker_says_so(store, clock):
    access = new_access(store, clock)
    access.enrolments.write_files()

    with pytest.raises(TakenError, match=r"enrolment\.broker_url"):
        access.enrolments.invite(LOCAL, "ota", 1)


def test_the_files_are_never_empty_and_are_not_for_everybody(access, folder):
    access.enrolments.write_files()

    assert "user hub" in (folder / "acl").read_text()
    for name in ("acl", "passwords"):
        assert (folder / name).stat().st_mode & 0o007 == 0
    assert access_file(None, "machikoba", []).strip()
    assert password_file(None, []) == ""


def test_a_hash_is_pbkdf2_with_sha512_as_mosquitto_writes_it():
    _, kind, iterations, salt, found = hashed("secret", b"0123456789ab").split("$")

    expected = hashlib.pbkdf2_hmac("sha512", b"secret", b"0123456789ab", int(iterations), 64)
    assert kind == "7"
    assert base64.b64decode(salt) == b"0123456789ab"
    assert base64.b64decode(found) == expected


def test_mosquittos_own_tool_makes_the_same_hash(tmp_path):
    tool = shutil.which("mosquitto_passwd", path="/usr/bin:/usr/local/bin")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    path = tmp_path / "theirs"
    subprocess.run([tool, "-b", "-c", path, "line", "se cret"], check=True, capture_output=True)
    _, _, iterations, salt, _ = path.read_text().strip().partition(":")[2].split("$")

    ours = hashed("se cret", base64.b64decode(salt), int(iterations))

    assert path.read_text().strip() == f"line:{ours}"


# -- the real broker -------------------------------------------------------------------------------


class Listener:
    """A client that notes what reaches it, whatever the broker said to its subscriptions."""

    def __init__(self, port, username, password, *topics):
        self.heard, self.code = set(), None
        self._answered = threading.Event()
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311)
        self._client.username_pw_set(username, password)
        self._client.on_message = lambda _c, _u, message: self.heard.add(message.topic)
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_args: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._answered.wait(5)
        if self.code == 0 and topics:
            self._client.subscribe([(topic, 1) for topic in topics])
            assert self._subscribed.wait(5)

    def _connected(self, _client, _data, _flags, code, _properties):
        self.code = code.value
        self._answered.set()

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


def say(port, username, password, *topics):
    """Publish each topic over a connection of its own: this broker ends one that it refuses."""
    for topic in topics:
        client = Listener(port, username, password)
        assert client.code == 0
        client._client.publish(topic, b"x").wait_for_publish(5)
        client.close()


OWN_TOPICS = {"spBv1.0/ota/NBIRTH/line-1", "spBv1.0/ota/DDATA/line-1/mc-1"}
TOPICS = [
    *sorted(OWN_TOPICS),
    "spBv1.0/ota/NCMD/line-1",
    "spBv1.0/ota/NBIRTH/line-2",
    "spBv1.0/ota/DDATA/line-2/mc-1",
    "spBv1.0/suwa/NBIRTH/line-1",
    "spBv1.0/suwa/NCMD/line-2",
    "machikoba/v1/ota/mc-1/status",
    "other",
    "spBv1.0/STATE/machikoba",
]


@pytest.mark.system
def test_on_a_real_broker_an_agent_speaks_for_itself_and_hears_only_what_is_for_it(
    small_store, clock, tmp_path
):
    folder = tmp_path / "broker"
    place = BrokerPlace("mqtt://127.0.0.1", None, folder, "machikoba", HUB)
    access = new_access(small_store, clock, broker=place)
    access.enrolments.write_files()
    port = free_port()
    settings = (
        f"listener {port} 127.0.0.1",
        "allow_anonymous false",
        f"password_file {folder / 'passwords'}",
        f"acl_file {folder / 'acl'}",
    )
    broker = Mosquitto(tmp_path, *settings, port=port).start()
    clients = []
    try:
        first, second = joined(access), joined(access, "line-2", "suwa")
        os.kill(broker._process.pid, signal.SIGHUP)
        hub = Listener(port, *HUB, "#")
        clients.append(hub)

        def line():
            found = Listener(port, first.username, first.password, "#", "spBv1.0/#", "$share/g/#")
            clients.append(found)
            return found if found.code == 0 else None

        agent = wait_until(line, "the broker to read its files anew", 5)
        for username, password in ((first.username, "wrong"), (first.username, second.password)):
            wrong = Listener(port, username, password)
            clients.append(wrong)
            assert wrong.code != 0

        say(port, first.username, first.password, *TOPICS)
        wait_until(lambda: len(hub.heard) >= len(OWN_TOPICS), "what the agent may say", 5)
        say(port, second.username, second.password, "spBv1.0/suwa/NBIRTH/line-2")
        wait_until(lambda: "spBv1.0/suwa/NBIRTH/line-2" in hub.heard, "the last message", 5)
        assert hub.heard == {"spBv1.0/suwa/NBIRTH/line-2"} | OWN_TOPICS

        agent.heard.clear()
        say(port, *HUB, *TOPICS)
        wait_until(lambda: "spBv1.0/STATE/machikoba" in agent.heard, "the hub's state", 5)
        assert agent.heard == {"spBv1.0/ota/NCMD/line-1", "spBv1.0/STATE/machikoba"}
    finally:
        for client in clients:
            client.close()
        broker.kill()


def test_every_login_has_a_section_and_none_can_write_what_it_may_not():
    logins = [Login("ota.line-1", "ota", "line-1", "x"), Login("suwa.a", "suwa", "a", "y")]
    text = access_file("hub", "machikoba", logins)

    sections = text.split("user ")[1:]
    assert [section.splitlines()[0] for section in sections] == ["hub", "ota.line-1", "suwa.a"]
    for login, section in zip(logins, sections[1:], strict=True):
        for line in section.splitlines()[1:]:
            if line.startswith("topic write"):
                assert line.split()[2].startswith(f"spBv1.0/{login.site}/")
                assert login.agent in line.split()[2].split("/")
