"""A thousand viewers of the live stream: what they cost the hub."""

import asyncio
import time
from typing import Any, Final

import psutil

from benchmarks.api import MACHINES, hub
from benchmarks.figures import figure

VIEWERS: Final = 1000
VIEWS: Final = (1, 20)
WARM_S: Final = 3.0
SECONDS: Final = 10.0


def run() -> dict[str, dict[str, Any]]:
    """Measure CPU and memory of the hub with all viewers on one view, and on twenty."""
    figures: dict[str, dict[str, Any]] = {}
    for views in VIEWS:
        with hub() as (port, pid):
            cpu_percent, rss_mib, frames = asyncio.run(measure(port, pid, views))
        ending = "" if views == 1 else f"_{views}_views"
        conditions = {"viewers": VIEWERS, "views": views, "machines": MACHINES, "frames": frames}
        figures[f"stream_1000_cpu_percent{ending}"] = figure("% core", [cpu_percent], **conditions)
        figures[f"stream_1000_rss_mib{ending}"] = figure("MiB", [rss_mib], **conditions)
    return figures


async def measure(port: int, pid: int, views: int) -> tuple[float, float, int]:
    """Connect everybody, let them read and discard, and look at the hub's process."""
    counts = [0]
    viewers = [asyncio.create_task(view(port, i % views, counts, views)) for i in range(VIEWERS)]
    await asyncio.sleep(WARM_S)
    process = psutil.Process(pid)
    before, began, seen = process.cpu_times(), time.monotonic(), counts[0]
    await asyncio.sleep(SECONDS)
    after, took = process.cpu_times(), time.monotonic() - began
    rss_mib = process.memory_info().rss / 2**20
    for viewer in viewers:
        viewer.cancel()
    await asyncio.gather(*viewers, return_exceptions=True)
    cpu_s = after.user + after.system - before.user - before.system
    return 100 * cpu_s / took, rss_mib, counts[0] - seen


async def view(port: int, number: int, counts: list[int], views: int) -> None:
    """Read one stream and count what comes."""
    scope = "region" if views == 1 else f"site:site-{number}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /api/v1/stream?scope={scope} HTTP/1.1\r\nHost: hub\r\n"
        "Accept-Encoding: gzip\r\n\r\n".encode()
    )
    try:
        while await reader.read(65536):
            counts[0] += 1
    finally:
        writer.close()
