"""`machikoba agent run`, but that two OPC UA servers are played by stand-ins that do harm."""

import asyncio
import random
import signal
import sys
import time
from pathlib import Path

from edge_agents.agent import Agent, load
from edge_agents.agent.agent import utc_ms
from edge_agents.clock import AgentClock
from edge_agents.system_clock import evidence
from gateway import logs

CHILD = Path(__file__).parent / "opcua_child_with_villains.py"


async def main(settings):
    stop = asyncio.Event()
    clock = AgentClock(
        wall_ms=utc_ms,
        steady_ms=lambda: time.monotonic_ns() // 1_000_000,
        evidence=evidence,
        last=None,
    )
    agent = Agent(
        load(settings),
        clock=clock,
        rng=random.SystemRandom(),
        opcua_command=(sys.executable, str(CHILD)),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await agent.run(stop)


if __name__ == "__main__":
    logs.configure("agent")
    asyncio.run(main(Path(sys.argv[1])))
