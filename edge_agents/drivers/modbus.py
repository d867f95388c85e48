"""The transports of Modbus: how one question travels to a unit and its answer comes back.

A link carries bytes (a TCP connection, a serial port), a framing tells answers apart in them.
The two combine to Modbus TCP, RTU over TCP and RTU. Pacing, retrying and decoding are the line's.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from edge_agents.drivers.decoder import GarbledError
from edge_agents.drivers.frames import (
    Framing,
    Question,
    Refusal,
    RtuFraming,
    TcpFraming,
    answer_bytes,
    reading,
)
from edge_agents.drivers.line import Disconnected
from edge_agents.drivers.registers import Block
from edge_agents.drivers.serial_port import SerialLink, SerialSettings

RTU_BYTES: Final = 13
"""A question over a serial line, and what its answer has beside the data."""
TCP_SILENCE_S: Final = 0.1
SERIAL_SILENCE_S: Final = 0.03
"""Silence after which a serial answer is complete, however wrong. Longer than the standard's gap
between frames: adapters hand over in pieces what came without a pause."""


class Link(Protocol):
    """A way for bytes to travel."""

    name: str

    async def open(
        self, timeout_s: float, receive: Callable[[bytes], None], lost: Callable[[str], None]
    ) -> None:
        """Open it anew. `receive` gets what arrives; `lost`, at most once, why it ended.

        Raises Disconnected with the cause in words.
        """

    def write(self, data: bytes) -> None:
        """Send."""

    def close(self) -> None:
        """End it; nothing is received any more, and `lost` is not called."""

    def airtime_s(self, count: int) -> float:
        """Return how long so many bytes are on their way because the link is slow."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a transport keeps its line quiet, in seconds."""

    pause_s: float = 0.0
    """Between an answer and the next question."""
    silence_s: float = TCP_SILENCE_S
    """After this much silence, noise is known to be no answer."""


class ModbusTransport:
    """One question at a time over a link; a `Transport` of a line."""

    def __init__(self, link: Link, framing: Callable[[], Framing], pace: Pace = Pace()) -> None:
        self.name = f"modbus {link.name}"
        self._link = link
        self._new_framing = framing
        self._framing = framing()
        self._pace = pace
        self._connected = False
        self._cause = "not connected yet"
        self._waiting: asyncio.Future[bytes | Refusal] | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._active_s = float("-inf")

    @property
    def numbered(self) -> bool:
        """Whether a late answer cannot be taken for the one to the next question."""
        return self._framing.numbered

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this end knows."""
        return self._connected

    async def connect(self, timeout_s: float) -> None:
        """Open a new connection; raise Disconnected if there is none within the time."""
        self.close()
        self._framing = self._new_framing()
        await self._link.open(timeout_s, self._receive, self._lost)
        self._connected = True

    def close(self) -> None:
        """End the connection; safe at any time."""
        self._lost("closed")
        self._link.close()

    async def read(self, device_id: int, block: Block, timeout_s: float) -> bytes | Refusal:
        """Ask a unit for a block once; return the bytes of its answer, or its refusal.

        Raises TimeoutError without an answer, Disconnected, or GarbledError.
        """
        travel_s = self._link.airtime_s(RTU_BYTES + answer_bytes(block))
        return await self.ask(reading(device_id, block), timeout_s + travel_s)

    async def ask(self, question: Question, timeout_s: float) -> bytes | Refusal:
        """Ask any question that reads; see `read`."""
        await self._keep_pace()
        if not self._connected:
            raise Disconnected(self._cause)
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bytes | Refusal] = loop.create_future()
        self._waiting = waiting
        limit = loop.call_later(timeout_s, self._give_up)
        try:
            self._link.write(self._framing.ask(question))
            return await waiting
        finally:
            self._waiting = None
            limit.cancel()
            self._listen_for_silence(0.0)
            self._framing.forget()
            self._active_s = loop.time()
            if self._framing.broken:
                self._link.close()
                self._lost("frames cannot be told apart any more")

    async def _keep_pace(self) -> None:
        pause_s = self._active_s + self._pace.pause_s - asyncio.get_running_loop().time()
        if self._pace.pause_s and pause_s > 0:
            await asyncio.sleep(pause_s)

    def _receive(self, data: bytes) -> None:
        try:
            outcome = self._framing.feed(data)
        except GarbledError as error:
            self._fail(error)
            return
        if outcome is None:
            self._listen_for_silence(self._pace.silence_s)
        elif self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(outcome)

    def _listen_for_silence(self, silence_s: float) -> None:
        """Look again after a silence whether what came can be an answer; 0 for never."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if silence_s and self._waiting is not None and not self._framing.numbered:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(silence_s, self._silent)

    def _silent(self) -> None:
        if self._framing.hopeless():
            self._fail(GarbledError("noise"))

    def _give_up(self) -> None:
        self._fail(GarbledError("noise") if self._framing.hopeless() else TimeoutError())

    def _lost(self, cause: str) -> None:
        self._connected = False
        self._cause = cause
        self._fail(Disconnected(cause))

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


class TcpLink:
    """One TCP connection; a `Link`."""

    def __init__(self, host: str, port: int) -> None:
        bracketed = f"[{host}]" if ":" in host else host
        self.name = f"{bracketed}:{port}"
        self._host = host
        self._port = port
        self._conversation: _Conversation | None = None

    async def open(
        self, timeout_s: float, receive: Callable[[bytes], None], lost: Callable[[str], None]
    ) -> None:
        """Connect anew. Raises Disconnected."""
        self.close()
        conversation = _Conversation(receive, lost)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: conversation, self._host, self._port
                )
        except TimeoutError:
            raise Disconnected(f"no connection to {self.name} in time") from None
        except OSError as error:
            cause = error.strerror or str(error)
            raise Disconnected(f"no connection to {self.name}: {cause}") from error
        if conversation.ended:
            raise Disconnected(f"{self.name} hung up at once")
        self._conversation = conversation

    def write(self, data: bytes) -> None:
        """Send."""
        if self._conversation is not None and self._conversation.transport is not None:
            self._conversation.transport.write(data)

    def close(self) -> None:
        """Hang up."""
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.end()

    def airtime_s(self, _count: int) -> float:
        """Return 0: what a network needs is part of every time-out."""
        return 0.0


class _Conversation(asyncio.Protocol):
    """The life of one connection; a later one is never told of it."""

    def __init__(self, receive: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self._receive = receive
        self._lost = lost
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.ended:
            self._receive(data)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended:
            self.ended = True
            self._lost("the machine closed the connection")

    def end(self) -> None:
        self.ended = True
        if self.transport is not None:
            with contextlib.suppress(OSError):
                self.transport.close()


def over_tcp(host: str, port: int, *, pause_s: float = 0.0) -> ModbusTransport:
    """Make a transport of Modbus TCP."""
    return ModbusTransport(TcpLink(host, port), TcpFraming, Pace(pause_s))


def rtu_over_tcp(host: str, port: int, *, pause_s: float = 0.0) -> ModbusTransport:
    """Make a transport of serial frames through a TCP connection, as simple gateways want it."""
    transport = ModbusTransport(TcpLink(host, port), RtuFraming, Pace(pause_s))
    transport.name = transport.name.replace("modbus ", "modbus rtu ", 1)
    return transport


def over_serial(settings: SerialSettings, *, pause_s: float = 0.0) -> ModbusTransport:
    """Make a transport of Modbus RTU over a serial port."""
    pace = Pace(max(pause_s, settings.gap_s), max(settings.gap_s, SERIAL_SILENCE_S))
    return ModbusTransport(SerialLink(settings), RtuFraming, pace)
