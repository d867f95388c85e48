"""Requests per second of the live list, with wrk against one worker."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import figure

MACHINES: Final = 500
RUNS: Final = 3
SECONDS: Final = 5
CONNECTIONS: Final = 32
START_S: Final = 20.0


def run() -> dict[str, dict[str, Any]]:
    """Measure the greatest rate, and p99 at about half of it."""
    with hub() as (port, _pid):
        url = f"http://127.0.0.1:{port}/api/v1/availability"
        wrk(url, CONNECTIONS, 1)  # warms up
        most = [wrk(url, CONNECTIONS, SECONDS)[0] for _ in range(RUNS)]
        calm = [wrk(url, CONNECTIONS // 8, SECONDS)[1] for _ in range(RUNS)]
        few = [wrk(url, CONNECTIONS // 8, SECONDS)[0] for _ in range(1)]
    conditions = {"machines": MACHINES, "workers": 1, "seconds": SECONDS, "load": "wrk, same box"}
    rate = {"rate_per_s": round(few[0])}
    return {
        "api_availability_requests_per_s": figure(
            "req/s", most, connections=CONNECTIONS, **conditions
        ),
        "api_availability_p99_ms": figure(
            "ms", calm, connections=CONNECTIONS // 8, **conditions, **rate
        ),
    }


@contextmanager
def hub() -> Iterator[tuple[int, int]]:
    """Run the API in a process of its own; give its port and process id."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "port"
        words = [sys.executable, "-m", "benchmarks.hub_process", str(MACHINES), str(ready)]
        process = subprocess.Popen(words)
        try:
            deadline = time.monotonic() + START_S
            while not ready.exists() or not ready.read_text():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("the hub did not start")
                time.sleep(0.05)
            yield int(ready.read_text()), process.pid
        finally:
            process.kill()
            process.wait()


def wrk(url: str, connections: int, seconds: int) -> tuple[float, float]:
    """Load a URL; give requests per second and the 99th percentile in ms."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", told)
    if rate is None or p99 is None or "Non-2xx" in told:
        raise RuntimeError(f"wrk said something unexpected:\n{told}")
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]
    return float(rate[1]), float(p99[1]) * scale
