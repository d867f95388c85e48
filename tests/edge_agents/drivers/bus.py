"""A serial line made of a pseudo terminal, with units that misbehave on demand.

Written from Modbus over Serial Line 1.02 with nothing of the project's own code. Every answer
carries how many questions its unit has heard, so that a late answer that was taken for the answer
to a later question shows.
"""

import asyncio
import contextlib
import os
import random
import struct
import tty
from collections import Counter

REQUEST_BYTES = 8


def divided(value):
    """Divide one byte by the polynomial, bit by bit (Serial Line 1.02, section 6.2.2)."""
    for _ in range(8):
        value, carry = value >> 1, value & 1
        if carry:
            value ^= 0xA001
    return value


DIVIDED = [divided(byte) for byte in range(256)]


def checksum(data):
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ DIVIDED[(value ^ byte) & 0xFF]
    return bytes([value & 0xFF, value >> 8])


def frame(unit, pdu):
    data = bytes([unit]) + pdu
    return data + checksum(data)


class Bus:
    """Units 1 to `units`; word 0 of a read is the question's number, the next ones its place."""

    def __init__(self, units, *, seed=1):
        self.units = range(1, units + 1)
        self.silent = set()
        self.delay_s = {}
        """Seconds that a unit thinks about every question, one after another; or a callable."""
        self.garbling = {}
        """How often, 0…1, the answers of a unit are spoilt."""
        self.echo = False
        self.asked = Counter()
        self.troubled = Counter()
        """By unit: questions that were not answered, or not at once."""
        self.functions = set()
        self.bytes_heard = bytearray()
        self.path = ""
        self._busy_until = {}
        self._rng = random.Random(seed)
        self._buffer = bytearray()
        self._master = self._slave = -1

    async def __aenter__(self):
        self.plug()
        return self

    async def __aexit__(self, *_):
        self.unplug()

    def plug(self):
        """Make a port. Its own end of the slave stays open, so that a client may come and go."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def unplug(self):
        """Let the port vanish."""
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._slave)
            os.close(self._master)
            self._master = self._slave = -1

    def send(self, data):
        """Put bytes on the line."""
        if self._master >= 0:
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, data)

    def _read(self):
        try:
            data = os.read(self._master, 4_096)
        except OSError:
            return
        self.bytes_heard += data
        self._buffer += data
        while len(self._buffer) >= REQUEST_BYTES:
            request = bytes(self._buffer[:REQUEST_BYTES])
            if checksum(request[:-2]) != request[-2:]:
                del self._buffer[:1]
                continue
            del self._buffer[:REQUEST_BYTES]
            self._hear(request)

    def _hear(self, request):
        unit, function, address, count = struct.unpack(">BBHH", request[:-2])
        self.functions.add(function)
        self.asked[unit] += 1
        if unit not in self.units or unit in self.silent:
            self.troubled[unit] += 1
            return
        answer = frame(unit, self.answer(unit, function, address, count))
        if self._rng.random() < self.garbling.get(unit, 0.0):
            answer = self._garbled(unit, function, answer)
        loop = asyncio.get_running_loop()
        delay_s = self.delay_s.get(unit, 0.0)
        delay_s = delay_s() if callable(delay_s) else delay_s
        at_s = max(loop.time(), self._busy_until.get(unit, 0.0)) + delay_s
        if at_s <= loop.time():
            self.send(answer)
            return
        self.troubled[unit] += 1
        self._busy_until[unit] = at_s
        loop.call_at(at_s, self.send, answer)

    def answer(self, unit, function, address, count):
        if function not in {1, 2, 3, 4}:
            return bytes([function | 0x80, 1])
        if function in {1, 2}:
            return bytes([function, (count + 7) // 8]) + bytes((count + 7) // 8)
        words = [self.asked[unit] % 65_536] + [
            unit << 8 | (address + place) % 256 for place in range(1, count)
        ]
        return bytes([function, 2 * count]) + struct.pack(f">{count}H", *words)

    def _garbled(self, unit, function, answer):
        """Make an answer wrong in a way that shows; never one that could be believed."""
        rng = self._rng
        match rng.randrange(6):
            case 0:
                return rng.randbytes(rng.randrange(1, 40))
            case 1:
                return answer[: rng.randrange(1, len(answer))]
            case 2:
                at = rng.randrange(len(answer))
                return answer[:at] + bytes([answer[at] ^ 1 << rng.randrange(8)]) + answer[at + 1 :]
            case 3:
                return frame(unit, bytes([function, 2, 1, 2]))
            case 4:
                return frame(unit + 100, answer[1:-2])
            case _:
                return answer[:-2] + bytes(2)
