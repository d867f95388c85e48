"""A town of machines in a real hub, without the wire.

Live state, registry, historian, API, stream and page are the hub's own, served by its own HTTP
server over loopback on the wall clock. Only where the machines' data would arrive from a broker,
the town feeds the live state and the historian itself, so that a test can say what happens when.
"""

import asyncio
import math
import random
import socket
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvicorn

from gateway.model import State
from gateway.sparkplug import names
from hub.api import create_app
from hub.columns import Columns, SeriesIndex, StateChange
from hub.config import Names, Site
from hub.dashboard import build_id, dashboard_routes, lite_routes
from hub.historian import WriteBatch, open_historian
from hub.live import Live
from hub.live.live import order_key
from hub.registry import MachineRecord, Registry
from hub.store import Store
from hub.stream import LiveStream
from tests.hub.contexts import new_context

SITES = {
    "ota": ("大田第一工場", "Ota Works 1"),
    "higashi-osaka": ("東大阪精密", "Higashi-Osaka Precision"),
    "suwa": ("諏訪切削", "Suwa Machining"),
    "tsubame-sanjo": ("燕三条プレス", "Tsubame-Sanjo Press"),
}
KINDS = (
    ("mc", "machining-centre"),
    ("nl", "lathe"),
    ("pr", "press"),
    ("we", "wire-edm"),
)
REASONS = {
    State.DOWN: "主軸過負荷 E-2041",
    State.WAITING: "材料待ち",
    State.MAINTENANCE: "月例点検",
    State.SETUP: "治具交換",
}
MIX = (State.RUNNING,) * 9 + (
    State.IDLE,
    State.WAITING,
    State.SETUP,
    State.MAINTENANCE,
    State.CLOSED,
    State.CLOSED,
)
UNITS = {"Spindle load": "%", "Spindle speed": "rpm", "Power": "kW", "Coolant": "°C", "Parts": None}
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
MAX_AGE_MS = 5_000


def wall_ms():
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Resident:
    """One machine, and what it would say if it were asked."""

    site: str
    machine: str
    kind: str
    state: State
    since_ms: int
    reason: str = ""
    evidence: str = ""
    parts: int = 0
    silent: bool = False
    values: dict[str, float] = field(default_factory=dict)


class Town:
    """Machines that speak once a second to a hub that can be stopped, frozen and restarted."""

    def __init__(self, folder: Path, *, per_site: int = 5, sites: int = 4, seed: int = 7):
        self._rng = random.Random(seed)
        self._index = SeriesIndex()
        self.live = Live(self._index)
        told = {
            site: Site(name=Names(ja=ja, en=en), time_zone="Asia/Tokyo")
            for site, (ja, en) in list(SITES.items())[:sites]
        }
        self._registry = Registry(told)
        self._historian = open_historian(
            folder, self._index, memory_mib=64, raw_days=30, rollup_days=400
        )
        self._store = Store.open(f"sqlite:///{folder}/coordination.sqlite")
        self._offset = 0
        self._written = 0
        self.residents = {
            (each.site, each.machine): each for each in self._settle(list(told), per_site)
        }
        self.live.broker_connected(connected=True)
        for resident in self.residents.values():
            self._announce(resident)
            self._speak(resident)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="town")
        self._running: tuple[uvicorn.Server, Future] | None = None
        self._stream: LiveStream | None = None
        self._ticking: Future | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._listener.close()

    # What a test does to it.

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self):
        self._thread.start()
        self._on_loop(self._live_on())
        self.start_hub()

    def close(self):
        self.stop_hub()
        self._on_loop(self._rest()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._historian.close()
        self._store.close()

    def start_hub(self, build=None):
        """Start the hub on the town's port: another boot, the same machines."""
        self._stream = LiveStream(self.live, now_ms=wall_ms, build=build or build_id())
        context = new_context(
            live=self.live,
            registry=self._registry,
            historian=self._historian,
            store=self._store,
            stream=self._stream,
            now_ms=wall_ms,
        )
        lite = lite_routes(self.live, self._registry, wall_ms)
        config = uvicorn.Config(
            create_app(context, [*dashboard_routes(), *lite]),
            host="127.0.0.1",
            port=self.port,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        self._running = (server, self._on_loop(server._serve()))
        self.thaw()
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "the hub did not start"
            time.sleep(0.01)

    def stop_hub(self):
        """Take the hub away: connections end, the port is closed."""
        if self._running is None:
            return
        server, serving = self._running
        self._running = None
        self.freeze()
        server.should_exit = True
        serving.result(10)

    def viewers(self):
        """How many connections follow the hub's stream."""
        return self._stream.viewers

    def freeze(self):
        """Keep every connection and say nothing on it any more."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._ticking = None

    def thaw(self):
        assert self._stream is not None
        self._ticking = self._on_loop(self._stream.run())

    def change(self, site, machine, state, *, reason="", since_ms=None):
        """Let a machine be in another state from now on."""
        resident = self.residents[site, machine]
        assert resident.state is not state, "a state that stays has no new beginning"
        resident.state, resident.reason = state, reason
        resident.since_ms = wall_ms() if since_ms is None else since_ms
        self._call(self._speak, resident)

    def silence(self, site, machine, *, ago_ms=0):
        """Let a machine fall silent; nothing was read for `ago_ms` already."""
        resident = self.residents[site, machine]
        resident.silent = True
        if ago_ms:
            at = wall_ms() - ago_ms
            self._call(self._say, resident, {names.LINK: 0.0, names.READ_AT: float(at)}, wall_ms())

    def refuse(self, site, machine):
        """Let a machine answer no more, as its agent tells: every value without one, no state."""
        resident = self.residents[site, machine]
        resident.silent = True
        state = {names.STATE: State.UNKNOWN.value, names.STATE_REASON: "inputs-unknown"}
        lost = {**state, names.LINK: 0.0, **dict.fromkeys(UNITS)}
        self._call(self._say, resident, lost, wall_ms())

    def agent_lost(self, site):
        self._call(self.live.died, site, "line-1", wall_ms())

    def agent_back(self, site):
        """Let the agent announce itself again, as after a lost connection."""

        def born():
            self.live.born(site, "line-1", wall_ms(), foreign=False)

        self._call(born)

    def remember(self, site, machine, *, hours=24, gap=True):
        """Give a machine a past of states and signals, ending in its present state."""
        resident = self.residents[site, machine]
        changes = list(self._past(resident, hours))
        columns = self._samples(resident, changes, hours, gap=gap)
        self._historian.write(WriteBatch(columns, changes))

    # How it lives.

    def _settle(self, sites: Iterable[str], per_site: int):
        now = wall_ms()
        for block, site in enumerate(sites, start=1):
            for n in range(per_site):
                prefix, kind = KINDS[n % len(KINDS)]
                state = self._rng.choice(MIX)
                since = now - self._rng.randint(1, 190) * MINUTE_MS - 20_000
                yield Resident(
                    site,
                    f"{prefix}-{block}{n:02d}",
                    kind,
                    state,
                    since,
                    REASONS.get(state, ""),
                    parts=self._rng.randint(20, 240),
                )

    def _announce(self, resident):
        name = {"en": resident.machine.upper(), "ja": resident.machine.upper()}
        record = MachineRecord(
            resident.site, resident.machine, "line-1", name=name, kind=resident.kind
        )
        self._registry.record(record)
        self.live.born(resident.site, "line-1", wall_ms(), foreign=False)
        self.live.describe(record, online=True, now_ms=wall_ms())
        for signal, unit in UNITS.items():
            series = self._index.id(resident.site, resident.machine, signal)
            counts = "good" if signal == "Parts" else None
            self._index.describe(series, unit=unit, kind="double", counts=counts)
            self.live.recount([series])

    async def _live_on(self):
        while True:
            for resident in self.residents.values():
                if not resident.silent:
                    self._speak(resident)
            await asyncio.sleep(1)

    def _speak(self, resident):
        now = wall_ms()
        state = {
            names.STATE: resident.state.value,
            names.STATE_REASON: resident.reason,
            names.STATE_EVIDENCE: self._evidence(resident),
        }
        self._say(resident, state, resident.since_ms)
        values = signals_at(resident, now)
        values["Parts"] = float(resident.parts)
        link = {names.LINK: 1.0, names.READ_AT: float(now), names.MAX_AGE: float(MAX_AGE_MS)}
        self._say(resident, {**link, **values}, now)

    def _evidence(self, resident):
        if resident.evidence:
            return resident.evidence
        load = signals_at(resident, resident.since_ms)["Spindle load"]
        return f"Spindle load {load:.0f} % {'>' if resident.state is State.RUNNING else '<'} 5 %"

    def _say(self, resident, values, time_ms):
        self._offset += 1
        self.live.apply(
            self._columns(resident, list(values.items()), [time_ms] * len(values)),
            np.array([order_key(1, self._offset)]),
            wall_ms(),
        )

    def _columns(self, resident, rows, times):
        series = [self._index.id(resident.site, resident.machine, name) for name, _ in rows]
        numbers = [math.nan if isinstance(v, str) or v is None else float(v) for _, v in rows]
        return Columns(
            series=np.array(series, np.int32),
            time_ms=np.array(times, np.int64),
            value=np.array(numbers),
            quality=np.array([2 if v is None else 0 for _, v in rows], np.uint8),
            reason=np.array([1 if v is None else 0 for _, v in rows], np.uint8),
            message=np.zeros(len(rows), np.int32),
            text={n: v for n, (_, v) in enumerate(rows) if isinstance(v, str)},
        )

    def _past(self, resident, hours):
        at = wall_ms() - hours * HOUR_MS
        cycle = (State.RUNNING, State.IDLE, State.RUNNING, State.SETUP, State.RUNNING)
        cycle += (State.DOWN, State.MAINTENANCE, State.RUNNING, State.WAITING, State.OFF)
        turn = 0
        while at < resident.since_ms - 5 * MINUTE_MS:
            state = cycle[turn % len(cycle)]
            yield StateChange(
                resident.site, resident.machine, at, state, REASONS.get(state, ""), "from a rule"
            )
            at += int(self._rng.uniform(6, 75 if state is State.RUNNING else 22) * MINUTE_MS)
            turn += 1
        yield StateChange(
            resident.site,
            resident.machine,
            resident.since_ms,
            resident.state,
            resident.reason,
            self._evidence(resident),
        )

    def _samples(self, resident, changes, hours, *, gap):
        now = wall_ms()
        start = now - hours * HOUR_MS
        step = max(20_000, hours * HOUR_MS // 1_000)
        lost = (now - hours * HOUR_MS // 3, now - hours * HOUR_MS // 3 + 40 * MINUTE_MS)
        rows, times = [], []
        starts = [change.time_ms for change in changes]
        past = Resident(resident.site, resident.machine, resident.kind, State.IDLE, start)
        for at in range(start, now, step):
            index = int(np.searchsorted(starts, at, side="right")) - 1
            past.state = changes[max(index, 0)].state
            silent = gap and lost[0] <= at < lost[1]
            counted = resident.parts - (now - at) // (6 * MINUTE_MS)
            for name, value in {**signals_at(past, at), "Parts": max(counted, 0)}.items():
                rows.append((name, None if silent else value))
                times.append(at)
        return self._columns(resident, rows, times)

    # Threads.

    def _on_loop(self, coroutine) -> Future:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _call(self, function, *arguments):
        async def run():
            function(*arguments)

        self._on_loop(run()).result(10)

    async def _rest(self):
        """Let everything that still runs on the loop come to its end."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def signals_at(resident, time_ms):
    """What the machine's sensors would show: smooth, busy when it runs."""
    seconds = time_ms / 1000
    own = sum(map(ord, resident.machine)) % 17
    busy = 1.0 if resident.state is State.RUNNING else 0.06
    wave = math.sin(seconds / 211 + own) * 9 + math.sin(seconds / 37 + own * 2) * 4
    return {
        "Spindle load": round(max(0.0, busy * (52 + wave)), 2),
        "Spindle speed": round(busy * (4200 + 60 * wave) if busy == 1.0 else 0.0, 1),
        "Power": round(0.4 + busy * (7.4 + wave / 9), 3),
        "Coolant": round(24 + 3 * math.sin(seconds / 5400 + own) + busy, 2),
    }
