"""The only door to pyserial, and the only place with calls that one platform alone has.

A thread waits for what arrives: that works for every kind of port on every platform, a serial
port being no socket to an event loop on Windows. The thread also closes the port, so that nothing
is closed under a call that still waits.
"""

import asyncio
import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import serial

from edge_agents.drivers.line import Disconnected

if sys.platform != "win32":
    import fcntl
    import termios

    _TERMIOS_ERRORS: tuple[type[Exception], ...] = (termios.error,)
else:
    _TERMIOS_ERRORS = ()

_NOT_OPENED: Final[tuple[type[Exception], ...]] = (
    serial.SerialException, OSError, ValueError, *_TERMIOS_ERRORS,
)  # fmt: skip
CLOSING_S: Final = 2.0
"""A port that was closed is free again within this time, or never."""
HANDOVER_S: Final = 0.05
HANDOVER_TRIES: Final = 5
"""How often, and after what time, a port in use is tried again: it may just be changing hands."""
READ_BYTES_MAX: Final = 1_024
WRITE_TIMEOUT_S: Final = 0.05
CHARACTER_BITS: Final = 11
"""Start, eight data, parity or second stop, stop (Modbus over Serial Line 1.02, section 2.5.1)."""
FAST_BAUD: Final = 19_200
FAST_GAP_S: Final = 0.001_75
"""Above 19,200 baud the gap between frames is fixed (section 2.5.1.1)."""
GAP_CHARACTERS: Final = 3.5

Parity = Literal["N", "E", "O"]


@dataclass(frozen=True, slots=True)
class SerialSettings:
    """A port and how its line talks; eight data bits always, as Modbus RTU asks."""

    port: str
    """``/dev/serial/by-id/…``, ``/dev/ttyUSB0``, ``COM3``."""
    baud: int
    parity: Parity = "N"
    stop_bits: Literal[1, 2] = 1

    @property
    def gap_s(self) -> float:
        """Silence between two frames."""
        if self.baud > FAST_BAUD:
            return FAST_GAP_S
        return GAP_CHARACTERS * CHARACTER_BITS / self.baud

    def airtime_s(self, count: int) -> float:
        """Return how long so many bytes take on the line."""
        return count * CHARACTER_BITS / self.baud

    def __str__(self) -> str:
        """Write it as a manual does: ``/dev/ttyUSB0 9600-8-N-1``."""
        return f"{self.port} {self.baud}-8-{self.parity}-{self.stop_bits}"


class SerialLink:
    """One serial port, opened exclusively; a `Link`."""

    def __init__(self, settings: SerialSettings) -> None:
        self.name = str(settings)
        self._settings = settings
        self._reader: _Reader | None = None

    async def open(
        self, timeout_s: float, receive: Callable[[bytes], None], lost: Callable[[str], None]
    ) -> None:
        """Open the port. Raises Disconnected, with the cause in words."""
        before, self._reader = self._reader, None
        if before is not None:
            before.end()
            await asyncio.to_thread(before.thread.join, CLOSING_S)
        try:
            async with asyncio.timeout(max(timeout_s, CLOSING_S)):
                port = await _patiently_opened(self._settings)
        except TimeoutError:
            raise Disconnected(f"{self._settings.port} does not open") from None
        self._reader = _Reader(port, asyncio.get_running_loop(), receive, lost)

    def write(self, data: bytes) -> None:
        """Send; a frame always fits into the port's own buffer."""
        if self._reader is not None:
            self._reader.write(data)

    def close(self) -> None:
        """Give the port back, at once or within a moment."""
        if self._reader is not None:
            self._reader.end()

    def airtime_s(self, count: int) -> float:
        """Return how long so many bytes take on the line."""
        return self._settings.airtime_s(count)


class _Reader:
    """The thread that waits for one open port, and hands over what arrives to the event loop."""

    def __init__(
        self,
        port: serial.Serial,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[bytes], None],
        lost: Callable[[str], None],
    ) -> None:
        self._port = port
        self._loop = loop
        self._receive = receive
        self._lost = lost
        self._ended = False
        self.thread = threading.Thread(target=self._run, name=f"serial {port.port}", daemon=True)
        self.thread.start()

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            self._tell_lost(error)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            with contextlib.suppress(serial.SerialException, OSError, TypeError):
                self._port.cancel_read()

    def _run(self) -> None:
        try:
            while not self._ended:
                data = self._port.read(1)
                data += self._port.read(min(self._port.in_waiting, READ_BYTES_MAX))
                if data:
                    self._call(self._hand_over, data)
        except (serial.SerialException, OSError, TypeError) as error:
            # TypeError: pyserial's own, when a port vanishes between two of its lines.
            self._call(self._tell_lost, error)
        finally:
            with contextlib.suppress(serial.SerialException, OSError):
                self._port.close()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody listens
            self._loop.call_soon_threadsafe(function, *arguments)

    def _hand_over(self, data: bytes) -> None:
        if not self._ended:
            self._receive(data)

    def _tell_lost(self, error: Exception) -> None:
        if not self._ended:
            self._ended = True
            self._lost(f"{self._port.port} is gone ({error})")


class _InUse(Disconnected):
    """Another program, or a conversation of ours that is just ending, has the port."""


async def _patiently_opened(settings: SerialSettings) -> serial.Serial:
    """Open a port, which may be given back at this very moment. Raises Disconnected."""
    for _ in range(HANDOVER_TRIES):
        with contextlib.suppress(_InUse):
            return await asyncio.to_thread(_opened, settings)
        await asyncio.sleep(HANDOVER_S)
    return await asyncio.to_thread(_opened, settings)


def _opened(settings: SerialSettings) -> serial.Serial:
    """Open a port for this process alone. Raises Disconnected with the cause and the remedy."""
    try:
        port = serial.Serial(
            port=settings.port,
            baudrate=settings.baud,
            parity=settings.parity,
            stopbits=settings.stop_bits,
            exclusive=True,
            write_timeout=WRITE_TIMEOUT_S,
        )
    except _NOT_OPENED as error:
        in_use = getattr(error, "errno", None) in {errno.EAGAIN, errno.EBUSY}
        kind = _InUse if in_use else Disconnected
        raise kind(_cause(settings, error)) from error
    if sys.platform != "win32":
        # The lock above is kept by those who ask for it; this one by everybody but root.
        with contextlib.suppress(OSError):
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
    return port


def _cause(settings: SerialSettings, error: Exception) -> str:
    port = settings.port
    match getattr(error, "errno", None):
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            return f"there is no port {port}: is its adapter plugged in?"
        case errno.EACCES | errno.EPERM:
            return f"{port} may not be used: add the agent's user to the group dialout"
        case errno.EAGAIN | errno.EBUSY:
            return f"{port} is in use by another program"
        case None if type(error).__module__ == "termios":  # it is no OSError, and has no number
            return f"{settings}: the port cannot talk like that ({error.args[-1]})"
        case None:
            return f"{port} cannot be used: {error}"
        case number:
            return f"{port} cannot be used: {os.strerror(number)}"
