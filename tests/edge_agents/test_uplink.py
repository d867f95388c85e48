"""From a committed sample to the broker and back: the way out, on a real broker and a real journal.

Births and data keep their order on the wire, the will speaks when the agent cannot, leaving is
announced, the primary host's STATE is obeyed, nothing is lost over broker kills, and a sample is
at the broker within a tenth of a second.
"""

import asyncio
import json
import random
import time
from queue import Queue

import pytest

from edge_agents.outbox import MachineBirth, Outbox, SignalBirth
from edge_agents.uplink import Uplink
from gateway.delivery import Outgoing, Sender, rebirth_command
from gateway.journal import Budget, Journal, JournalCorrupt, JournalError
from gateway.model import Sample
from gateway.mqtt import MqttLink
from gateway.sparkplug import decode, names, parse_topic
from tests.brokers import running_mosquitto
from tests.edge_agents.tiny_hub import TinyHub, now_ms
from tests.proxy import Proxy

pytestmark = pytest.mark.system

SITE, AGENT = "ota", "line-1"


@pytest.fixture
def broker():
    with running_mosquitto() as broker:
        yield broker


class Observer:
    """Sees everything on the broker, and can speak as a host."""

    def __init__(self, url):
        self.seen = Queue()
        self._connected = Queue()
        self._link = MqttLink(
            url=url,
            client_id="observer",
            on_connected=lambda: self._connected.put("now"),
            on_disconnected=lambda: None,
            on_message=lambda topic, payload: self.seen.put((parse_topic(topic), payload)),
            subscriptions=[("spBv1.0/#", 1)],
        )

    def __enter__(self):
        self._link.start()
        self._connected.get(timeout=10)
        return self

    def __exit__(self, *_):
        self._link.stop()

    def say(self, message):
        assert self._link.publish(message)

    def state(self, *, online, time_ms):
        payload = json.dumps({"online": online, "timestamp": time_ms}).encode()
        self.say(Outgoing("spBv1.0/STATE/hub", payload, 1, retain=True))

    async def next(self, *unwanted):
        """Wait for the next message that is of no unwanted kind."""
        while True:
            topic, payload = await asyncio.to_thread(self.seen.get, timeout=10)
            if topic.kind not in unwanted:
                return topic.kind, topic.device, decode(payload)


class Running:
    """An agent's way out: journal, outbox, sender and uplink."""

    def __init__(self, folder, url, **options):
        self.journal = Journal.open(
            folder / "outbox.db",
            budget=Budget(bytes_max=16_000_000, age_max_s=10**6, keep_settled_s=60),
            when_full="drop_oldest",
            now_ms=now_ms,
            random64=lambda: random.getrandbits(64),
        )
        self.sender = Sender(
            site=SITE,
            agent=AGENT,
            version="1",
            storage=self.journal,
            births=self._births,
            rng=random.SystemRandom(),
            **options,
        )
        self.uplink = Uplink(self.sender, url=url, client_id="agent", now_ms=now_ms)
        self.outbox = Outbox(
            self.journal,
            machines=[
                MachineBirth("m1", {}, [SignalBirth("n", "double")]),
                MachineBirth("m2", {}, [SignalBirth("n", "double")]),
            ],
            now_ms=now_ms,
            commit_interval_s=0.05,
            on_committed=self.uplink.appended,
        )

    def _births(self):
        return self.outbox.births()

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(part.run()) for part in (self.outbox, self.uplink)]
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.journal.close()

    def record(self, value, machine="m1"):
        self.outbox.record(machine, [Sample("n", float(value), now_ms())])


async def until(condition, what, deadline_s=20.0):
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        await asyncio.sleep(0.005)


@pytest.mark.tck(
    "topics-nbirth-seq-num",
    "payloads-dbirth-order",
    "payloads-sequence-num-incrementing",
    "payloads-alias-data-cmd-requirement",
    "operational-behavior-data-commands-rebirth-action-2",
    "operational-behavior-data-commands-rebirth-action-3",
    "operational-behavior-data-commands-ncmd-rebirth-name",
)
async def test_births_data_and_a_rebirth_are_seen_in_order(tmp_path, broker):
    with Observer(broker.url) as observer:
        async with Running(tmp_path, broker.url) as agent:
            births = [await observer.next() for _ in range(3)]
            agent.record(1)
            data = await observer.next()
            observer.say(rebirth_command(SITE, AGENT, now_ms()))
            again = [await observer.next("NCMD", "DDATA") for _ in range(3)]

    assert [(kind, device) for kind, device, _ in births] == [
        ("NBIRTH", None),
        ("DBIRTH", "m1"),
        ("DBIRTH", "m2"),
    ]
    assert [payload.seq for _, _, payload in (*births, data)] == [0, 1, 2, 3]
    assert data[:2] == ("DDATA", "m1")
    assert all(metric.name is None for metric in data[2].metrics)
    assert [kind for kind, _, _ in again] == ["NBIRTH", "DBIRTH", "DBIRTH"]
    assert bdseq(again[0][2]) == bdseq(births[0][2])


def bdseq(payload):
    return next(metric.value for metric in payload.metrics if metric.name == names.BDSEQ)


@pytest.mark.tck(
    "payloads-ndeath-will-message",
    "payloads-ndeath-bdseq",
    "topics-nbirth-bdseq-matching",
    "topics-nbirth-bdseq-increment",
    "message-flow-edge-node-birth-publish-will-message",
)
async def test_the_broker_speaks_the_will_when_the_link_breaks(tmp_path, broker):
    with Observer(broker.url) as observer, Proxy(broker.port) as proxy:
        async with Running(tmp_path, proxy.url):
            kind, _, birth = await observer.next()
            assert kind == "NBIRTH"
            proxy.reset()
            kind, _, death = await observer.next("DBIRTH", "NBIRTH")
            assert (kind, death.seq, bdseq(death)) == ("NDEATH", None, bdseq(birth))
            kind, _, reborn = await observer.next("DBIRTH")
            assert (kind, bdseq(reborn)) == ("NBIRTH", bdseq(birth) + 1)


@pytest.mark.tck(
    "payloads-ndeath-will-message-publisher",
    "payloads-ndeath-will-message-publisher-disconnect-mqtt311",
    "operational-behavior-edge-node-intentional-disconnect-ndeath",
    "operational-behavior-edge-node-intentional-disconnect-packet",
)
async def test_leaving_is_announced_once(tmp_path, broker):
    with Observer(broker.url) as observer:
        async with Running(tmp_path, broker.url):
            await observer.next()
        kind, _, _ = await observer.next("DBIRTH")
        assert kind == "NDEATH"
        observer.say(Outgoing("spBv1.0/x/NDATA/end", b"", 1, retain=False))
        kind, _, _ = await observer.next()
        assert kind == "NDATA"  # so the broker did not add the will


@pytest.mark.tck(
    "message-flow-edge-node-birth-publish-phid-wait",
    "operational-behavior-edge-node-termination-host-offline",
    "operational-behavior-edge-node-termination-host-offline-reconnect",
)
async def test_the_primary_hosts_state_opens_and_closes_the_session(tmp_path, broker):
    with Observer(broker.url) as observer:
        async with Running(tmp_path, broker.url, host="hub") as agent:
            await until(lambda: agent.sender.status().connected, "the agent to connect")
            assert not agent.sender.status().born
            observer.state(online=True, time_ms=100)
            assert (await observer.next("STATE"))[0] == "NBIRTH"
            observer.state(online=False, time_ms=100)
            assert (await observer.next("STATE", "DBIRTH"))[0] == "NDEATH"
            await until(lambda: agent.sender.status().bdseq == 1, "a new session")
            observer.state(online=True, time_ms=200)
            assert (await observer.next("STATE"))[0] == "NBIRTH"


async def test_nothing_is_lost_over_kills_of_the_broker(tmp_path, broker):
    with TinyHub(broker.url) as hub:
        async with Running(tmp_path, broker.url) as agent:
            for n in range(600):
                agent.record(n)
                if n in (150, 400):
                    broker.kill()
                    await asyncio.to_thread(broker.start)
                await asyncio.sleep(0.002)
            await until(lambda: len(hub.of("m1", "n")) == 600, "everything to arrive")
            await until(lambda: not agent.journal.unsettled(1, 1), "everything to be settled")

        assert hub.of("m1", "n") == [float(n) for n in range(600)]


async def test_a_sample_is_at_the_broker_within_a_tenth_of_a_second(tmp_path, broker):
    with TinyHub(broker.url) as hub:
        async with Running(tmp_path, broker.url) as agent:
            agent.record(-1)
            await until(lambda: hub.of("m1", "n"), "the first sample")
            delays = []
            for n in range(40):
                began = time.monotonic()
                agent.record(n)
                await until(lambda n=n: float(n) in hub.of("m1", "n"), "a sample")
                delays.append(time.monotonic() - began)

    assert sorted(delays)[len(delays) // 2] < 0.1


async def test_a_journal_that_cannot_be_read_is_asked_again_and_a_damaged_one_ends_it(
    tmp_path, broker, monkeypatch, caplog
):
    with TinyHub(broker.url) as hub:
        async with Running(tmp_path, broker.url) as agent:
            await until(lambda: agent.sender.status().answered, "the hub's answer")
            poll = agent.sender.poll
            monkeypatch.setattr(agent.sender, "poll", raising(JournalError("busy")))
            agent.record(1)
            await until(lambda: "cannot be read" in caplog.text, "the trouble to be logged")
            monkeypatch.setattr(agent.sender, "poll", poll)
            await until(lambda: hub.of("m1", "n") == [1.0], "the sample all the same")
            monkeypatch.setattr(agent.sender, "poll", raising(JournalCorrupt("torn")))
            with pytest.raises(JournalCorrupt):
                await asyncio.wait_for(agent.tasks[1], 10)


def raising(error):
    def fail(_now_ms):
        raise error

    return fail
