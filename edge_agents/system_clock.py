"""What this system says of its clock. The only module with calls that are Linux's own.

Elsewhere it says nothing, and the clock is then believed unless it contradicts itself.
"""

import contextlib
import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Final

from edge_agents.clock import Evidence, LastKnown

CLOCK_FILE: Final = "clock.json"
"""In the data directory: a time that was right."""
FILE_BYTES_MAX: Final = 4_096
TIME_MS_MAX: Final = 4_102_444_800_000
"""2100-01-01."""

_TIMEX_BYTES: Final = 512
"""Room for `struct timex`, which has about 208 bytes (Linux, uapi/linux/timex.h)."""
_TIME_ERROR: Final = 5
"""What adjtimex returns while nobody steers the clock (adjtimex(2))."""


def evidence() -> Evidence:
    """Ask the system."""
    if sys.platform != "linux":
        return Evidence()
    return Evidence(
        synchronised=_synchronised(),
        hardware=any(_text(one) == "1" for one in Path("/sys/class/rtc").glob("rtc*/hctosys")),
        board=Path("/proc/device-tree").exists() and not Path("/sys/class/rtc/rtc0").exists(),
        boot_id=_text(Path("/proc/sys/kernel/random/boot_id")),
        up_ms=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
    )


def read_last_known(folder: Path) -> LastKnown | None:
    """Read the time kept by an earlier run; None when there is none that makes sense."""
    try:
        said = json.loads((folder / CLOCK_FILE).read_bytes()[:FILE_BYTES_MAX])
        time_ms, boot_id = said["time_ms"], said["boot_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if type(time_ms) is not int or not isinstance(boot_id, str) or not 0 < time_ms < TIME_MS_MAX:
        return None
    return LastKnown(time_ms, boot_id)


def keep_last_known(folder: Path, last: LastKnown) -> None:
    """Keep a time that is right. What a full disk refuses is no loss: it is only a hint."""
    fresh = folder / f"{CLOCK_FILE}.new"
    with contextlib.suppress(OSError):
        fresh.write_text(json.dumps({"time_ms": last.time_ms, "boot_id": last.boot_id}))
        fresh.replace(folder / CLOCK_FILE)


def _synchronised() -> bool | None:
    """Ask the kernel whether the clock is steered; asking changes nothing (modes are 0)."""
    try:
        ask = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = ask(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _TIME_ERROR


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
