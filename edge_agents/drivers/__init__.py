"""Drivers: who reads the machines. From the agent's configuration to things that run."""

import asyncio
import random
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from edge_agents.config import (
    AgentConfig,
    MachineConfig,
    ModbusConfig,
    OpcuaConfig,
    SignalConfig,
)
from edge_agents.drivers.driver import Deliver, Delivery, Driver, DriverStatus, UnitStatus
from edge_agents.drivers.frames import answer_bytes
from edge_agents.drivers.isolation import (
    MEMORY_BYTES_MAX,
    OPCUA_COMMAND,
    SIGNAL_BYTES,
    IsolatedServer,
    Nursery,
)
from edge_agents.drivers.line import Line, LineMachine
from edge_agents.drivers.modbus import (
    RTU_BYTES,
    ModbusTransport,
    over_serial,
    over_tcp,
    rtu_over_tcp,
)
from edge_agents.drivers.nodes import NodeSignal, Server, ServerMachine
from edge_agents.drivers.registers import (
    Block,
    Kind,
    Limits,
    PlanSummary,
    RegisterSignal,
    Table,
    plan,
    summary,
)
from edge_agents.drivers.serial_port import SerialSettings
from gateway.model import Quality, Reason, Sample

__all__ = [
    "OPCUA_COMMAND",
    "SPREAD_S",
    "Deliver",
    "Delivery",
    "Driver",
    "DriverStatus",
    "PlanSummary",
    "UnitStatus",
    "conversations",
    "line_plans",
    "opcua_server",
    "open_drivers",
    "open_transport",
    "read_each",
    "read_once",
]

SPREAD_S: Final = 0.1
"""Lines begin within this time of each other: together enough to share commits, not in one jolt."""
REQUEST_MS: Final = 10.0
"""What one request takes a controller beside its time on the line, for want of a measurement."""


def open_drivers(
    config: AgentConfig,
    *,
    now_ms: Callable[[], int],
    rng: random.Random,
    opcua_command: Sequence[str] = OPCUA_COMMAND,
    clock_offset_ms: Callable[[], int | None] = lambda: None,
    phase_s: float = 0.0,
) -> list[Driver]:
    """Make one driver per Modbus line and per OPC UA server. Nothing is connected yet.

    OPC UA servers are read in at most `opcua_processes` children while they behave; each child is
    started by `opcua_command`. While `clock_offset_ms` gives a number, time is the steady clock
    plus that, and the system's own clock is wrong. Lines begin `phase_s` after their start, and
    apart from each other.
    """
    nursery = Nursery(
        config.opcua_processes,
        rng=rng,
        command=opcua_command,
        memory_bytes_max=MEMORY_BYTES_MAX + SIGNAL_BYTES * _opcua_signals(config),
        clock_offset_ms=clock_offset_ms,
    )
    servers = [IsolatedServer(one, nursery, now_ms=now_ms) for one in _servers(config)]
    by_line = _by_line(config.machines)
    lines = [
        Line(
            open_transport(machines[0][1]),
            [_line_machine(machine, modbus) for machine, modbus in machines],
            now_ms=now_ms,
            rng=rng,
            phase_s=phase_s + SPREAD_S * index / len(by_line),
        )
        for index, machines in enumerate(by_line.values())
    ]
    return [*servers, *lines]


def _opcua_signals(config: AgentConfig) -> int:
    return sum(len(one.signals) for one in config.machines if one.opcua is not None)


def conversations(config: AgentConfig) -> dict[str, AgentConfig]:
    """Split a configuration into parts whose drivers share nothing, by a name that lasts.

    Each Modbus line is one; all OPC UA servers together are one, for they share their children.
    """
    lines = {
        f"modbus {way}": tuple(machine for machine, _ in machines)
        for way, machines in _by_line(config.machines).items()
    }
    opcua = tuple(machine for machine in config.machines if machine.opcua is not None)
    parts = {"opcua": opcua, **lines} if opcua else lines
    return {
        name: config.model_copy(update={"machines": machines}) for name, machines in parts.items()
    }


def open_transport(modbus: ModbusConfig) -> ModbusTransport:
    """Make the way to a machine's line. Nothing is connected yet."""
    pause_s = modbus.pause_ms / 1_000
    if modbus.serial is not None:
        return over_serial(_serial_settings(modbus), pause_s=pause_s)
    if modbus.rtu_tcp is not None:
        return rtu_over_tcp(modbus.rtu_tcp.host, modbus.rtu_tcp.port, pause_s=pause_s)
    if modbus.tcp is None:
        raise ValueError("no address")  # the configuration does not let this happen
    return over_tcp(modbus.tcp.host, modbus.tcp.port, pause_s=pause_s)


def _serial_settings(modbus: ModbusConfig) -> SerialSettings:
    if modbus.serial is None or modbus.baud is None:
        raise ValueError("no serial line")  # the configuration does not let this happen
    return SerialSettings(modbus.serial, modbus.baud, modbus.parity, modbus.stop_bits)


async def read_once(
    config: AgentConfig,
    machine: str,
    *,
    now_ms: Callable[[], int],
    rng: random.Random,
    timeout_s: float,
) -> tuple[Sample, ...]:
    """Read every signal of one machine once, in the order of the configuration.

    A signal that has not come within the time is a bad sample. Raises KeyError for a machine that
    is not configured.
    """
    chosen = tuple(one for one in config.machines if one.id == machine)
    if not chosen:
        raise KeyError(machine)
    only = config.model_copy(update={"machines": chosen})
    found = await read_each(only, now_ms=now_ms, rng=rng, timeout_s=timeout_s)
    return found[machine]


async def read_each(
    config: AgentConfig,
    *,
    now_ms: Callable[[], int],
    rng: random.Random,
    timeout_s: float,
) -> dict[str, tuple[Sample, ...]]:
    """Read every signal of all machines once; see `read_once`. A line they share is opened once."""
    seen: dict[tuple[str, str], Sample] = {}
    asked = [(machine.id, name) for machine in config.machines for name in machine.signals]
    complete = asyncio.Event()

    def deliver(delivery: Delivery) -> None:
        seen.update(((delivery.machine, one.signal), one) for one in delivery.samples)
        if len(seen) == len(asked):
            complete.set()

    drivers = open_drivers(config, now_ms=now_ms, rng=rng)
    tasks = [asyncio.create_task(driver.run(deliver)) for driver in drivers]
    try:
        async with asyncio.timeout(timeout_s):
            await complete.wait()
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    missing = Sample("", None, now_ms(), Quality.BAD, Reason.TIMEOUT)
    return {
        machine.id: tuple(
            seen.get((machine.id, name)) or _renamed(missing, name) for name in machine.signals
        )
        for machine in config.machines
    }


def line_plans(config: AgentConfig) -> dict[str, PlanSummary]:
    """Say per Modbus line what the configuration asks of it, for ``machikoba agent check``."""
    plans: dict[str, PlanSummary] = {}
    for way, machines in _by_line(config.machines).items():
        blocks = []
        for machine, modbus in machines:
            line_machine = _line_machine(machine, modbus)
            blocks += plan(line_machine.signals, line_machine.limits)
        plans[f"modbus {way}"] = summary(blocks, partial(_request_ms, machines[0][1]))
    return plans


def _request_ms(modbus: ModbusConfig, block: Block) -> float:
    """Return what one request takes: the machine's own time, the pause, and bytes on a wire."""
    own_ms = REQUEST_MS + modbus.pause_ms
    if modbus.serial is None:
        return own_ms
    settings = _serial_settings(modbus)
    wire_s = settings.airtime_s(RTU_BYTES + answer_bytes(block)) + 2 * settings.gap_s
    return own_ms + wire_s * 1_000


def _servers(config: AgentConfig) -> list[Server]:
    """Collect the machines of each OPC UA server that is reached in the same way."""
    found: dict[OpcuaConfig, list[MachineConfig]] = {}
    for machine in config.machines:
        if machine.opcua is not None:
            found.setdefault(machine.opcua, []).append(machine)
    return [_server(config, opcua, machines) for opcua, machines in found.items()]


def opcua_server(config: AgentConfig, url: str) -> Server | None:
    """Give how an OPC UA server is reached and trusted; None for one that is not configured."""
    return next((one for one in _servers(config) if one.url == url), None)


def _server(config: AgentConfig, opcua: OpcuaConfig, machines: Iterable[MachineConfig]) -> Server:
    pins = config.data / "opcua" / "servers"
    return Server(
        url=opcua.url,
        machines=tuple(
            ServerMachine(
                one.id, tuple(_node_signal(name, signal) for name, signal in one.signals.items())
            )
            for one in machines
        ),
        security=opcua.security,
        application_uri=f"urn:machikoba:{config.site}:{config.agent}",
        user=opcua.user,
        password_file=_text(opcua.password_file),
        certificate=_text(opcua.certificate),
        private_key=_text(opcua.private_key),
        server_certificate=str(opcua.server_certificate or pins / f"{_file_name(opcua.url)}.der"),
        pinned_by_settings=opcua.server_certificate is not None,
        identity_dir=str(config.data / "opcua" / "identity"),
        timeout_s=opcua.timeout_ms / 1_000,
        subscribe=opcua.subscribe,
    )


def _node_signal(name: str, signal: SignalConfig) -> NodeSignal:
    return NodeSignal(
        name=name,
        node=signal.node or "",
        datatype=signal.datatype,
        path=signal.path,
        kind=Kind(signal.type),
        scale=signal.scale,
        offset=signal.offset,
        words_for=tuple((signal.enum or {}).items()),
        invalid=signal.invalid,
        minimum=signal.min,
        maximum=signal.max,
        period_ms=signal.every_ms,
        rolls_over_at=signal.rolls_over_at,
        max_per_s=signal.max_per_s,
    )


def _file_name(url: str) -> str:
    """Name a file after a server."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", url.removeprefix("opc.tcp://"))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _by_line(
    machines: Iterable[MachineConfig],
) -> dict[str, list[tuple[MachineConfig, ModbusConfig]]]:
    """Collect the machines of each line, by what reaches it."""
    lines: dict[str, list[tuple[MachineConfig, ModbusConfig]]] = {}
    for machine in machines:
        if machine.modbus is not None:
            lines.setdefault(machine.modbus.way, []).append((machine, machine.modbus))
    return lines


def _line_machine(machine: MachineConfig, modbus: ModbusConfig) -> LineMachine:
    return LineMachine(
        machine=machine.id,
        device_id=modbus.device_id,
        signals=tuple(_register_signal(name, signal) for name, signal in machine.signals.items()),
        limits=Limits(modbus.max_gap, modbus.max_read, modbus.one_request_per_signal),
        timeout_s=modbus.timeout_ms / 1_000,
    )


def _register_signal(name: str, signal: SignalConfig) -> RegisterSignal:
    register = signal.source
    if register is None:
        raise ValueError(f"{name} has no register")  # the configuration does not let this happen
    return RegisterSignal(
        name=name,
        table=Table(register.table),
        address=register.address,
        kind=Kind(signal.type),
        bit=register.bit,
        length_bytes=signal.length or 0,
        encoding=signal.encoding or "utf-8",
        word_order=signal.word_order,
        byte_order=signal.byte_order,
        scale=signal.scale,
        offset=signal.offset,
        words_for=tuple((signal.enum or {}).items()),
        invalid=signal.invalid,
        minimum=signal.min,
        maximum=signal.max,
        period_ms=signal.every_ms,
        rolls_over_at=signal.rolls_over_at,
        max_per_s=signal.max_per_s,
    )


def _renamed(sample: Sample, name: str) -> Sample:
    return Sample(name, sample.value, sample.time_ms, sample.quality, sample.reason)
