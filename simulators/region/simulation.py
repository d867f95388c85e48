"""All machines of a region in one process: builds the servers, starts and stops them."""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulators.control import ControlPort, Key, Server
from simulators.faults import Clock
from simulators.machine import Machine
from simulators.modbus_server import ModbusDevice, ModbusLine
from simulators.opcua_server import OpcuaSite
from simulators.region.plan import MachinePlan, Region, Site


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where everything listens, once it does."""

    control_port: int
    machines: Mapping[Key, Mapping[str, Any]]

    def to_json(self) -> str:
        """Write it as the one line by which other programs learn of it."""
        machines = [
            {"site": site, "machine": machine, **address}
            for (site, machine), address in self.machines.items()
        ]
        ready = {"ready": True, "control_port": self.control_port, "machines": machines}
        return json.dumps(ready, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Whereabouts":
        """Read that line.

        Raises:
            ValueError: it is no such line.
        """
        try:
            data = json.loads(text)
            machines = {(one["site"], one["machine"]): one for one in data["machines"]}
            return cls(int(data["control_port"]), machines)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no ready line: {text[:80]!r}") from error


class Simulation:
    """A running region.

    Args:
        plan: the region.
        clock: milliseconds UTC.
    """

    def __init__(self, plan: Region, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._lines: list[ModbusLine] = []
        self._sites: list[OpcuaSite] = []
        self._servers: dict[Key, Server] = {}
        self._rng = random.Random(plan.seed)
        for site in plan.sites:
            self._add(site)
        self._control = ControlPort(self._servers, clock)

    async def start(self, control_port: int = 0) -> Whereabouts:
        """Start everything and say where it listens.

        Raises:
            OSError: a port that the plan fixes is taken.
        """
        # OPC UA first: building its address spaces keeps the event loop busy for a while.
        for site in self._sites:
            await site.start()
        await asyncio.gather(*(line.start() for line in self._lines))
        port = await self._control.start(control_port)
        addresses = {key: server.address(key[1]) for key, server in self._servers.items()}
        return Whereabouts(port, addresses)

    async def stop(self) -> None:
        """Stop everything."""
        await self._control.stop()
        await asyncio.gather(*(line.stop() for line in self._lines))
        await asyncio.gather(*(site.stop() for site in self._sites))

    def _add(self, site: Site) -> None:
        grouped: dict[str, list[MachinePlan]] = {}
        over_opcua: dict[str, Machine] = {}
        for plan in site.machines:
            if plan.protocol == "opcua":
                over_opcua[plan.id] = self._machine(site, plan, by_clock=False)
            else:
                grouped.setdefault(plan.line or f"/{plan.id}", []).append(plan)
        for plans in grouped.values():
            self._add_line(site, plans)
        if over_opcua:
            server = OpcuaSite(
                site.id,
                over_opcua,
                clock=self._clock,
                rng=self._rng,
                tick_ms=self._plan.step_interval_ms,
                port=site.opcua_port,
            )
            self._sites.append(server)
            self._servers.update({(site.id, machine): server for machine in over_opcua})

    def _add_line(self, site: Site, plans: list[MachinePlan]) -> None:
        by_clock = self._plan.step == "tick"
        devices = {
            plan.id: ModbusDevice(
                self._machine(site, plan, by_clock=by_clock),
                device_id=plan.device_id,
                clock=self._clock,
            )
            for plan in plans
        }
        line = ModbusLine(devices, rng=self._rng, port=plans[0].port, over=plans[0].over)
        self._lines.append(line)
        self._servers.update({(site.id, plan.id): line for plan in plans})

    def _machine(self, site: Site, plan: MachinePlan, *, by_clock: bool) -> Machine:
        # A text seed is hashed by `random`, not by `hash()`: it is the same in every process.
        seed = random.Random(f"{self._plan.seed}/{site.id}/{plan.id}").getrandbits(64)
        return Machine(
            plan.what,
            seed=seed,
            start_ms=self._clock(),
            time_scale=self._plan.time_scale,
            step_interval_ms=self._plan.step_interval_ms if by_clock else None,
            parts_start=plan.parts_start,
        )


def now_ms() -> int:
    """Return the time, in milliseconds UTC."""
    return time.time_ns() // 1_000_000
