"""A live state to look at: real parts fed the way ingest feeds them, with a clock to turn."""

import math

import numpy as np

from gateway.sparkplug import names
from hub.columns import Columns, SeriesIndex
from hub.config import Location, Names, Site
from hub.live import Live
from hub.live.live import order_key
from hub.registry import MachineRecord, Registry

T0 = 1_795_000_000_000


class Clock:
    """Shows what it is told."""

    def __init__(self, now_ms=T0):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms


class Scene:
    """Some machines of an agent, and what they say."""

    def __init__(self):
        self.clock = Clock()
        self.index = SeriesIndex()
        self.live = Live(self.index)
        self.registry = Registry(
            {
                "ota": Site(
                    name=Names(ja="大田精密", en="Ota Precision"),
                    time_zone="Asia/Tokyo",
                    location=Location(lat=35.561, lon=139.716),
                ),
            }
        )
        self._offset = 0
        self.live.broker_connected(connected=True)

    def add(self, machine, *, site="ota", processes=("milling-3axis",), kind="machining-centre"):
        """Announce a machine."""
        name = {"en": machine.upper(), "ja": f"{machine}号機"}
        record = MachineRecord(
            site, machine, "line-1", name=name, kind=kind, processes=tuple(processes)
        )
        self.registry.record(record)
        self.live.born(site, "line-1", self.clock(), foreign=False)
        self.live.describe(record, online=True, now_ms=self.clock())

    def say(self, machine, *, site="ota", **values):
        """Let an entry of a machine in; reserved signals by the names of this method."""
        known = {
            "state": names.STATE,
            "reason": names.STATE_REASON,
            "evidence": names.STATE_EVIDENCE,
            "link": names.LINK,
            "read_at": names.READ_AT,
            "max_age": names.MAX_AGE,
        }
        self._offset += 1
        rows = [(known.get(name, name), value) for name, value in values.items()]
        text = {i: value for i, (_, value) in enumerate(rows) if isinstance(value, str)}
        columns = Columns(
            series=np.array([self.index.id(site, machine, name) for name, _ in rows], np.int32),
            time_ms=np.full(len(rows), self.clock(), np.int64),
            value=np.array([math.nan if isinstance(v, str) else float(v) for _, v in rows]),
            quality=np.zeros(len(rows), np.uint8),
            reason=np.zeros(len(rows), np.uint8),
            message=np.zeros(len(rows), np.int32),
            text=text,
        )
        self.live.apply(columns, np.array([order_key(1, self._offset)]), self.clock())

    def read(self, machine, state="idle", *, site="ota", **values):
        """Let a machine be read successfully, being in a state."""
        self.say(
            machine,
            site=site,
            link=1,
            read_at=self.clock(),
            max_age=10_000,
            state=state,
            **values,
        )
