"""The link to the broker: promises tested on a real mosquitto and through a proxy.

It starts without a broker, sends again within 2 s after the broker is back, notices a link that is
only half open, brings a fresh will to every connection, keeps nothing of an earlier connection,
refuses what it cannot send, and leaves in order.
"""

import logging
import subprocess
import threading
import time
from queue import Empty, Queue

import pytest

from gateway.delivery import Outgoing
from gateway.mqtt import PAYLOAD_BYTES_MAX, QUEUE_MESSAGES_MAX, MqttLink, Tls
from tests.brokers import Mosquitto, free_port, running_mosquitto, wait_until
from tests.proxy import Proxy

BACK_S = 2.0
"""Sending resumes within this time after the broker is back."""


class Peer:
    """A link that notes everything that happens to it."""

    def __init__(self, url, client_id, subscriptions=(), **options):
        self.events = Queue()
        self.messages = Queue()
        self.published = []
        self.link = MqttLink(
            url=url,
            client_id=client_id,
            on_connected=lambda: self.events.put("connected"),
            on_disconnected=lambda: self.events.put("disconnected"),
            on_message=lambda topic, payload: self.messages.put((topic, payload)),
            on_published=self.published.append,
            subscriptions=subscriptions,
            **options,
        )

    def __enter__(self):
        self.link.start()
        return self

    def __exit__(self, *_):
        self.link.stop()

    def expect(self, event, timeout_s=10.0):
        assert self.events.get(timeout=timeout_s) == event

    def expect_message(self, timeout_s=10.0):
        return self.messages.get(timeout=timeout_s)


@pytest.fixture
def broker():
    with running_mosquitto() as broker:
        yield broker


def message(topic="t", payload=b"x", qos=0, token=None, retain=False):
    return Outgoing(topic, payload, qos, retain, token)


def test_messages_arrive_whole_and_in_order(broker):
    with (
        Peer(broker.url, "reader", [("data/#", 0)]) as reader,
        Peer(broker.url, "writer") as writer,
    ):
        reader.expect("connected")
        writer.expect("connected")
        sent = [(f"data/{n % 3}", bytes([n % 256]) * n * 50) for n in range(500)]
        assert all(writer.link.publish(message(*pair)) for pair in sent)

        assert [reader.expect_message() for _ in sent] == sent


def test_it_starts_without_a_broker_and_logs_its_absence_once(tmp_path, caplog):
    caplog.set_level(logging.INFO, "gateway.mqtt")
    broker = Mosquitto(tmp_path)
    attempts = []

    def will():
        attempts.append("will")
        return message("will")

    with Peer(broker.url, "early", will=will) as peer:
        wait_until(lambda: attempts.count("will") >= 4, "several attempts")
        assert not peer.link.publish(message())
        broker.start()
        try:
            peer.expect("connected")
            texts = [record.message.split(":")[0] for record in caplog.records]
            assert texts == ["no connection to mqtt", "connected to mqtt"]
        finally:
            broker.kill()


def test_sending_resumes_within_two_seconds_after_the_broker_was_killed(broker):
    with Peer(broker.url, "agent", [("t", 0)]) as peer:
        peer.expect("connected")
        for _ in range(3):
            broker.kill()
            peer.expect("disconnected")
            assert not peer.link.publish(message())
            broker.start()
            since = time.monotonic()
            peer.expect("connected", BACK_S)
            assert peer.link.publish(message(payload=b"again"))
            assert peer.expect_message(BACK_S) == ("t", b"again")
            assert time.monotonic() - since < BACK_S


def test_a_half_open_link_is_noticed_and_left(broker):
    with Proxy(broker.port) as proxy, Peer(proxy.url, "agent", keepalive_s=1) as peer:
        peer.expect("connected")
        proxy.black_hole()
        peer.expect("disconnected", 5.0)
        proxy.heal()
        peer.expect("connected", 10.0)


def test_a_reset_link_comes_back(broker):
    with Proxy(broker.port) as proxy, Peer(proxy.url, "agent") as peer:
        peer.expect("connected")
        for _ in range(3):
            proxy.reset()
            peer.expect("disconnected")
            peer.expect("connected", BACK_S)


def test_every_connection_brings_its_own_will(broker):
    wills = iter(range(100))
    with (
        Proxy(broker.port) as proxy,
        Peer(broker.url, "reader", [("will", 1)]) as reader,
        Peer(proxy.url, "agent", will=lambda: message("will", b"%d" % next(wills), qos=1)) as agent,
    ):
        reader.expect("connected")
        seen = []
        for _ in range(2):
            agent.expect("connected")
            proxy.reset()
            agent.expect("disconnected")
            seen.append(int(reader.expect_message()[1]))
        assert seen == sorted(set(seen))


def test_nothing_of_an_earlier_connection_is_sent_on_the_next_one(broker):
    with (
        Proxy(broker.port) as proxy,
        Peer(broker.url, "reader", [("t", 1)]) as reader,
        Peer(proxy.url, "agent", keepalive_s=1) as agent,
    ):
        reader.expect("connected")
        agent.expect("connected")
        proxy.black_hole()
        assert all(agent.link.publish(message(payload=b"old", qos=1)) for _ in range(50))
        agent.expect("disconnected", 5.0)
        proxy.heal()
        agent.expect("connected", 10.0)
        agent.link.publish(message(payload=b"new", qos=1))

        assert reader.expect_message() == ("t", b"new")


def test_the_queue_is_bounded_and_says_no(broker):
    with Proxy(broker.port) as proxy, Peer(proxy.url, "agent") as agent:
        agent.expect("connected")
        proxy.latency_s = 5.0  # the proxy reads on only after a while, so buffers fill
        big = message(payload=bytes(PAYLOAD_BYTES_MAX))
        accepted = 0
        while agent.link.publish(big):
            accepted += 1
            assert accepted < QUEUE_MESSAGES_MAX

        assert accepted >= 16
        proxy.latency_s = 0.0


def test_an_oversized_payload_is_refused_and_logged_once(broker, caplog):
    with Peer(broker.url, "agent") as agent:
        agent.expect("connected")
        for _ in range(3):
            assert not agent.link.publish(message(payload=bytes(PAYLOAD_BYTES_MAX + 1)))

    assert caplog.text.count("exceeds the limit") == 1


def test_completion_is_told_by_token(broker):
    with Peer(broker.url, "agent") as agent:
        agent.expect("connected")
        for token in range(1, 101):
            assert agent.link.publish(message(qos=token % 2, token=token))
        wait_until(lambda: len(agent.published) == 100, "all publishes to complete")

    assert sorted(agent.published) == list(range(1, 101))


def test_stopping_flushes_the_last_messages_and_sends_no_will(broker):
    with Peer(broker.url, "reader", [("#", 1)]) as reader:
        reader.expect("connected")
        with Peer(broker.url, "agent", will=lambda: message("will", b"!", qos=1)) as agent:
            agent.expect("connected")
            for n in range(200):
                agent.link.publish(message("data", b"%d" % n))
            agent.link.stop([message("bye", b"bye", qos=1)])

        seen = [reader.expect_message() for _ in range(201)]
        assert seen[-1] == ("bye", b"bye")
        with Peer(broker.url, "after") as after:
            after.expect("connected")
            after.link.publish(message("end", b"end"))
            assert reader.expect_message() == ("end", b"end")


def test_reconnecting_on_purpose_brings_last_words_and_a_new_session(broker):
    with (
        Peer(broker.url, "reader", [("bye", 1)]) as reader,
        Peer(broker.url, "agent") as agent,
    ):
        reader.expect("connected")
        agent.expect("connected")
        agent.link.reconnect([message("bye", b"bye", qos=1)])

        assert reader.expect_message() == ("bye", b"bye")
        agent.expect("disconnected")
        agent.expect("connected", BACK_S)


def test_stopping_ends_the_thread_even_without_a_broker():
    peer = Peer(f"mqtt://127.0.0.1:{free_port()}", "lonely")
    with peer:
        pass

    assert not any(thread.name == "mqtt-lonely" for thread in threading.enumerate())


def test_a_wrong_password_is_refused_and_named(tmp_path, caplog):
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", passwords, "site", "secret"], check=True)
    port = free_port()
    settings = (
        f"listener {port} 127.0.0.1",
        "allow_anonymous false",
        f"password_file {passwords}",
    )
    with running_mosquitto(*settings, port=port) as broker:
        with Peer(broker.url, "bad", username="site", password="wrong") as peer:
            wait_until(lambda: "Not authorized" in caplog.text, "the refusal to be logged")
            with pytest.raises(Empty):
                peer.events.get_nowait()
        with Peer(broker.url, "good", username="site", password="secret") as peer:
            peer.expect("connected")


def test_tls_trusts_only_the_ca_given(tmp_path, caplog):
    for name in ("ours", "other"):
        make_ca(tmp_path / name)
    port = free_port()
    settings = (
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        f"certfile {tmp_path}/ours/server.pem",
        f"keyfile {tmp_path}/ours/server.key",
    )
    url = f"mqtts://127.0.0.1:{port}"
    with running_mosquitto(*settings, port=port):
        with Peer(url, "good", [("t", 0)], tls=Tls(ca_file=tmp_path / "ours/ca.pem")) as peer:
            peer.expect("connected")
            sent = [("t", bytes(size)) for size in (1, 20_000, 200_000, 3)]
            assert all(peer.link.publish(message(*pair)) for pair in sent)
            assert [peer.expect_message() for _ in sent] == sent
        with Peer(url, "bad", tls=Tls(ca_file=tmp_path / "other/ca.pem")) as peer:
            wait_until(lambda: "certificate verify failed" in caplog.text, "the refusal")
            with pytest.raises(Empty):
                peer.events.get_nowait()


def make_ca(folder):
    """Make a certificate authority, and a server certificate of it for 127.0.0.1."""
    folder.mkdir()
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    ca = ["-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-subj", "/CN=test CA"]
    server = ["-keyout", folder / "server.key", "-out", folder / "server.pem", "-subj", "/CN=s"]
    signing = ["-CA", folder / "ca.pem", "-CAkey", folder / "ca.key"]
    alternative = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
    common = ["-nodes", "-days", "2"]
    subprocess.run([*openssl, *ca, *common], check=True, capture_output=True)
    subprocess.run(
        [*openssl, *server, *signing, *alternative, *common], check=True, capture_output=True
    )


@pytest.mark.parametrize("url", ["http://h", "mqtt://", "localhost:1883", "mqtt://user:pw@h:1"])
def test_a_url_that_names_no_broker_or_holds_a_password_is_refused(url):
    with pytest.raises(ValueError, match="broker"):
        Peer(url, "x")
