"""What the embedded historian takes in and gives out, on one data set."""

import time
from typing import Any, Final

import numpy as np

from benchmarks.figures import figure
from benchmarks.fleet import free_folder
from hub.columns import Columns, SeriesIndex
from hub.historian import Span, WriteBatch, open_historian

SERIES: Final = 1000
BATCH: Final = 100_000
BATCHES: Final = 20
T0_MS: Final = 1_795_000_000_000 // 3_600_000 * 3_600_000
RUNS: Final = 3


def run() -> dict[str, dict[str, Any]]:
    """Write a data set of slowly moving values three times, and read one series back."""
    rates, ranges, sizes = [], [], []
    for _ in range(RUNS):
        rate, range_ms, bytes_each = once()
        rates.append(rate)
        ranges.append(range_ms)
        sizes.append(bytes_each)
    data = {"series": SERIES, "rows": BATCH * BATCHES, "batch": BATCH}
    return {
        "historian_duckdb_samples_per_s": figure("samples/s", rates, **data),
        "historian_duckdb_range_ms": figure("ms", ranges, **data, buckets=33, of_minutes=33),
        "historian_duckdb_bytes_per_sample": figure("bytes", sizes, **data),
    }


def once() -> tuple[float, float, float]:
    """Run once in a fresh folder."""
    folder = free_folder("historian")
    index = SeriesIndex()
    for i in range(SERIES):
        index.id("ota", f"mc-{i // 20}", f"signal-{i % 20}")
    historian = open_historian(folder, index, memory_mib=256, raw_days=30, rollup_days=400)
    batches = [batch(i) for i in range(BATCHES)]
    began = time.monotonic()
    for columns in batches:
        historian.write(WriteBatch(columns))
    rate = BATCH * BATCHES / (time.monotonic() - began)
    historian.maintain(T0_MS + 3_600_000)
    span = Span(T0_MS, T0_MS + 2_000_000)
    began = time.monotonic()
    historian.range("ota", "mc-0", "signal-0", span, points_max=34, raw=False)
    range_ms = 1000 * (time.monotonic() - began)
    historian.close()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return rate, range_ms, size / (BATCH * BATCHES)


def batch(number: int) -> Columns:
    """Make a batch: every series once a second, values of one decimal that wander slowly."""
    rows = np.arange(BATCH)
    second = number * (BATCH // SERIES) + rows // SERIES
    series = (rows % SERIES).astype(np.int32)
    wave = np.round(np.sin(second / 300 + series) * 500 + 1000, 1)
    return Columns(
        series=series,
        time_ms=(T0_MS + second * 1000 + series % 40).astype(np.int64),
        value=wave,
        quality=np.zeros(BATCH, np.uint8),
        reason=np.zeros(BATCH, np.uint8),
        message=np.zeros(BATCH, np.int32),
    )
