"""The machines of one site as nodes of one OPC UA server, served by asyncua.

Every machine is an object below ``Objects``, every signal a variable of it with the node id
``nsu=<namespace>;s=<machine>.<signal>``. Values are pushed at a fixed tick, only those that
changed, with the tick's instant as source time.
"""

import asyncio
import gc
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from typing import Final

from asyncua import Server, ua

from simulators.faults import Clock, Fault, FaultKind, Switch, Wire
from simulators.machine import Machine, Signal, Value, signals_of

log = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
RESTART_MS: Final = 2_000
WIRE_FAULTS: Final = frozenset(
    {
        FaultKind.SILENT,
        FaultKind.SLOW,
        FaultKind.GARBAGE,
        FaultKind.CLOSED,
        FaultKind.RESTART,
    }
)
"""Faults of the server as a whole: all its machines feel them."""


def namespace_of(site: str) -> str:
    """Return the namespace URI under which a site's machines are found."""
    return f"urn:machikoba:simulators:{site}"


def node_of(site: str, machine: str, signal: str) -> str:
    """Return the node id of one signal, with the namespace by URI."""
    return f"nsu={namespace_of(site)};s={machine}.{signal}"


def variant_type(signal: Signal) -> ua.VariantType:
    """Return the type that a signal has on the wire."""
    if signal.nature == "flag":
        return ua.VariantType.Boolean
    if signal.nature == "text":
        return ua.VariantType.String
    if signal.nature == "analog" or signal.resolution != 1.0:
        return ua.VariantType.Double
    return ua.VariantType.UInt32 if signal.bits > 16 else ua.VariantType.UInt16  # noqa: PLR2004 - bits


class _Publication:
    """One machine's variables: what was written last, and what must be written now."""

    def __init__(self, site: str, name: str, machine: Machine, clock: Clock, index: int) -> None:
        self.name = name
        self.machine = machine
        self.switch = Switch(clock)
        self.nodes = {
            signal.name: (_node(f"{name}.{signal.name}", index), variant_type(signal))
            for signal in signals_of(machine.kind)
        }
        self._site = site
        self._written: dict[str, tuple[Value, int]] = {}

    def changes(self, now_ms: int) -> Iterator[tuple[ua.NodeId, ua.DataValue]]:
        """Live until now, and give what must be written for the server to show it."""
        fault = self.switch.fault
        if fault is not None and fault.kind is FaultKind.FROZEN:
            return
        self.machine.advance(now_ms)
        status = fault.code if fault is not None and fault.kind is FaultKind.EXCEPTION else 0
        if status == 0:
            self.machine.count_step()
        moment = ua.DateTime.fromtimestamp(now_ms / 1000.0, UTC)
        for name, value in self.machine.values().items():
            if self._written.get(name) == (value, status):
                continue
            self._written[name] = (value, status)
            node, kind = self.nodes[name]
            typed = float(value) if kind is ua.VariantType.Double else value
            yield (
                node,
                ua.DataValue(ua.Variant(typed, kind), ua.StatusCode(ua.UInt32(status)), moment),
            )


class OpcuaSite:
    """An OPC UA server with the machines of one site.

    Clients reach it through a `Wire`, so that cuts and disturbances happen where they do in life.
    The step counter of every machine counts each tick and is written each tick.

    Args:
        site: site id; part of the namespace URI.
        machines: by machine id.
        tick_ms: time between two rounds of writing.
        port: 0 asks the system for a free one, which is kept over restarts.
    """

    def __init__(
        self,
        site: str,
        machines: Mapping[str, Machine],
        *,
        clock: Clock,
        rng: random.Random,
        tick_ms: int = 1000,
        port: int = 0,
    ) -> None:
        self._site = site
        self._clock = clock
        self._tick_ms = tick_ms
        self._asked_port = port
        self._wire_switch = Switch(clock)
        self._wire = Wire(self._wire_switch, rng)
        self._machines = dict(machines)
        self._publications: dict[str, _Publication] = {}
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reopening: asyncio.Task[None] | None = None

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The machines of this server."""
        return self._machines

    async def start(self) -> None:
        """Build the address space, listen, and begin to tick.

        Raises:
            OSError: the port is taken.
        """
        self._server = await self._built()
        await self._server.start()
        bound = self._server.bserver
        if bound is None:
            raise OSError("the OPC UA server did not listen")
        self._wire.lead_to(HOST, bound.port)
        await self._write_round()
        await self._wire.open(self._asked_port)
        self._tasks.add(asyncio.create_task(self._tick(), name=f"opcua {self._site}"))

    async def stop(self) -> None:
        """Stop ticking and serving."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._wire.close()
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def _built(self) -> Server:
        server = Server()
        with _no_garbage_collection():
            await server.init()
        server.set_server_name(f"Machikoba simulated site {self._site}")
        server.set_endpoint(f"opc.tcp://{HOST}:0/{self._site}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(namespace_of(self._site))
        for name, machine in self._machines.items():
            publication = _Publication(self._site, name, machine, self._clock, index)
            self._publications[name] = publication
            parent = await server.nodes.objects.add_object(_node(name, index), name)
            for signal in signals_of(machine.kind):
                node, kind = publication.nodes[signal.name]
                await parent.add_variable(node, signal.name, _nothing(kind), varianttype=kind)
        return server

    # -- ticks -------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Write on a fixed grid; a late round is made once, not several times."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self._tick_ms / 1000.0
            now = loop.time()
            if due < now - self._tick_ms / 1000.0:
                due = now
            await asyncio.sleep(max(0.0, due - now))
            await self._write_round()

    async def _write_round(self) -> None:
        server = self._server
        if server is None:
            return
        now_ms = self._clock()
        for publication in self._publications.values():
            for node, value in publication.changes(now_ms):
                await server.write_attribute_value(node, value)

    # -- faults ------------------------------------------------------------------------

    async def apply(self, machine: str, fault: Fault) -> list[str]:
        """Begin a fault; return the machines that feel it.

        Faults of the link take hold of the whole server, whichever machine is named.
        """
        await self.clear(machine)
        if fault.kind not in WIRE_FAULTS:
            if fault.kind is FaultKind.EXCEPTION and not fault.code:
                fault = Fault(fault.kind, 0, int(ua.StatusCodes.BadDeviceFailure), fault.for_ms)
            self._publications[machine].switch.set(fault)
            return [machine]
        if fault.kind is FaultKind.RESTART:
            for_ms = RESTART_MS if fault.for_ms is None else fault.for_ms
            fault = Fault(fault.kind, for_ms=for_ms, reset_counters=fault.reset_counters)
            for one in self._machines.values():
                one.restart(reset_counters=fault.reset_counters)
        self._wire_switch.set(fault)
        if fault.kind in {FaultKind.CLOSED, FaultKind.RESTART}:
            await self._wire.close()
            if fault.kind is FaultKind.RESTART:
                await self._forget_sessions()
            if fault.for_ms is not None:
                self._reopening = asyncio.create_task(self._reopen_after(fault.for_ms))
        return list(self._machines)

    async def clear(self, machine: str) -> list[str]:
        """End the faults of one machine and of the server; return the machines that feel it."""
        self._publications[machine].switch.clear()
        if self._wire_switch.fault is None and self._reopening is None:
            await self._wire.open()
            return [machine]
        self._wire_switch.clear()
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        await self._wire.open()
        return list(self._machines)

    async def _forget_sessions(self) -> None:
        """Close all sessions with their subscriptions, as a server that starts anew has none.

        asyncua keeps sessions over lost connections and offers no public way to end them; a new
        server object would stop this process for half a second, which its other machines feel.
        """
        if self._server is not None:
            sessions = self._server.iserver._external_sessions  # noqa: SLF001 - see above
            for session in list(sessions.values()):
                await session.close_session(delete_subs=True)

    async def _reopen_after(self, pause_ms: int) -> None:
        await asyncio.sleep(pause_ms / 1000.0)
        self._reopening = None
        await self._wire.open()

    def truth(self, machine: str) -> dict[str, object]:
        """Say what one machine has shown so far."""
        fault = self._publications[machine].switch.fault or self._wire_switch.fault
        return {
            "steps": self._machines[machine].steps,
            "fault": None if fault is None else fault.kind.value,
        }

    def address(self, machine: str) -> dict[str, object]:
        """Say where one machine is reached."""
        return {
            "protocol": "opcua",
            "host": HOST,
            "port": self._wire.port,
            "url": f"opc.tcp://{HOST}:{self._wire.port}/{self._site}",
            "namespace": namespace_of(self._site),
            "object": f"nsu={namespace_of(self._site)};s={machine}",
        }


def _node(identifier: str, index: int) -> ua.NodeId:
    return ua.NodeId(ua.String(identifier), ua.Int16(index))


def _nothing(kind: ua.VariantType) -> Value:
    if kind is ua.VariantType.Boolean:
        return False
    if kind is ua.VariantType.String:
        return ""
    return 0.0 if kind is ua.VariantType.Double else 0


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Build the standard address space without the collector.

    It is some 100,000 objects that live as long as the process: walking them again and again
    while they are made took half of the start-up time (0.6 s instead of 1.2 s).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
