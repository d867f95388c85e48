"""A loopback port through which faults are switched while the simulation runs.

One JSON object a line in, one JSON object a line out:

``{"do": "fault", "site": s, "machine": m, "fault": "slow", "ms": 300, "for_ms": 5000}``
    begins a fault (`simulators.faults.FaultKind`); the answer names the machines that feel it.
``{"do": "clear", "site": s, "machine": m}``; without site and machine: everywhere.
``{"do": "force", "site": s, "machine": m, "phase": "down", "for_ms": 5000}``
    makes the machine itself do something.
``{"do": "state"}`` or with site and machine: the truth, to compare a historian against.
``{"do": "ports"}``: where each machine is reached.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from simulators.faults import Clock, Fault, FaultKind
from simulators.machine import Machine, Phase

LINE_BYTES_MAX: Final = 4096
CONNECTIONS_MAX: Final = 16
IDLE_S: Final = 600.0
HOST: Final = "127.0.0.1"

Key = tuple[str, str]
"""Site id and machine id."""


class Server(Protocol):
    """What the control port needs to know of a server of any protocol."""

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The machines behind it."""

    async def apply(self, machine: str, fault: Fault) -> list[str]:
        """Begin a fault; return the machines that feel it."""

    async def clear(self, machine: str) -> list[str]:
        """End the faults of a machine; return the machines that feel it."""

    def truth(self, machine: str) -> dict[str, object]:
        """Say what a machine has shown so far."""

    def address(self, machine: str) -> dict[str, object]:
        """Say where a machine is reached."""


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    site: str | None = None
    machine: str | None = None


class _FaultOrder(_Order):
    do: Literal["fault"]
    site: str
    machine: str
    fault: FaultKind
    ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    code: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    for_ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = None
    reset_counters: bool = False


class _ForceOrder(_Order):
    do: Literal["force"]
    site: str
    machine: str
    phase: Phase
    for_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 60_000


class _PlainOrder(_Order):
    do: Literal["clear", "state", "ports"]


_ORDERS: Final[TypeAdapter[_FaultOrder | _ForceOrder | _PlainOrder]] = TypeAdapter(
    Annotated[_FaultOrder | _ForceOrder | _PlainOrder, Field(discriminator="do")]
)


class _RefusalError(Exception):
    """The order cannot be obeyed; the text says why."""


class ControlPort:
    """Obeys orders from other programs on this computer.

    Args:
        servers: the server of each machine, by site and machine id.
    """

    def __init__(self, servers: Mapping[Key, Server], clock: Clock) -> None:
        self._servers = dict(servers)
        self._clock = clock
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> int:
        """Listen on loopback; return the port.

        Raises:
            OSError: the port is taken.
        """
        self._listener = await asyncio.start_server(
            self._converse, HOST, port, limit=LINE_BYTES_MAX
        )
        chosen: int = self._listener.sockets[0].getsockname()[1]
        return chosen

    async def stop(self) -> None:
        """Stop listening and hang up."""
        if self._listener is not None:
            self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            while line := await asyncio.wait_for(reader.readline(), IDLE_S):
                answer = await self.obey(line)
                writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        except (OSError, TimeoutError):
            pass  # The other end is gone or sleeps.
        except ValueError:
            # asyncio says so of a line beyond the limit; the rest of it cannot be understood.
            writer.write(b'{"ok": false, "error": "the line is too long"}\n')
        except asyncio.CancelledError:
            pass  # stop() hangs up; nobody waits for this task.
        finally:
            self._tasks.discard(task)
            writer.close()

    async def obey(self, line: bytes) -> dict[str, Any]:
        """Do what one line says; an order that cannot be obeyed is answered, never raised."""
        try:
            order = _ORDERS.validate_json(line)
            return {"ok": True, **await self._do(order)}
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            return {"ok": False, "error": f"{where}: {first['msg']}".removeprefix(": ")}
        except _RefusalError as error:
            return {"ok": False, "error": str(error)}
        except OSError as error:
            return {"ok": False, "error": f"the system refuses: {error}"}

    async def _do(self, order: _FaultOrder | _ForceOrder | _PlainOrder) -> dict[str, Any]:
        keys = self._named(order)
        if isinstance(order, _FaultOrder):
            fault = Fault(order.fault, order.ms, order.code, order.for_ms, order.reset_counters)
            return {"machines": await self._server(keys[0]).apply(order.machine, fault)}
        if isinstance(order, _ForceOrder):
            machine = self._server(keys[0]).machines[order.machine]
            machine.force(order.phase, self._clock(), order.for_ms)
            return {"machines": [order.machine]}
        if order.do == "clear":
            for site, machine_id in keys:
                await self._server((site, machine_id)).clear(machine_id)
            return {"machines": [machine_id for _, machine_id in keys]}
        told = self._address if order.do == "ports" else self._truth
        return {"machines": [told(key) for key in keys]}

    def _named(self, order: _Order) -> list[Key]:
        keys = [
            key
            for key in self._servers
            if order.site in {None, key[0]} and order.machine in {None, key[1]}
        ]
        if not keys:
            wanted = "/".join(word for word in (order.site, order.machine) if word)
            raise _RefusalError(f"there is no machine {wanted}")
        return keys

    def _server(self, key: Key) -> Server:
        return self._servers[key]

    def _address(self, key: Key) -> dict[str, object]:
        return {"site": key[0], "machine": key[1], **self._server(key).address(key[1])}

    def _truth(self, key: Key) -> dict[str, object]:
        server = self._server(key)
        machine = server.machines[key[1]]
        machine.advance(self._clock())
        return {
            "site": key[0],
            "machine": key[1],
            "phase": machine.phase.value,
            "parts_good": machine.parts_good,
            "parts_scrap": machine.parts_scrap,
            "energy_kwh": round(machine.energy_kwh, 3),
            "shown": dict(machine.values()),
            **server.truth(key[1]),
        }
