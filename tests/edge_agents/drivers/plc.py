"""A controller made of a socket: answers Modbus TCP or serial frames, and misbehaves on demand.

Written from the Modbus Application Protocol 1.1b3 and the guides for TCP and serial lines, with
nothing of the project's own code, so that an error in ours cannot cancel itself out.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field

from tests.edge_agents.drivers.bus import checksum


@dataclass
class Plc:
    """Holds the four tables of every unit; each fault is a plain attribute."""

    serial: bool = False
    """Speak serial frames through TCP."""
    words: dict[int, int] = field(default_factory=dict)
    """Holding and input registers by address; what is missing is answered with exception 2."""
    bits: dict[int, bool] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    """Units that do not answer."""
    delay_s: dict[int, float] = field(default_factory=dict)
    exceptions: dict[int, int] = field(default_factory=dict)
    """Unit to the exception code that it answers everything with."""
    longest: int = 125
    """Words in one request; more is answered with exception 3."""
    garbage: bytes = b""
    """Sent instead of every answer."""
    wrong_transaction: bool = False
    wrong_unit: bool = False
    short_by: int = 0
    """Bytes of data missing in every answer, with an honest byte count."""
    hang_up: bool = False
    """Close the connection instead of answering."""
    slice_s: float = 0.0
    """Pause between the bytes of every answer."""
    requests: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Unit, function code, address and count of every request."""
    connections: int = 0

    async def __aenter__(self):
        await self.power_on(0)
        return self

    async def __aexit__(self, *_):
        await self.power_off()

    async def power_on(self, port=None):
        """Listen; without a port, on the one of last time."""
        self._writers = set()
        self._tasks = set()
        wanted = self.port if port is None else port
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", wanted)
        self.port = self._server.sockets[0].getsockname()[1]

    async def power_off(self):
        """Stop listening and cut every connection."""
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self):
        """Close every connection, and go on listening."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while self.serial:
                frame = await reader.readexactly(8)
                assert checksum(frame[:-2]) == frame[-2:]
                await self._answer(bytes(6) + frame[:1], frame[1:-2], writer)
            while True:
                head = await reader.readexactly(7)
                body = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
                await self._answer(head, body, writer)
        self._writers.discard(writer)
        self._tasks.discard(task)
        writer.close()

    async def _answer(self, head, body, writer):
        unit, function = head[6], body[0]
        address, count = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        self.requests.append((unit, function, address, count))
        if self.hang_up:
            writer.close()
            return
        if unit in self.silent:
            return
        if unit in self.delay_s:
            await asyncio.sleep(self.delay_s[unit])
        pdu = self.garbage or self._frame(head, self._reply(unit, function, address, count))
        if not self.slice_s:
            writer.write(pdu)
            return
        for byte in pdu:
            writer.write(bytes([byte]))
            await asyncio.sleep(self.slice_s)

    def _frame(self, head, pdu):
        if self.serial:
            frame = bytes([head[6] + self.wrong_unit]) + pdu
            return frame + checksum(frame)
        transaction = int.from_bytes(head[:2], "big") + self.wrong_transaction
        unit = head[6] + self.wrong_unit
        length = len(pdu) + 1
        return (
            transaction.to_bytes(2, "big")
            + b"\0\0"
            + length.to_bytes(2, "big")
            + bytes([unit])
            + pdu
        )

    def _reply(self, unit, function, address, count):
        if unit in self.exceptions:
            return bytes([function | 0x80, self.exceptions[unit]])
        table = self.bits if function in {1, 2} else self.words
        addresses = range(address, address + count)
        if function in {3, 4} and count > self.longest:
            return bytes([function | 0x80, 3])
        if any(one not in table for one in addresses):
            return bytes([function | 0x80, 2])
        if function in {1, 2}:
            data = bytearray((count + 7) // 8)
            for place, one in enumerate(addresses):
                data[place // 8] |= table[one] << place % 8
        else:
            data = b"".join(table[one].to_bytes(2, "big") for one in addresses)
        data = data[: len(data) - self.short_by]
        return bytes([function, len(data)]) + bytes(data)
