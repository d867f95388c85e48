"""What one agent costs: 50 machines, 20 signals each, every value sent every second.

Everything runs as in a factory: the simulated machines, mosquitto and the hub are processes of
their own, the outbox is on, and the hub acknowledges. Only the agent's own processes count; what
the others use is reported beside.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
import yaml

from benchmarks.figures import figure
from gateway.delivery import Outgoing
from gateway.mqtt import MqttLink
from gateway.sparkplug import decode, names, parse_topic, read_entry

MACHINES: Final = 50
SIGNALS: Final = 20
WARM_UP_S: Final = 15.0
RUN_S: Final = 20.0
RUNS: Final = 3
START_S: Final = 90.0
MACHIKOBA: Final = (sys.executable, "-m", "gateway.cli")
KINDS: Final = ("machining-centre", "nc-lathe", "press", "surface-grinder", "injection-moulding")

Figures = dict[str, dict[str, Any]]


def run() -> Figures:
    """Measure an agent with Modbus machines only, then one with both protocols."""
    return _measure("agent", opcua=0) | _measure("agent_opcua", opcua=MACHINES // 2)


def _measure(prefix: str, *, opcua: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="bench-agent-") as name, contextlib.ExitStack() as ends:
        folder = Path(name)
        try:
            return _Scene(folder, ends, opcua).figures(prefix)
        except TimeoutError as error:
            for log in folder.glob("*.log"):
                error.add_note(f"{log.name}: …{log.read_text(errors='replace')[-1_000:]}")
            raise


class _Scene:
    """Machines, broker, hub and agent, each in processes of its own, and somebody who listens."""

    def __init__(self, folder: Path, ends: contextlib.ExitStack, opcua: int) -> None:
        self._opcua = opcua
        url = _broker(folder, ends)
        self._simulator = _simulator(folder, ends, opcua)
        config, hub_config = _configs(folder, url)
        self._hub = _start(folder, ends, "hub", "run", "--config", hub_config)
        self._arrivals = ends.enter_context(_Arrivals.listening(url))
        began_s = time.monotonic()
        self._agent = _start(folder, ends, "agent", "run", "--config", config)
        _wait_until(lambda: self._arrivals.first_s is not None, "the agent's first value")
        self._first_value_s = (self._arrivals.first_s or began_s) - began_s
        self._data = config.parent / "data"

    def figures(self, prefix: str) -> Figures:
        """Wait until all runs evenly, and measure some windows of it."""
        _wait_until(lambda: self._arrivals.count > MACHINES * SIGNALS, "the agent's values")
        time.sleep(WARM_UP_S)
        others = (self._simulator, self._hub)
        before_s, began_s = [_cpu_s(one) for one in others], time.monotonic()
        windows = [self._window() for _ in range(RUNS)]
        elapsed_s = time.monotonic() - began_s
        simulator, hub = (
            round((_cpu_s(one) - before) / elapsed_s * 100, 1)
            for one, before in zip(others, before_s, strict=True)
        )
        conditions = {
            "modbus": MACHINES - self._opcua,
            "opcua": self._opcua,
            "signals_each": SIGNALS,
            "every_s": 1,
            "run_s": RUN_S,
            "hub": "acknowledging",
            "simulator_cpu_percent": simulator,
            "hub_cpu_percent": hub,
            "processes": len(_tree(self._agent)),
        }
        first = figure("s", [self._first_value_s], started="as a new process", **conditions)
        figures = _named(prefix, windows, conditions, modbus_only=self._opcua == 0)
        return figures | {f"{prefix}_first_value_s": first}

    def _window(self) -> "_Window":
        window = _Window(self._agent, self._arrivals, self._data)
        time.sleep(RUN_S)
        window.close()
        return window


def _named(
    prefix: str, windows: Sequence["_Window"], conditions: dict[str, object], *, modbus_only: bool
) -> Figures:
    found = {
        "cpu_percent": figure("% of core", [one.cpu_percent for one in windows], **conditions),
        "rss_mib": figure("MiB PSS", [one.pss_mib for one in windows], **conditions),
        "samples_per_s": figure("1/s", [one.samples_per_s for one in windows], **conditions),
    }
    if modbus_only:  # an OPC UA value's time is the server's own, which may be long before
        found["acquisition_to_broker_p95_ms"] = figure(
            "ms", [one.late_p95_ms for one in windows], **conditions
        )
    figures = {f"{prefix}_{name}": one for name, one in found.items()}
    if modbus_only:
        figures["outbox_bytes_per_sample"] = figure(
            "bytes",
            [one.bytes_per_sample for one in windows],
            measured="growth while settled entries are kept",
            **conditions,
        )
    return figures


class _Window:
    """What the agent used, and what arrived, between two moments."""

    def __init__(self, agent: psutil.Process, arrivals: "_Arrivals", data: Path) -> None:
        self._agent, self._arrivals, self._data = agent, arrivals, data
        self._began_s = time.monotonic()
        self._cpu_s = _cpu_s(agent)
        self._size = _journal_bytes(data)
        arrivals.begin()

    def close(self) -> None:
        elapsed_s = time.monotonic() - self._began_s
        late_ms, samples = self._arrivals.end()
        late_ms.sort()
        self.cpu_percent = (_cpu_s(self._agent) - self._cpu_s) / elapsed_s * 100
        self.pss_mib = _pss_mib(self._agent)
        self.samples_per_s = samples / elapsed_s
        self.late_p95_ms = late_ms[int(len(late_ms) * 0.95)] if late_ms else float("nan")
        self.bytes_per_sample = (_journal_bytes(self._data) - self._size) / max(1, samples)


class _Arrivals:
    """Subscribes beside the hub: counts configured signals' values, and how late they come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._late_ms: list[int] = []
        self._samples = 0
        self._own: set[int] = set()
        self.count = 0
        self.first_s: float | None = None
        """When the first value came, live or as an entry, by the monotonic clock."""

    @classmethod
    @contextlib.contextmanager
    def listening(cls, url: str) -> Iterator["_Arrivals"]:
        """Listen for the time of a block."""
        arrivals = cls()
        ready = threading.Event()
        link = MqttLink(
            url=url,
            client_id="bench-arrivals",
            will=lambda: Outgoing("bench/will", b"", qos=0, retain=False),
            on_connected=ready.set,
            on_disconnected=ready.clear,
            on_message=arrivals.take,
            subscriptions=[("spBv1.0/+/DBIRTH/#", 0), ("spBv1.0/+/DDATA/#", 0)],
        )
        link.start()
        try:
            if not ready.wait(START_S):
                raise TimeoutError("the broker did not accept the listener")
            yield arrivals
        finally:
            link.stop()

    def take(self, topic: str, payload: bytes) -> None:
        now_ms = time.time_ns() // 1_000_000
        metrics = decode(payload).metrics
        with self._lock:
            if parse_topic(topic).kind == "DBIRTH":
                self._own |= {
                    metric.alias
                    for metric in metrics
                    if metric.alias is not None
                    and metric.name is not None
                    and metric.name.startswith(names.RESERVED)
                }
                return
            told = [one for one in metrics if one.alias is not None and one.alias not in self._own]
            if told and self.first_s is None:
                self.first_s = time.monotonic()
            if read_entry(payload) is None:
                return  # a live value on its way to be told again as an entry
            self._late_ms += [now_ms - one.time_ms for one in told if one.time_ms is not None]
            self._samples += len(told)
            self.count += len(told)

    def begin(self) -> None:
        with self._lock:
            self._late_ms, self._samples = [], 0

    def end(self) -> tuple[list[int], int]:
        with self._lock:
            return self._late_ms, self._samples


def _broker(folder: Path, ends: contextlib.ExitStack) -> str:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise FileNotFoundError("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    log = ends.enter_context((folder / "mosquitto.log").open("wb"))
    process = subprocess.Popen([program, "-c", config], stdout=log, stderr=log)
    ends.callback(_end, process)
    _wait_until(lambda: _accepts(port), "mosquitto")
    return f"mqtt://127.0.0.1:{port}"


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _simulator(folder: Path, ends: contextlib.ExitStack, opcua: int) -> psutil.Process:
    """Run one site of machines in a process of its own."""
    machines = [
        {
            "id": f"mc-{index:02d}",
            "kind": KINDS[index % len(KINDS)],
            "protocol": "opcua" if index < opcua else "modbus",
        }
        for index in range(MACHINES)
    ]
    site = {
        "id": "bench",
        "name": {"en": "Bench", "ja": "試験"},
        "location": {"lat": 35.56, "lon": 139.72},
        "municipality": "13111",
        "machines": machines,
    }
    (folder / "region.yaml").write_text(yaml.safe_dump({"sites": [site]}, allow_unicode=True))
    ready = folder / "ready.json"
    words = ("run", folder / "region.yaml", "--ready-file", ready)
    process = _start(folder, ends, "sim", *words)
    _wait_until(lambda: ready.exists() and ready.stat().st_size > 0, "the simulated machines")
    return process


def _configs(folder: Path, url: str) -> tuple[Path, Path]:
    """Write the settings, so that every value read is also sent."""
    out = folder / "out"
    words = ("sim", "configs", folder / "region.yaml", "--ready", folder / "ready.json")
    subprocess.run(
        [*MACHIKOBA, *map(str, words), "--broker", url, "--out", str(out)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    path = out / "agent-bench.yaml"
    settings = yaml.safe_load(path.read_text())
    for machine in settings["machines"]:
        for one in machine["signals"].values():
            one.pop("deadband", None)
        if "opcua" in machine:  # a subscription would only tell what changed
            machine["opcua"]["subscribe"] = False
    settings |= {"data": "data", "defaults": {"max_age": "500ms"}}
    path.write_text(yaml.safe_dump(settings, allow_unicode=True))
    return path, out / "hub.yaml"


def _start(folder: Path, ends: contextlib.ExitStack, room: str, *words: object) -> psutil.Process:
    log = ends.enter_context((folder / f"{room}.log").open("wb"))
    process = subprocess.Popen(
        [*MACHIKOBA, room, *map(str, words)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
    )
    ends.callback(_end, process)
    return psutil.Process(process.pid)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in _tree(process)]
    return sum(one.user + one.system for one in times)


def _pss_mib(process: psutil.Process) -> float:
    """Add up the proportional set size of the process tree, as the kernel counts it."""
    kib = 0
    for one in _tree(process):
        lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def _journal_bytes(data: Path) -> int:
    port = int((data / "status-port").read_text())
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=5) as answer:
        return int(json.load(answer)["outbox"]["journal"]["bytes"])


def _wait_until(condition: Any, what: str) -> None:
    end = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {START_S} s in vain for {what}")
        time.sleep(0.05)


if __name__ == "__main__":
    print(json.dumps(run(), indent=2), os.linesep)
