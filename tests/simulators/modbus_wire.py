"""A Modbus TCP client of bare sockets, so that what is on the wire is seen as it is."""

import asyncio
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One frame as it came."""

    transaction: int
    unit: int
    function: int
    body: bytes

    @property
    def words(self):
        count = self.body[0] // 2
        return list(struct.unpack(f">{count}H", self.body[1:]))


class WireClient:
    """Asks one question at a time, and numbers them."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.transaction = 0

    async def ask(self, function, address, count, unit=1):
        self.send(function, address, count, unit)
        return await self.answer()

    def send(self, function, address, count, unit=1):
        self.transaction += 1
        head = struct.pack(">HHHB", self.transaction, 0, 6, unit)
        self.writer.write(head + struct.pack(">BHH", function, address, count))

    async def answer(self, timeout_s=5.0):
        async with asyncio.timeout(timeout_s):
            head = await self.reader.readexactly(7)
            transaction, protocol, length, unit = struct.unpack(">HHHB", head)
            assert protocol == 0
            rest = await self.reader.readexactly(length - 1)
        return Answer(transaction, unit, rest[0], rest[1:])

    async def hears_nothing_for(self, span_s):
        try:
            async with asyncio.timeout(span_s):
                return not await self.reader.read(1)
        except TimeoutError:
            return True


@asynccontextmanager
async def connected(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield WireClient(reader, writer)
    finally:
        writer.close()
