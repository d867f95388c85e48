"""What can go wrong with a machine's link, switched on and off while it runs.

`Switch` holds the one fault that a machine has at present. `Wire` is a length of cable that can
be cut, held or disturbed; it knows no protocol.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

CHUNK_BYTES: Final = 65_536
CONNECTIONS_MAX: Final = 64
DIAL_TIMEOUT_S: Final = 5.0

Clock = Callable[[], int]
"""Milliseconds since 1970-01-01 UTC."""


class FaultKind(StrEnum):
    """The faults, by the words of the control port."""

    SILENT = "silent"
    """Connections stand, requests stay unanswered."""
    SLOW = "slow"
    """Every answer comes `ms` late."""
    GARBAGE = "garbage"
    """Answers are noise, too short, or belong to another request."""
    EXCEPTION = "exception"
    """Modbus: exception `code` in every answer. OPC UA: status `code` on every value."""
    FROZEN = "frozen"
    """Answers come, but nothing in them changes any more."""
    CLOSED = "closed"
    """Nothing listens; open connections are dropped."""
    RESTART = "restart"
    """Closed for `for_ms` while the controller starts anew."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its parameters; `for_ms` None lasts until it is cleared."""

    kind: FaultKind
    ms: int = 0
    code: int = 0
    for_ms: int | None = None
    reset_counters: bool = False


class Switch:
    """The fault that one machine has at present; it ends by itself when its time is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._fault: Fault | None = None
        self._until_ms: int | None = None

    def set(self, fault: Fault) -> None:
        """Begin a fault; it takes the place of an earlier one."""
        self._fault = fault
        self._until_ms = None if fault.for_ms is None else self._clock() + fault.for_ms

    def clear(self) -> None:
        """End the fault."""
        self._fault = self._until_ms = None

    @property
    def fault(self) -> Fault | None:
        """The present fault, or None."""
        if self._until_ms is not None and self._clock() >= self._until_ms:
            self.clear()
        return self._fault

    def has(self, kind: FaultKind) -> bool:
        """Tell whether the present fault is of this kind."""
        fault = self.fault
        return fault is not None and fault.kind is kind


class Wire:
    """A TCP relay on loopback in front of a server, through which faults reach any protocol.

    Args:
        switch: the fault of the moment. ``silent`` holds bytes in both directions until it ends,
            as a hung server does; ``slow`` delays and ``garbage`` disturbs what the server sends.
        rng: source of the noise.
    """

    def __init__(self, switch: Switch, rng: random.Random) -> None:
        self._switch = switch
        self._rng = rng
        self._target: tuple[str, int] = ("", 0)
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self.port = 0

    def lead_to(self, host: str, port: int) -> None:
        """Say where new connections lead."""
        self._target = (host, port)

    async def open(self, port: int = 0) -> None:
        """Listen on loopback: on the port of before, or on `port` (0: a free one).

        Raises:
            OSError: the port is taken.
        """
        if self._server is None:
            chosen = self.port or port
            self._server = await asyncio.start_server(self._converse, "127.0.0.1", chosen)
            self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._conversations:
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._conversations) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._conversations.add(task)
        try:
            await self._relay(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # Either end hung up, or the wire was cut: what a wire is for.
        finally:
            self._conversations.discard(task)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        try:
            ways = (self._pump(reader, up_writer), self._pump(up_reader, writer, answers=True))
            tasks = [asyncio.ensure_future(way) for way in ways]
            try:
                # The first end to hang up ends both ways.
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            up_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._hold()
            writer.write(await self._disturb(data) if answers else data)
            with contextlib.suppress(ConnectionError):
                await writer.drain()

    async def _hold(self) -> None:
        """Wait until the wire is not silent; looking at the switch is cheap and rare."""
        while self._switch.has(FaultKind.SILENT):  # noqa: ASYNC110 - it may end by the clock alone
            await asyncio.sleep(0.02)

    async def _disturb(self, data: bytes) -> bytes:
        fault = self._switch.fault
        if fault is not None and fault.kind is FaultKind.SLOW:
            await asyncio.sleep(fault.ms / 1000.0)
        if fault is not None and fault.kind is FaultKind.GARBAGE:
            return self._rng.randbytes(len(data))
        return data
