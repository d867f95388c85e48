"""One line with one or more machines on it, served by pymodbus.

The line is a TCP port that speaks Modbus TCP or serial frames (RTU), or a serial port made of a
pseudo terminal. pymodbus stores, checks and frames; what is ours is filling registers at the
instant of a read, and the faults between the answer and the wire.
"""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerRTU, FramerType
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from simulators.faults import Clock, Fault, FaultKind, Switch
from simulators.machine import Machine, Value
from simulators.modbus_server.registers import Register, Table, encode, registers_of
from simulators.modbus_server.terminal import Terminal

log = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
TABLES: Final[tuple[Table, ...]] = ("coil", "discrete", "holding", "input")
"""In the order of pymodbus's four blocks."""
READ_TABLES: Final[Mapping[int, Table]] = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
"""Read function codes (Modbus Application Protocol 1.1b3, section 6)."""
WRITE_CODES: Final = frozenset({5, 6, 15, 16, 21, 22, 23})
RESTART_MS: Final = 2_000
BAUD: Final = 115_200
"""What a client shall say; a pseudo terminal takes any."""

Over = Literal["tcp", "rtu_tcp", "serial"]
ANYBODY: Final = 0
"""pymodbus's device id for requests to devices that do not exist."""


class ModbusDevice:
    """One machine as a Modbus device: its registers, its fault and what it has seen.

    The step counter of a machine without `step_interval_ms` counts each answer that carries it
    and reaches the wire, so that consecutive answers carry consecutive values: a value that is
    missing at the far end was lost by the reader.
    """

    def __init__(self, machine: Machine, *, device_id: int, clock: Clock) -> None:
        self.machine = machine
        self.device_id = device_id
        self.switch = Switch(clock)
        self.registers = registers_of(machine.kind)
        self.requests = 0
        self.writes = 0
        """Requests to write. They are refused; a reader that sends one is broken."""
        self._clock = clock
        self._step = next(one for one in self.registers if one.signal.name == "step")
        self._step_on_read = machine.step_interval_ms is None
        self._shown: Mapping[str, Value] = {}
        if self._step_on_read:
            machine.count_step()

    def simulated(self) -> SimDevice:
        """Describe the device to pymodbus."""
        blocks = tuple(_block(self.registers, table) for table in TABLES)
        return SimDevice(id=self.device_id, simdata=blocks, action=self._fill)  # type: ignore[arg-type]  # four by TABLES

    async def _fill(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        words: list[int],
        _written: Sequence[int] | Sequence[bool] | None,
    ) -> ExcCodes | None:
        """Write the present values into pymodbus's registers, just before they are read."""
        table = READ_TABLES.get(function)
        if table is None:
            return ExcCodes.ILLEGAL_FUNCTION
        values = self._values()
        for register in self.registers:
            if register.table != table or not _overlaps(register, address, count):
                continue
            if register.type == "bool":
                _set_bit(
                    words, register.address - start * 16, on=bool(values[register.signal.name])
                )
            else:
                offset = register.address - start
                words[offset : offset + register.count] = encode(
                    register, values[register.signal.name]
                )
        return None

    def _values(self) -> Mapping[str, Value]:
        if not self.switch.has(FaultKind.FROZEN) or not self._shown:
            self.machine.advance(self._clock())
            self._shown = self.machine.values()
        return self._shown

    def stamp(self, request: ModbusPDU, reply: ModbusPDU) -> None:
        """Count the step in an answer that carries it, as the answer goes out."""
        step = self._step
        offset = step.address - request.address
        carries = (
            self._step_on_read
            and READ_TABLES.get(reply.function_code) == step.table
            and 0 <= offset <= len(reply.registers) - step.count
            and not self.switch.has(FaultKind.FROZEN)
        )
        if carries:
            words = list(reply.registers)
            words[offset : offset + step.count] = encode(step, self.machine.steps)
            reply.registers = words
            self.machine.count_step()

    @property
    def steps(self) -> int:
        """The step last shown: every value from 1 up to it has been on the wire, or was due."""
        return self.machine.steps - 1 if self._step_on_read else self.machine.steps


def _overlaps(register: Register, address: int, count: int) -> bool:
    if register.type == "bool":
        # pymodbus names bits by their own address, and reads whole words of them.
        return address - 16 < register.address < address + count + 16
    return register.address < address + count and address < register.address + register.count


def _set_bit(words: list[int], bit: int, *, on: bool) -> None:
    word, mask = bit // 16, 1 << bit % 16
    words[word] = words[word] | mask if on else words[word] & ~mask


def _block(registers: Sequence[Register], table: Table) -> list[SimData]:
    """Describe one table: defined from its first register to its last, illegal beyond them."""
    mine = [one for one in registers if one.table == table]
    bits = table in {"coil", "discrete"}
    if not mine:
        kind = DataType.BITS if bits else DataType.INVALID
        return [SimData(0, values=[False] * 16 if bits else 0, datatype=kind)]
    first = min(one.address for one in mine)
    end = max(one.address + one.count for one in mine)
    if bits:
        words = range(first // 16, (end + 15) // 16)
        return [SimData(word * 16, values=[False] * 16, datatype=DataType.BITS) for word in words]
    return [SimData(first, count=end - first, datatype=DataType.REGISTERS, readonly=True)]


class _Conversation(ServerRequestHandler):
    """One client's connection; every answer passes through the line before it is sent."""

    def __init__(self, server: "_Server", line: "ModbusLine") -> None:
        super().__init__(server, None, None, None)  # type: ignore[no-untyped-call]  # pymodbus's own
        self._line = line

    def server_send(self, pdu: ModbusPDU, addr: Any) -> None:
        """Send an answer, or what the device's fault makes of it."""
        request = self.last_pdu
        if request is not None and addr is None:
            self._line.answer(self, request, pdu)

    @property
    def is_open(self) -> bool:
        """Whether what is sent now goes out."""
        transport: asyncio.BaseTransport | None = self.transport
        return transport is not None and not transport.is_closing()


class _Server(ModbusTcpServer):
    """pymodbus's server, with conversations of our own."""

    def __init__(self, line: "ModbusLine", devices: list[SimDevice], port: int) -> None:
        self._line = line
        framer = FramerType.SOCKET if line.over == "tcp" else FramerType.RTU
        super().__init__(devices, address=(HOST, port), framer=framer)

    def callback_new_connection(self) -> _Conversation:
        """Begin a conversation."""
        return _Conversation(self, self._line)


class ModbusLine:
    """A line with its machines. More than one machine makes it a gateway or a serial bus.

    As pymodbus does, it takes one question at a time on each connection: a client that sends the
    next before it has the answer may lose one of the two.

    Args:
        devices: by machine id; their device ids must differ.
        rng: source of garbage.
        port: 0 asks the system for a free one, which is kept over restarts.
        over: ``tcp``, ``rtu_tcp`` (serial frames through TCP) or ``serial`` (a pseudo terminal
            as well). A unit of a serial line that is not there says nothing, where a gateway
            excuses it.
    """

    def __init__(
        self,
        devices: Mapping[str, ModbusDevice],
        *,
        rng: random.Random,
        port: int = 0,
        over: Over = "tcp",
    ) -> None:
        self.port = port
        self.over = over
        self._terminal = Terminal() if over == "serial" else None
        self._devices = dict(devices)
        self._by_id = {device.device_id: device for device in devices.values()}
        if len(self._by_id) != len(self._devices):
            raise ValueError("two machines of one line have the same device id")
        self._rng = rng
        self._server: _Server | None = None
        self._reopening: asyncio.Task[None] | None = None

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The machines of this line."""
        return {name: device.machine for name, device in self._devices.items()}

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        described = [device.simulated() for device in self._devices.values()]
        nobody = SimDevice(ANYBODY, SimData(0, datatype=DataType.REGISTERS))
        server = _Server(self, [*described, nobody], self.port)
        try:
            await server.serve_forever(background=True)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {HOST}:{self.port}") from error
        listener: Any = server.transport
        self.port = listener.sockets[0].getsockname()[1]
        self._server = server
        if self._terminal is not None:
            await self._terminal.open(HOST, self.port)

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._terminal is not None:
            await self._terminal.close()
        server, self._server = self._server, None
        if server is not None:
            await server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus's own

    # -- faults ------------------------------------------------------------------------

    async def apply(self, machine: str, fault: Fault) -> list[str]:
        """Begin a fault at one machine; return the machines that feel it."""
        device = self._devices[machine]
        await self.clear(machine)
        if fault.kind is FaultKind.RESTART:
            fault = _timed(fault)
            device.machine.restart(reset_counters=fault.reset_counters)
        device.switch.set(fault)
        if fault.kind in {FaultKind.CLOSED, FaultKind.RESTART} and len(self._devices) == 1:
            await self._hang_up()
            if fault.for_ms is not None:
                self._reopening = asyncio.create_task(self._reopen_after(fault.for_ms))
        return [machine]

    async def clear(self, machine: str) -> list[str]:
        """End the fault of one machine; return the machines that feel it."""
        self._devices[machine].switch.clear()
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        if self._server is None:
            await self.start()
        return [machine]

    async def _reopen_after(self, pause_ms: int) -> None:
        await asyncio.sleep(pause_ms / 1000.0)
        self._reopening = None
        if self._server is None:
            await self.start()

    def truth(self, machine: str) -> dict[str, object]:
        """Say what one machine has shown and been asked so far."""
        device = self._devices[machine]
        fault = device.switch.fault
        return {
            "steps": device.steps,
            "fault": None if fault is None else fault.kind.value,
            "requests": device.requests,
            "writes": device.writes,
        }

    def address(self, machine: str) -> dict[str, object]:
        """Say where one machine is reached."""
        place: dict[str, object] = {
            "protocol": "modbus",
            "over": self.over,
            "host": HOST,
            "port": self.port,
            "device_id": self._devices[machine].device_id,
        }
        if self._terminal is not None:
            place |= {"serial": self._terminal.path, "baud": BAUD}
        return place

    # -- answers -----------------------------------------------------------------------

    def answer(self, conversation: _Conversation, request: ModbusPDU, reply: ModbusPDU) -> None:
        """Send one answer the way its device's fault lets it go."""
        device = self._by_id.get(request.dev_id)
        if device is None:
            if self.over == "tcp":
                reply = _refusal(request, ExcCodes.GATEWAY_NO_RESPONSE)
                self._send(conversation, None, request, reply)
            return
        device.requests += 1
        if request.function_code in WRITE_CODES:
            device.writes += 1
            reply = _refusal(request, ExcCodes.ILLEGAL_FUNCTION)
        fault = device.switch.fault
        match fault and fault.kind:
            case FaultKind.SILENT:
                return
            case FaultKind.GARBAGE:
                garbage = _garbage if self.over == "tcp" else _serial_garbage
                conversation.send(garbage(request, self._rng))
                return
            case FaultKind.EXCEPTION:
                reply = _refusal(request, fault.code if fault else 0)
            case FaultKind.CLOSED | FaultKind.RESTART:
                if self.over != "tcp":
                    return
                reply = _refusal(request, ExcCodes.GATEWAY_NO_RESPONSE)
        if fault is not None and fault.kind is FaultKind.SLOW:
            loop = asyncio.get_running_loop()
            loop.call_later(fault.ms / 1000, self._send, conversation, device, request, reply)
        else:
            self._send(conversation, device, request, reply)

    def _send(
        self,
        conversation: _Conversation,
        device: ModbusDevice | None,
        request: ModbusPDU,
        reply: ModbusPDU,
    ) -> None:
        if conversation.is_open:
            if device is not None:
                device.stamp(request, reply)
            conversation.pdu_send(reply)


def _timed(fault: Fault) -> Fault:
    if fault.for_ms is not None:
        return fault
    return Fault(fault.kind, for_ms=RESTART_MS, reset_counters=fault.reset_counters)


def _refusal(request: ModbusPDU, code: int) -> ExceptionResponse:
    return ExceptionResponse(
        request.function_code,
        exception_code=code,
        device_id=request.dev_id,
        transaction=request.transaction_id,
    )


def _garbage(request: ModbusPDU, rng: random.Random) -> bytes:
    """Make an answer that is wrong in one of three ways, and never one that could be believed."""
    head = request.transaction_id.to_bytes(2, "big")
    function = request.function_code
    match rng.randrange(3):
        case 0:  # Noise; the protocol id of a true frame is 0.
            return rng.randbytes(2) + b"\xff\xff" + rng.randbytes(rng.randrange(4, 60))
        case 1:  # Right address, but shorter than its own byte count says.
            body = bytes([request.dev_id, function, 200]) + rng.randbytes(20)
        case _:  # An answer to a question that nobody asked.
            head = ((request.transaction_id + 7777) % 65536).to_bytes(2, "big")
            body = bytes([request.dev_id, function, 4]) + rng.randbytes(4)
    return head + b"\0\0" + len(body).to_bytes(2, "big") + body


def _serial_garbage(request: ModbusPDU, rng: random.Random) -> bytes:
    """Make serial noise, half an answer, or one with a wrong checksum."""
    body = bytes([request.dev_id, request.function_code, 4]) + rng.randbytes(4)
    check = FramerRTU.compute_CRC(body)
    match rng.randrange(3):
        case 0:
            return b"\xff" + rng.randbytes(rng.randrange(1, 40))
        case 1:
            return body[: rng.randrange(1, len(body))]
        case _:
            return body + (check ^ 0x0101).to_bytes(2, "big")
