"""An agent as `machikoba agent run` starts it, on a computer whose clock the test sets.

Arguments: the settings, and a JSON file with `wrong_ms` and `synchronised`, read again and again.
"""

import asyncio
import json
import random
import signal
import sys
import time
from pathlib import Path

from edge_agents.agent import Agent, load
from edge_agents.clock import AgentClock, Evidence
from gateway import logs


class Computer:
    """A small board without a battery."""

    def __init__(self, file):
        self._file = file

    @property
    def state(self):
        return json.loads(self._file.read_text())

    def wall_ms(self):
        return time.time_ns() // 1_000_000 + self.state["wrong_ms"]

    def evidence(self):
        return Evidence(self.state["synchronised"], board=True, boot_id="b", up_ms=20_000)


async def main(settings, file):
    computer, stop = Computer(file), asyncio.Event()
    clock = AgentClock(
        wall_ms=computer.wall_ms,
        steady_ms=lambda: time.monotonic_ns() // 1_000_000,
        evidence=computer.evidence,
        last=None,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Agent(load(settings), clock=clock, rng=random.SystemRandom()).run(stop)


if __name__ == "__main__":
    logs.configure("agent")
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
