"""How long the healthy machines wait when others fall silent: the worst gap between readings."""

import asyncio
import random
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any, Final

from benchmarks.figures import figure
from edge_agents.drivers.driver import Delivery
from edge_agents.drivers.line import Line, LineMachine
from edge_agents.drivers.modbus import over_tcp
from edge_agents.drivers.registers import Kind, RegisterSignal, Table

MACHINES: Final = 50
SILENT: Final = 5
SIGNALS: Final = 20
DURATION_S: Final = 30.0
HEAD_BYTES: Final = 7


class Controller:
    """Answers reads of holding registers of any unit with zeros, unless it was told to be still."""

    def __init__(self) -> None:
        self.still: set[int] = set()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(HEAD_BYTES)
                body = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
                if head[6] in self.still:
                    continue
                data = bytes(2 * int.from_bytes(body[3:5], "big"))
                pdu = bytes([body[0], len(data)]) + data
                length = (len(pdu) + 1).to_bytes(2, "big")
                writer.write(head[:4] + length + head[6:7] + pdu)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()


def _machine(name: str, device_id: int) -> LineMachine:
    signals = tuple(
        RegisterSignal(f"s{index}", Table.HOLDING, index, Kind.UINT16) for index in range(SIGNALS)
    )
    return LineMachine(name, device_id, signals)


async def worst_gaps(*, shared_line: bool, silent: int, duration_s: float) -> tuple[float, float]:
    """Silence some of the machines; return the worst gap of the others in seconds, and CPU share.

    On a shared line all machines are units of one address, as behind a serial gateway; otherwise
    every machine has an address of its own.
    """
    units = range(1, MACHINES + 1)
    controllers = [Controller() for _ in range(1 if shared_line else MACHINES)]
    for controller in controllers:
        await controller.open()
    groups = [units] if shared_line else [[unit] for unit in units]
    seen: dict[str, list[float]] = defaultdict(list)

    def deliver(delivery: Delivery) -> None:
        if delivery.link and delivery.samples:
            seen[delivery.machine].append(time.monotonic())

    tasks = [
        asyncio.create_task(
            Line(
                over_tcp("127.0.0.1", controller.port),
                [_machine(f"m{unit}", unit) for unit in group],
                now_ms=lambda: time.time_ns() // 1_000_000,
                rng=random.Random(controller.port),
                phase_s=0.1 * index / len(controllers),
            ).run(deliver)
        )
        for index, (controller, group) in enumerate(zip(controllers, groups, strict=True))
    ]
    await asyncio.sleep(3.0)
    still = set(units[:silent])
    for controller in controllers:
        controller.still = still
    cpu_s, began_s = time.process_time(), time.monotonic()
    await asyncio.sleep(duration_s)
    cpu = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for controller in controllers:
        await controller.close()
    healthy = [times for name, times in seen.items() if int(name[1:]) not in still]
    gaps = [later - earlier for times in healthy for earlier, later in pairwise(times)]
    ends = [began_s + duration_s - times[-1] for times in healthy]
    return max(gaps + ends), cpu


def run() -> dict[str, dict[str, Any]]:
    """Measure both kinds of line; `make bench` calls this."""
    apart = [
        asyncio.run(worst_gaps(shared_line=False, silent=SILENT, duration_s=DURATION_S))
        for _ in range(3)
    ]
    shared = asyncio.run(worst_gaps(shared_line=True, silent=1, duration_s=DURATION_S))
    conditions = {
        "machines": MACHINES,
        "signals": SIGNALS,
        "period_s": 1.0,
        "timeout_s": 1.0,
        "duration_s": DURATION_S,
    }
    gaps, loads = [gap for gap, _ in apart], [100 * cpu for _, cpu in apart]
    return {
        "isolation_worst_gap_s": figure(
            "s", gaps, silent=SILENT, line="each its own", **conditions
        ),
        "isolation_shared_line_worst_gap_s": figure(
            "s", [shared[0]], silent=1, line="one for all", **conditions
        ),
        "modbus_lines_cpu_percent": figure(
            "%", loads, silent=SILENT, includes="the stand-in controllers", **conditions
        ),
    }
