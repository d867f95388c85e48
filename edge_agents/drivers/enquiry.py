"""Single questions to the units of a line, for people who are finding out what is there.

The same transports, and the same care for late replies, as when the agent runs; but whoever asks
decides what comes next.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from edge_agents.drivers.decoder import GarbledError
from edge_agents.drivers.frames import Question, Refusal, identification, identifying
from edge_agents.drivers.late_reply import LateReplyGuard
from edge_agents.drivers.modbus import ModbusTransport
from edge_agents.drivers.registers import Block

OBJECTS: Final = {
    0: "vendor",
    1: "product_code",
    2: "revision",
    3: "url",
    4: "product",
    5: "model",
    6: "application",
}
"""Names of the identification objects (Modbus Application Protocol 1.1b3, section 6.21)."""
ANSWERS_MAX: Final = 8
"""Answers over which one identification may be spread."""
FIRST_REGULAR: Final = 3
PROOFS_MAX: Final = 4
"""Questions in a row that are asked only to be sure of the next answer."""


class Enquiry:
    """An open line to ask. A connection that ends is opened again for the next question."""

    def __init__(self, transport: ModbusTransport) -> None:
        self._transport = transport
        self._guards: dict[int, LateReplyGuard] = {}

    async def read(self, device_id: int, block: Block, timeout_s: float) -> bytes | Refusal:
        """Ask a unit for a block once; return the bytes of its answer, or its refusal.

        Raises TimeoutError without an answer, Disconnected, or GarbledError.
        """
        guard = self._guard(device_id, timeout_s)
        for _ in range(PROOFS_MAX):
            first = block if guard is None else guard.question(block, time.monotonic())
            if first is block:
                break
            await self._read(device_id, first, timeout_s)
        return await self._read(device_id, block, timeout_s)

    async def identify(self, device_id: int, timeout_s: float) -> Mapping[str, str]:
        """Ask what a unit says of itself (function 43/14), by `OBJECTS`; empty if nothing.

        Raises Disconnected.
        """
        said: dict[int, str] = {}
        for first in (0, FIRST_REGULAR):
            said |= await self._objects(device_id, first, timeout_s)
            if not said:
                break
        return {OBJECTS[one]: text for one, text in said.items() if one in OBJECTS and text}

    async def _objects(self, device_id: int, first: int, timeout_s: float) -> dict[int, str]:
        said: dict[int, str] = {}
        wanted: int | None = first
        for _ in range(ANSWERS_MAX):
            if wanted is None:
                break
            try:
                data = await self._ask(identifying(device_id, wanted), timeout_s)
            except (TimeoutError, GarbledError):
                await self._quiet(timeout_s)
                break
            if isinstance(data, Refusal):
                break
            told = identification(data)
            said |= told.objects
            wanted = told.next_object
        return said

    async def _read(self, device_id: int, block: Block, timeout_s: float) -> bytes | Refusal:
        guard = self._guard(device_id, timeout_s)
        if guard is not None:
            await asyncio.sleep(guard.wait_s(time.monotonic()))
        try:
            await self._reconnected(timeout_s)
            answer = await self._transport.read(device_id, block, timeout_s)
        except (TimeoutError, GarbledError):
            if guard is not None:
                guard.unanswered(block, time.monotonic())
            raise
        if guard is not None:
            guard.answered(block, time.monotonic(), refused=isinstance(answer, Refusal))
        return answer

    async def _ask(self, question: Question, timeout_s: float) -> bytes | Refusal:
        await self._reconnected(timeout_s)
        return await self._transport.ask(question, timeout_s)

    async def _reconnected(self, timeout_s: float) -> None:
        if not self._transport.connected:
            await self._transport.connect(timeout_s)

    async def _quiet(self, timeout_s: float) -> None:
        if not self._transport.numbered:
            await asyncio.sleep(timeout_s)

    def _guard(self, device_id: int, timeout_s: float) -> LateReplyGuard | None:
        if self._transport.numbered:
            return None
        return self._guards.setdefault(device_id, LateReplyGuard(timeout_s))


@asynccontextmanager
async def enquiring(transport: ModbusTransport, timeout_s: float) -> AsyncIterator[Enquiry]:
    """Open a line for questions, and close it in the end. Raises Disconnected."""
    try:
        await transport.connect(timeout_s)
        yield Enquiry(transport)
    finally:
        transport.close()
