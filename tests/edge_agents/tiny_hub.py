"""The least hub that can be: acknowledges what it has in memory, and remembers every value."""

import random
import threading
import time

from gateway.delivery import HostSession, NodeBirth, Receiver
from gateway.mqtt import MqttLink
from gateway.sparkplug import decode, names, parse_topic, read_entry

POLL_S = 0.02


def now_ms():
    return time.time_ns() // 1_000_000


class TinyHub:
    """Receives one agent's messages over a real broker.

    `entries` holds (epoch, offset) of what was accepted, `values` maps (machine, signal) to the
    (time, value) pairs in the order of their arrival, `told` the kinds of messages that came.
    """

    def __init__(self, url):
        self._receiver = Receiver(host="tiny", marks={}, rng=random.Random(1))
        self._session = HostSession("tiny")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._aliases = {}
        self.entries = set()
        self.duplicates = 0
        self.values = {}
        self.births = {}
        self.told = []
        self._link = MqttLink(
            url=url,
            client_id="tiny-hub",
            will=lambda: self._session.connecting(now_ms()),
            on_connected=self._connected,
            on_disconnected=lambda: None,
            on_message=self._received,
            subscriptions=[("spBv1.0/#", 0)],
        )
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self):
        self._link.start()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._link.stop()

    def of(self, machine, signal):
        """Return the values of a signal in the order of their times, each once."""
        with self._lock:
            return [value for _, value in sorted(set(self.values.get((machine, signal), [])))]

    def _connected(self):
        self._link.publish(self._session.birth())

    def _received(self, text, payload):
        topic = parse_topic(text)
        if topic.kind == "STATE" or topic.kind.endswith("CMD"):
            return
        with self._lock:
            self.told.append(topic.kind)
            if topic.kind.endswith("BIRTH"):
                self._born(topic, decode(payload))
            elif topic.kind == "DDATA":
                self._take(topic, payload)

    def _born(self, topic, payload):
        metrics = {metric.name: metric.value for metric in payload.metrics}
        if topic.kind == "DBIRTH":
            self.births[topic.device] = metrics
            self._aliases |= {m.alias: m.name for m in payload.metrics if m.alias is not None}
            return
        birth = NodeBirth(
            metrics[names.BDSEQ], metrics[names.PROTOCOL], metrics[names.EPOCH],
            metrics[names.FIRST], metrics[names.NEXT],
        )  # fmt: skip
        self._receiver.birth(topic.group, topic.node, birth, now_ms())
        self._commit()

    def _take(self, topic, payload):
        point = read_entry(payload)
        if point is None:
            return  # a bare live value: the same sample comes again as an entry
        epoch, offset = point
        if not self._receiver.offer(topic.group, topic.node, epoch, [offset])[0]:
            self.duplicates += 1
            return
        self.entries.add(point)
        for metric in decode(payload).metrics:
            name = metric.name or self._aliases.get(metric.alias)
            if name != names.ENTRY:
                series = self.values.setdefault((topic.device, name), [])
                series.append((metric.time_ms, metric.value))
        self._commit()

    def _commit(self):
        self._receiver.facts()
        self._receiver.committed(now_ms())

    def _answer(self):
        while not self._stop.wait(POLL_S):
            with self._lock:
                messages = self._receiver.poll(now_ms())
            for message in messages:
                self._link.publish(message)
