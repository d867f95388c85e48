"""A hub's live state with many machines, changing once a second, for load on the API."""

import math
import shutil
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.sparkplug import names
from hub.columns import Columns, SeriesIndex
from hub.config import Names, Site
from hub.live import Live
from hub.live.live import order_key
from hub.registry import MachineRecord, Registry

SITES: Final = 20
WORDS: Final = ("running", "idle", "setup", "down")


class Fleet:
    """Machines of several sites; `beat` lets each of them say something."""

    def __init__(self, machines: int) -> None:
        self.index = SeriesIndex()
        self.live = Live(self.index)
        self.registry = Registry(
            {f"site-{i}": Site(name=Names(en=f"Site {i}", ja=f"工場{i}")) for i in range(SITES)}
        )
        self._keys = [(f"site-{i % SITES}", f"mc-{i:03d}") for i in range(machines)]
        self._beats = 0
        self.live.broker_connected(connected=True)
        for site, machine in self._keys:
            name = {"en": f"Machining centre {machine}", "ja": f"立形MC {machine}"}
            record = MachineRecord(
                site,
                machine,
                "line-1",
                name=name,
                kind="machining-centre",
                processes=("milling-3axis", "drilling"),
            )
            self.registry.record(record)
            self.live.born(site, "line-1", now_ms(), foreign=False)
            self.live.describe(record, online=True, now_ms=now_ms())
        told = (names.LINK, names.READ_AT, names.MAX_AGE, names.STATE, "rpm")
        self._told = {name: self._series(name) for name in told}

    def _series(self, name: str) -> NDArray[np.int32]:
        ids = [self.index.id(site, machine, name) for site, machine in self._keys]
        return np.array(ids, np.int32)

    def beat(self) -> None:
        """Let every machine be read once; a tenth of them changes its state."""
        at_ms = now_ms()
        count, tenth = len(self._keys), slice(self._beats % 10, None, 10)
        every, some = np.arange(count, dtype=np.int32), np.arange(count, dtype=np.int32)[tenth]
        self._beats += 1
        parts = [
            (self._told[names.LINK], every, np.ones(count)),
            (self._told[names.READ_AT], every, np.full(count, float(at_ms))),
            (self._told[names.MAX_AGE], every, np.full(count, 10_000.0)),
            (self._told["rpm"], every, np.full(count, float(self._beats % 1000))),
            (self._told[names.STATE][tenth], some, np.full(len(some), math.nan)),
        ]
        series, message, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        first = 4 * count
        columns = Columns(
            series=series,
            time_ms=np.full(len(series), at_ms, np.int64),
            value=value,
            quality=np.zeros(len(series), np.uint8),
            reason=np.zeros(len(series), np.uint8),
            message=message,
            text={first + i: WORDS[(i + self._beats) % len(WORDS)] for i in range(len(some))},
        )
        self.live.apply(columns, np.full(count, order_key(1, self._beats)), at_ms)

    def keep_beating(self, stop: threading.Event) -> None:
        """Beat once a second until told to stop."""
        while not stop.wait(1.0):
            self.beat()


def now_ms() -> int:
    """Give the wall clock in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def free_folder(name: str) -> Path:
    """Give an empty folder below build/ for a benchmark's files."""
    folder = Path("build/bench") / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
