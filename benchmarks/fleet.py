"""A hub's live state with many machines, changing once a second, for load on the API."""

import math
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np

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

    def beat(self) -> None:
        """Let every machine be read once; a tenth of them changes its state."""
        self._beats += 1
        at_ms = now_ms()
        rows: list[tuple[int, int, float]] = []
        text: dict[int, str] = {}
        for i, (site, machine) in enumerate(self._keys):
            told = {
                names.LINK: 1.0,
                names.READ_AT: float(at_ms),
                names.MAX_AGE: 10_000.0,
                "rpm": float(self._beats % 1000),
            }
            rows += [(self.index.id(site, machine, k), i, v) for k, v in told.items()]
            word = WORDS[(i + (self._beats if i % 10 == 0 else 0)) % len(WORDS)]
            text[len(rows)] = word
            rows.append((self.index.id(site, machine, names.STATE), i, math.nan))
        series, message, value = zip(*rows, strict=True)
        columns = Columns(
            series=np.array(series, np.int32),
            time_ms=np.full(len(rows), at_ms, np.int64),
            value=np.array(value),
            quality=np.zeros(len(rows), np.uint8),
            reason=np.zeros(len(rows), np.uint8),
            message=np.array(message, np.int32),
            text=text,
        )
        order = np.full(len(self._keys), order_key(1, self._beats))
        self.live.apply(columns, order, at_ms)

    def keep_beating(self, stop: threading.Event) -> None:
        """Beat once a second until told to stop."""
        while not stop.wait(1.0):
            self.beat()


def now_ms() -> int:
    """Give the wall clock in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def free_folder(name: str) -> Path:
    """Give a folder below build/ for a benchmark's files."""
    folder = Path("build/bench") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
