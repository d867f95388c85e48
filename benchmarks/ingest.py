"""Ingest: published by a load generator, through broker, hub and inbox, into the historian.

Everything runs on this machine at once: mosquitto, the hub and the load generator, whose CPU is
reported apart. The rate is what was acknowledged and is in the historian, whichever is less.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from benchmarks.figures import figure
from benchmarks.ingest_load import METRICS

MACHINES: Final = 1_000
AGENTS: Final = 10
WARM_UP_S: Final = 8.0
SECONDS: Final = float(os.environ.get("MACHIKOBA_BENCH_INGEST_S", "60"))
START_S: Final = 30.0
MOSQUITTO: Final = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin") or ""


class Reading(NamedTuple):
    """Where everybody stands at one instant; CPU in seconds."""

    at: float
    settled: int
    rows: int
    hub_cpu_s: float
    broker_cpu_s: float
    load_cpu_s: float


def run(seconds: float = SECONDS) -> dict[str, dict[str, Any]]:
    """Measure sustained ingest for `seconds`, after a warm-up."""
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as name:
        folder = Path(name)
        with _broker(folder) as (broker, port), _hub(folder, port) as (hub, http_port):
            load_s = int(WARM_UP_S + seconds + 5)
            words = [str(word) for word in (port, AGENTS, MACHINES, load_s)]
            with subprocess.Popen(
                [sys.executable, "-m", "benchmarks.ingest_load", *words],
                stdout=subprocess.PIPE,
                text=True,
            ) as load:
                try:
                    first, last = _measure(load, (hub, broker), http_port, seconds)
                finally:
                    load.kill()
    return _figures(first, last)


def _measure(
    load: subprocess.Popen[str],
    processes: tuple[psutil.Process, psutil.Process],
    http_port: int,
    seconds: float,
) -> tuple[Reading, Reading]:
    begun = time.monotonic()
    first: Reading | None = None
    for line in load.stdout or ():
        now = time.monotonic()
        if first is None and now - begun < WARM_UP_S:
            continue
        reading = _read(json.loads(line), processes, http_port)
        if first is None:
            first = reading
        elif reading.at - first.at >= seconds:
            return first, reading
    raise RuntimeError("the load generator ended early")


def _read(
    told: dict[str, Any], processes: tuple[psutil.Process, psutil.Process], http_port: int
) -> Reading:
    url = f"http://127.0.0.1:{http_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    hub, broker = ((times := process.cpu_times()).user + times.system for process in processes)
    rows = _metric(text, "historian_samples")
    return Reading(time.monotonic(), told["settled"], rows, hub, broker, told["cpu_s"])


def _metric(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.rpartition(" ")
        if key.endswith((name, f"{name}_total")) and not key.startswith("#"):
            return int(float(value))
    raise RuntimeError(f"the hub tells no {name}")


def _figures(first: Reading, last: Reading) -> dict[str, dict[str, Any]]:
    spent_s = last.at - first.at
    settled = (last.settled - first.settled) * METRICS
    stored = last.rows - first.rows
    samples = min(settled, stored)
    conditions = {
        "seconds": round(spent_s),
        "machines": MACHINES,
        "metrics_per_message": METRICS,
        "acknowledged_per_s": round(settled / spent_s),
        "historian_per_s": round(stored / spent_s),
        "hub_cpu": round((last.hub_cpu_s - first.hub_cpu_s) / spent_s, 2),
        "broker_cpu": round((last.broker_cpu_s - first.broker_cpu_s) / spent_s, 2),
        "load_cpu": round((last.load_cpu_s - first.load_cpu_s) / spent_s, 2),
    }
    cpu_us = (last.hub_cpu_s - first.hub_cpu_s) * 1e6 / max(samples, 1)
    return {
        "ingest_samples_per_s": figure("samples/s", [samples / spent_s], **conditions),
        "ingest_cpu_us_per_sample": figure("us", [cpu_us], **conditions),
    }


@contextmanager
def _broker(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = folder / "mosquitto.conf"
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 0"]
    if os.geteuid() == 0:
        lines.append("user root")
    settings.write_text("\n".join(lines) + "\n")
    with (
        (folder / "mosquitto.log").open("wb") as log,
        _started([MOSQUITTO, "-c", str(settings)], log) as process,
    ):
        _wait(lambda: _accepts(port))
        yield process, port


@contextmanager
def _hub(folder: Path, port: int) -> Iterator[tuple[psutil.Process, int]]:
    settings, ready = folder / "hub.yaml", folder / "ready"
    settings.write_text(
        "listen: 127.0.0.1:0\naccess: open\n"
        f"broker: {{url: mqtt://127.0.0.1:{port}}}\ndata: {folder / 'data'}\n"
    )
    program = "import sys; from hub.commands import main; sys.exit(main(sys.argv[1:]))"
    words = ["run", "--config", str(settings), "--ready-file", str(ready)]
    with (
        (folder / "hub.log").open("wb") as log,
        _started([sys.executable, "-c", program, *words], log) as process,
    ):
        _wait(lambda: ready.exists() and ready.read_text().strip())
        yield process, int(ready.read_text())


@contextmanager
def _started(words: list[str], log: Any) -> Iterator[psutil.Process]:
    with subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(condition: Any) -> None:
    end = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("a program did not start in time")
        time.sleep(0.02)


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
