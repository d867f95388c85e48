"""A hub's left half and agents for tests: real journals, real delivery, real DuckDB.

``Hub`` is driven by hand through an in-process link, or runs its threads over a real broker.
"""

import random
import threading
import time
from pathlib import Path

from gateway.delivery import Births, MachineMetrics, Sender
from gateway.journal import Budget, Journal, NewEntry
from gateway.mqtt import MqttLink
from gateway.sparkplug import DataType, Metric, encode_body, names, quality_properties
from hub.columns import SeriesIndex
from hub.config import HubConfig
from hub.historian.duck import DuckHistorian
from hub.historian.historian import Span
from hub.ingest.intake import Received
from hub.ingest.pipeline import Pipeline, State, open_inbox
from hub.live import Alarms, Counters, Live
from hub.registry import Registry

SITE = "ota"
NOW = 1_790_000_000_000
ALL_TIME = Span(0, 9_000_000_000_000)
TYPES = {float: DataType.DOUBLE, bool: DataType.BOOLEAN, str: DataType.STRING, int: DataType.INT64}


class Clock:
    """A wall clock that tests move."""

    def __init__(self, now_ms=NOW):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms


def wall_ms():
    return time.time_ns() // 1_000_000


class HeldLink:
    """A link that only remembers what was published."""

    def __init__(self, **wiring):
        self.wiring = wiring
        self.published = []
        self.connected = False

    def start(self):
        self.wiring["will"]()
        self.connected = True
        self.wiring["on_connected"]()

    def publish(self, message):
        if self.connected:
            self.published.append(message)
        return self.connected

    def stop(self, last=()):
        self.published += last
        self.connected = False


class Hub:
    """The left half of a hub over the files in `folder`."""

    def __init__(self, folder: Path, *, url=None, now_ms=None, seed=0, **settings):
        self.now_ms = now_ms or Clock()
        rng = random.Random(seed)
        self.config = HubConfig.model_validate(
            {"broker": {"url": url or "mqtt://127.0.0.1:1"}, **settings}
        )
        self.index = SeriesIndex()
        self.registry = Registry(self.config.sites)
        self.live = Live(self.index)
        self.alarms = Alarms(now_ms=self.now_ms)
        self.counters = Counters()
        self.historian = DuckHistorian(folder / "history", self.index)
        self.inbox = open_inbox(
            folder, self.config.limits, now_ms=self.now_ms, random64=lambda: rng.getrandbits(64)
        )
        wiring = {} if url else {"link": self._hold}
        self.pipeline = Pipeline(
            self.config,
            state=State(self.index, self.registry, self.live, self.alarms, self.counters),
            inbox=self.inbox,
            historian=self.historian,
            password=None,
            now_ms=self.now_ms,
            rng=rng,
            **wiring,
        )
        if not url:
            self.link.start()
            [self.birth] = self.link.published
            self.link.published = []

    def _hold(self, **wiring):
        self.link = HeldLink(**wiring)
        return self.link

    def step(self, messages=()):
        """Take messages in this thread and return what is published."""
        self.pipeline._ingest.step([Received(topic, payload) for topic, payload in messages])
        published, self.link.published = self.link.published, []
        return published

    def write(self):
        """Write what the inbox holds to the historian, in this thread."""
        self.pipeline._writer._turn()

    def abandon(self):
        """Let go of the files as a killed process does: nothing is written any more."""
        self.inbox.close()
        self.historian.close()

    def stop(self):
        self.pipeline.stop()
        self.abandon()

    def stored(self, machine, signal, site=SITE):
        """Give the (time, value) rows of a signal as the historian has them."""
        found = self.historian.range(
            site, machine, signal, ALL_TIME, points_max=1_000_000, raw=True
        )
        return [] if found is None else [(row[0], row[1]) for row in found.rows]

    def values(self, machine, site=SITE):
        return {name: v.value for name, v in self.live.signals(site, machine).items()}

    def alarm_codes(self):
        return {alarm.code for alarm in self.alarms.active()}


class Agent:
    """An agent made of its real parts: a journal and a sender. Signals have one type each."""

    def __init__(self, folder: Path, name="line-1", *, signals=None, now_ms=None, seed=1):
        self.name = name
        self.now_ms = now_ms or Clock()
        self.rng = random.Random(seed)
        self.signals = signals or {"mc-1": {"count": float, "door": bool, "job": str}}
        self.description = '{"name":{"en":"Mill"},"kind":"mill","processes":["milling"]}'
        self._aliases = {}
        for machine, described in self.signals.items():
            for signal in (*described, *_RESERVED):
                self._aliases[machine, signal] = 128 + len(self._aliases)
        self.last = {}
        self.lock = threading.RLock()
        self.journal = Journal.open(
            folder / f"{name}.journal",
            budget=Budget(64 * 1024 * 1024, 1e9, 86_400.0),
            when_full="drop_oldest",
            now_ms=self.now_ms,
            random64=lambda: self.rng.getrandbits(64),
        )
        self.sender = Sender(
            site=SITE,
            agent=name,
            version="1.0",
            storage=self.journal,
            births=self.births,
            rng=self.rng,
        )
        self.link = None

    def births(self):
        return Births([self._birth(machine) for machine in self.signals])

    def record(self, machine, *samples):
        """Append one entry of (signal, value[, time_ms]) samples."""
        return self.append([self._metric(machine, *sample) for sample in samples], machine)

    def append(self, metrics, machine):
        """Append one entry of metrics."""
        body = encode_body(metrics)
        with self.lock:
            first = self.journal.append([NewEntry(machine, self.now_ms(), body, len(metrics))])
            self.sender.appended(self.journal.read(first, 1), self.now_ms())
        return first

    # Driven by hand -----------------------------------------------------------------------

    def connect(self):
        self.will = self.sender.connecting(self.now_ms())
        self.sender.connected(self.now_ms())

    def poll(self):
        return [(m.topic, m.payload) for m in self.sender.poll(self.now_ms())]

    def take(self, published):
        for message in published:
            self.sender.received(message.topic, message.payload, self.now_ms())

    # Over a broker ------------------------------------------------------------------------

    def start(self, url):
        """Connect to a broker and deliver until stopped."""
        self._running = True
        self.link = MqttLink(
            url=url,
            client_id=f"agent-{self.name}",
            will=self._guarded(lambda: self.sender.connecting(self.now_ms())),
            subscriptions=self.sender.subscriptions(),
            on_connected=self._guarded(lambda: self.sender.connected(self.now_ms())),
            on_disconnected=self._guarded(lambda: self.sender.disconnected(self.now_ms())),
            on_message=self._guarded(lambda t, p: self.sender.received(t, p, self.now_ms())),
        )
        self.link.start()
        self._thread = threading.Thread(target=self._pump, name=self.name, daemon=True)
        self._thread.start()
        return self

    def stop(self, *, farewell=True):
        """Leave in order, or (`farewell` False) without a word."""
        self._running = False
        self._thread.join()
        self.link.stop(self.sender.leaving(self.now_ms()) if farewell else ())
        self.journal.close()

    def _guarded(self, call):
        def locked(*arguments):
            with self.lock:
                return call(*arguments)

        return locked

    def _pump(self):
        while self._running:
            with self.lock:
                messages = self.sender.poll(self.now_ms())
            for message in messages:
                self.link.publish(message)
            time.sleep(0.005)  # the pace of this pump, not a wait for something

    def _birth(self, machine):
        metrics = [Metric(name=names.MACHINE, datatype=DataType.STRING, value=self.description)]
        for signal, kind in {**self.signals[machine], **_RESERVED}.items():
            value, time_ms = self.last.get((machine, signal), (None, self.now_ms()))
            metrics.append(
                Metric(
                    name=signal,
                    alias=self._aliases[machine, signal],
                    datatype=_DATATYPES.get(signal) or TYPES[kind],
                    value=value,
                    time_ms=time_ms,
                )
            )
        return MachineMetrics(machine, metrics)

    def _metric(self, machine, signal, value, time_ms=None, *, quality=None, reason=None):
        kind = {**self.signals[machine], **_RESERVED}[signal]
        time_ms = self.now_ms() if time_ms is None else time_ms
        self.last[machine, signal] = (value, time_ms)
        properties = {} if quality is None else quality_properties(quality, reason)
        return Metric(
            alias=self._aliases[machine, signal],
            datatype=_DATATYPES.get(signal) or TYPES[kind],
            value=value,
            time_ms=time_ms,
            properties=properties,
        )


_RESERVED = {
    names.STATE: str,
    names.STATE_REASON: str,
    names.STATE_EVIDENCE: str,
    names.LINK: bool,
    names.READ_AT: int,
    names.MAX_AGE: int,
}
_DATATYPES = {names.READ_AT: DataType.DATETIME, names.MAX_AGE: DataType.UINT32}
