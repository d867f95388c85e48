"""What reading Modbus costs: registers per second and CPU per signal, beside bare sockets.

The controller runs in a process of its own and answers every question with the same bytes, so
that the figures are the reader's. The bare reader knows nothing but those bytes: it sends a frame
that was made beforehand, waits for as many bytes as the answer has, and unpacks them at once.
"""

import asyncio
import contextlib
import random
import resource
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

from benchmarks.figures import figure
from edge_agents.drivers.decoder import Decoder
from edge_agents.drivers.driver import Delivery
from edge_agents.drivers.frames import crc
from edge_agents.drivers.line import Line, LineMachine
from edge_agents.drivers.modbus import ModbusTransport, over_tcp, rtu_over_tcp
from edge_agents.drivers.registers import Kind, Limits, RegisterSignal, Table, block_of

SIGNALS: Final = 42
SPREAD: Final = 3
"""Registers from one signal to the next."""
REGISTERS: Final = SPREAD * (SIGNALS - 1) + 2
"""The last signal has two of them: 125, as many as one question may ask for."""
CONNECTIONS: Final = 50
DURATION_S: Final = 4.0
RUNS: Final = 3
MACHINES: Final = 500
LINES: Final = 20
PERIOD_MS: Final = 20
UNIT: Final = 1
TIMEOUT_S: Final = 3.0
QUESTION: Final = struct.pack(">BHH", 3, 0, REGISTERS)
ANSWER: Final = bytes([3, 2 * REGISTERS]) + bytes(range(2 * REGISTERS))

Exchange = Callable[[], Awaitable[object]]


def signals() -> tuple[RegisterSignal, ...]:
    """Make 42 signals over 125 registers: words, floats and scaled numbers."""
    kinds = (Kind.UINT16, Kind.FLOAT32, Kind.UINT32)
    return tuple(
        RegisterSignal(
            f"s{index}",
            Table.HOLDING,
            SPREAD * index,
            kinds[index % len(kinds)],
            scale=0.1 if index % 5 == 0 else 1.0,
            period_ms=PERIOD_MS,
        )
        for index in range(SIGNALS)
    )


class _Controller(asyncio.Protocol):
    """Answers with the same bytes to every question, over Modbus TCP or in serial frames."""

    def __init__(self, *, serial: bool) -> None:
        body = bytes([UNIT]) + ANSWER
        self._serial_answer = body + crc(body) if serial else b""
        self._tail = len(body).to_bytes(2, "big") + body
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole question."""
        held = self._held + data
        size = 8 if self._serial_answer else 12
        whole = len(held) // size
        for place in range(whole):
            head = held[size * place : size * place + 4]
            self._transport.write(self._serial_answer or head + self._tail)  # type: ignore[attr-defined]  # a writing one
        self._held = held[size * whole :]


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    for serial in (False, True):
        server = await loop.create_server(
            lambda serial=serial: _Controller(serial=serial),  # type: ignore[misc]  # bound at once
            "127.0.0.1",
            0,
        )
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@contextlib.contextmanager
def _controller() -> Iterator[tuple[int, int]]:
    """Run the controller in a process of its own; yield its two ports."""
    command = [sys.executable, "-m", "benchmarks.modbus"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        out = process.stdout
        if out is None:
            raise RuntimeError("no pipe")
        yield int(out.readline()), int(out.readline())
    finally:
        process.kill()
        process.communicate()


@asynccontextmanager
async def _ours(transports: list[ModbusTransport]) -> AsyncIterator[list[Exchange]]:
    """Yield one exchange for each connection: question, answer, samples."""
    block = block_of(signals())
    decoder = Decoder(block)
    for transport in transports:
        await transport.connect(TIMEOUT_S)

    def exchange(transport: ModbusTransport) -> Exchange:
        async def once() -> object:
            answer = await transport.read(UNIT, block, TIMEOUT_S)
            return decoder.decode(answer, 1) if isinstance(answer, bytes) else None

        return once

    yield [exchange(one) for one in transports]
    for transport in transports:
        transport.close()


class _Bare(asyncio.Protocol):
    """As little as an asyncio reader can do."""

    def __init__(self) -> None:
        head = struct.pack(">HHHB", 1, 0, len(QUESTION) + 1, UNIT)
        self._frame = head + QUESTION
        self._size = 7 + len(ANSWER)
        self._unpack = struct.Struct(f">9x{REGISTERS}H").unpack
        self._held = b""
        self._waiting: asyncio.Future[object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= self._size and self._waiting is not None:
            held, self._held = self._held, b""
            self._waiting.set_result(self._unpack(held))

    async def once(self) -> object:
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(self._frame)  # type: ignore[attr-defined]  # a writing one
        return await self._waiting


@asynccontextmanager
async def _bare(port: int, count: int) -> AsyncIterator[list[Exchange]]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(_Bare, "127.0.0.1", port) for _ in range(count)]
    yield [protocol.once for _, protocol in made]
    for transport, _ in made:
        transport.close()


async def _closed_loop(exchanges: list[Exchange]) -> tuple[float, float]:
    """Ask on all connections as fast as they answer; return reads per second, CPU s per read."""
    until_s = time.monotonic() + DURATION_S
    reads = 0

    async def ask(exchange: Exchange) -> None:
        nonlocal reads
        while time.monotonic() < until_s:
            await exchange()
            reads += 1

    cpu_s, began_s = time.process_time(), time.monotonic()
    await asyncio.gather(*map(ask, exchanges))
    return reads / (time.monotonic() - began_s), (time.process_time() - cpu_s) / reads


async def _measure(kind: str, tcp: int, rtu: int, count: int) -> tuple[float, float]:
    if kind == "bare":
        async with _bare(tcp, count) as exchanges:
            return await _closed_loop(exchanges)
    make, port = (over_tcp, tcp) if kind == "tcp" else (rtu_over_tcp, rtu)
    async with _ours([make("127.0.0.1", port) for _ in range(count)]) as exchanges:
        return await _closed_loop(exchanges)


async def _lines(port: int) -> float:
    """Let whole lines read as they do in the agent; return CPU seconds per signal."""
    delivered = 0

    def deliver(delivery: Delivery) -> None:
        nonlocal delivered
        delivered += len(delivery.samples)

    lines = [
        Line(
            over_tcp("127.0.0.1", port),
            [LineMachine(f"m{index}", UNIT, signals(), Limits(words_max=REGISTERS))],
            now_ms=lambda: time.time_ns() // 1_000_000,
            rng=random.Random(index),
            phase_s=index / LINES * PERIOD_MS / 1_000,
        )
        for index in range(LINES)
    ]
    tasks = [asyncio.create_task(line.run(deliver)) for line in lines]
    await asyncio.sleep(1.0)
    cpu_s, before = time.process_time(), delivered
    await asyncio.sleep(DURATION_S)
    cost_s = (time.process_time() - cpu_s) / (delivered - before)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return cost_s


def _kib_per_machine() -> float:
    """Return how much the process grows for a machine of 42 signals on a line of its own."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = [
        Line(
            over_tcp("127.0.0.1", 502),
            [LineMachine(f"m{index}", UNIT, signals())],
            now_ms=lambda: 0,
            rng=random.Random(index),
        )
        for index in range(MACHINES)
    ]
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / len(kept)


def run() -> dict[str, dict[str, Any]]:
    """Measure; `make bench` calls this."""
    memory = _kib_per_machine()
    found: dict[str, list[tuple[float, float]]] = {}
    with _controller() as (tcp, rtu):
        for _ in range(RUNS):
            for kind in ("bare", "tcp", "rtu"):
                one = asyncio.run(_measure(kind, tcp, rtu, CONNECTIONS))
                found.setdefault(kind, []).append(one)
        lines = [asyncio.run(_lines(tcp)) for _ in range(RUNS)]
    shared: dict[str, object] = {"registers": REGISTERS, "signals": SIGNALS}
    wide = {**shared, "connections": CONNECTIONS}
    per_signal = 1e6 / SIGNALS
    figures = {}
    for kind, name in (("bare", "modbus_bare"), ("tcp", "modbus"), ("rtu", "modbus_rtu")):
        speeds = [REGISTERS * reads for reads, _ in found[kind]]
        costs = [per_signal * cost for _, cost in found[kind]]
        figures[f"{name}_registers_per_s"] = figure("1/s", speeds, **wide)
        figures[f"{name}_cpu_us_per_signal"] = figure("µs", costs, **wide)
    ratios = [ours / bare for (_, ours), (_, bare) in zip(found["tcp"], found["bare"], strict=True)]
    figures["modbus_cpu_ratio_to_bare"] = figure("", ratios, **wide)
    figures["modbus_line_cpu_us_per_signal"] = figure(
        "µs", [1e6 * cost for cost in lines], lines=LINES, period_ms=PERIOD_MS, **shared
    )
    figures["modbus_kib_per_machine"] = figure("KiB", [memory], machines=MACHINES, **shared)
    return figures


if __name__ == "__main__":
    asyncio.run(_serve())
