"""The same over a real broker: threads, reconnects, STATE, status topics, exactly once."""

import json
import threading

import pytest

from gateway.model import Connectivity
from gateway.mqtt import MqttLink
from gateway.sparkplug import names
from tests.brokers import MOSQUITTO, running_mosquitto, wait_until
from tests.hub.ingest.scenes import SITE, Agent, Hub, wall_ms

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


@pytest.fixture
def broker():
    with running_mosquitto() as broker:
        yield broker


class Listener:
    """Somebody else on the broker."""

    def __init__(self, url, *topics):
        self.seen = []
        self._lock = threading.Lock()
        self.link = MqttLink(
            url=url,
            client_id="listener",
            on_connected=lambda: None,
            on_disconnected=lambda: None,
            on_message=self._heard,
            subscriptions=[(topic, 1) for topic in topics],
        )
        self.link.start()

    def _heard(self, topic, payload):
        with self._lock:
            self.seen.append((topic, payload))

    def last(self, topic):
        with self._lock:
            return next((json.loads(p) for t, p in reversed(self.seen) if t == topic), None)


def start_hub(folder, broker, seed=0):
    hub = Hub(folder, url=broker.url, now_ms=wall_ms, seed=seed)
    hub.pipeline.start()
    wait_until(lambda: hub.pipeline.connected, "the hub to connect")
    return hub


def settled(agent):
    with agent.lock:
        return agent.sender.status().settled == agent.journal.next - 1


def counts(hub):
    return [value for _, value in hub.stored("mc-1", "count")]


def test_exactly_once_over_restarts_of_hub_agent_and_broker(tmp_path, broker):
    hub = start_hub(tmp_path, broker)
    agent = Agent(tmp_path, now_ms=wall_ms).start(broker.url)
    expected = []
    for mishap in ("none", "hub", "agent", "broker"):
        for _ in range(40):
            expected.append(float(len(expected)))
            agent.record("mc-1", ("count", expected[-1], 1_790_000_000_000 + len(expected)))
        if mishap == "hub":
            hub.stop()
            hub = start_hub(tmp_path, broker, seed=len(expected))
        elif mishap == "agent":
            agent.stop(farewell=False)
            agent = Agent(tmp_path, now_ms=wall_ms).start(broker.url)
        elif mishap == "broker":
            broker.kill()
            broker.start()
    wait_until(lambda: settled(agent), "everything to be acknowledged", 30)
    wait_until(lambda: counts(hub) == expected, "everything to be in the historian", 15)
    assert hub.values("mc-1")["count"] == expected[-1]
    assert hub.counters.dropped == {}
    agent.stop()
    hub.stop()


@pytest.mark.tck(
    "host-topic-phid-death-required",
    "host-topic-phid-death-payload",
    "host-topic-phid-death-retain",
    "operational-behavior-host-application-termination",
    "message-flow-phid-sparkplug-state-publish",
)
def test_the_host_says_when_it_is_there_and_when_it_leaves(tmp_path, broker):
    listener = Listener(broker.url, "spBv1.0/STATE/#")
    hub = start_hub(tmp_path, broker)
    topic = "spBv1.0/STATE/machikoba"
    born = wait_until(lambda: listener.last(topic), "the host's birth")
    assert born["online"] is True
    hub.stop()
    wait_until(lambda: listener.last(topic)["online"] is False, "the host's death")
    assert listener.last(topic)["timestamp"] >= born["timestamp"]
    listener.link.stop()


def test_a_lost_agent_is_offline_and_everybody_can_read_so_on_a_plain_topic(tmp_path, broker):
    status = f"machikoba/v1/{SITE}/mc-1/status"
    listener = Listener(broker.url, "machikoba/#")
    hub = start_hub(tmp_path, broker)
    agent = Agent(tmp_path, now_ms=wall_ms).start(broker.url)
    agent.record(
        "mc-1",
        (names.STATE, "idle"),
        (names.LINK, True),
        (names.READ_AT, wall_ms()),
        (names.MAX_AGE, 60_000),
    )
    wait_until(lambda: (listener.last(status) or {}).get("state") == "idle", "the state idle")
    assert listener.last(status)["quality"] == "online"

    agent.stop()
    wait_until(lambda: listener.last(status)["state"] == "unknown", "the agent's death")
    assert listener.last(status)["quality"] == "offline"
    machine = hub.live.machine(SITE, "mc-1")
    assert machine.connectivity(wall_ms()) is Connectivity.OFFLINE
    hub.stop()
    listener.link.stop()
