"""`make bench`: run every benchmark, print one table, write `build/bench.json`.

Give names of modules to run only those: `make bench ARGS="decode api"`.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

RESULT: Final = Path("build/bench.json")
MODULES: Final = (
    "decode",
    "historian",
    "capacity",
    "api",
    "stream",
    "isolation",
    "scan",
    "modbus",
    "agent",
    "ingest",
)
BARS: Final = {
    "decode_us_per_sample": ("<=", 0.15),
    "decode_us_per_sample_100": ("<=", 0.15),
    "ingest_samples_per_s": (">=", 300_000),
    "agent_cpu_percent": ("<=", 6),
    "agent_rss_mib": ("<=", 60),
    "outbox_bytes_per_sample": ("<=", 60),
    "capacity_search_p95_ms": ("<=", 100),
    "api_availability_requests_per_s": (">=", 5_000),
    "api_availability_p99_ms": ("<=", 10),
    "stream_1000_cpu_percent": ("<=", 10),
    "stream_1000_rss_mib": ("<=", 200),
    "isolation_worst_gap_s": ("<=", 1.1),
    "modbus_cpu_us_per_signal": ("<=", 3.0),
    "modbus_cpu_ratio_to_bare": ("<=", 4.0),
    "modbus_kib_per_machine": ("<=", 100),
    "agent_opcua_rss_mib": ("<=", 200),
    "agent_first_value_s": ("<=", 1.5),
}
"""What the project promises; a figure that falls short is printed as such."""

Figures = dict[str, dict[str, Any]]


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(MODULES), metavar="MODULE")
    words = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    figures: Figures = {}
    for name in words.modules:
        module = importlib.import_module(f"benchmarks.{name}")
        found: Figures = module.run()
        figures |= found
        for line in table(found):
            print(line, flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    held = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(held | figures, indent=2, ensure_ascii=False) + "\n")
    print(f"written to {RESULT}")
    return 0


def table(figures: Figures) -> list[str]:
    """Write figures as lines: name, value, unit, bar, conditions."""
    return [
        f"{name:<36} {figure['value']:>12,.3f} {figure['unit']:<10} {verdict(name, figure):<22} "
        + ", ".join(f"{key} {value}" for key, value in figure.get("conditions", {}).items())
        for name, figure in figures.items()
    ]


def verdict(name: str, figure: dict[str, Any]) -> str:
    """Say whether a figure reaches its bar; empty when there is none."""
    if name not in BARS:
        return ""
    sign, bar = BARS[name]
    good = figure["value"] <= bar if sign == "<=" else figure["value"] >= bar
    return f"{'reaches' if good else 'SHORT OF'} {sign} {bar:,}"


if __name__ == "__main__":
    sys.exit(main())
